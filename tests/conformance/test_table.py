"""The conformance table against the proxy on sockets: every case, with its clause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from conformance.bench import Benches
from conformance.case import Case, RequestCase
from conformance.cases import ALL
from conformance.judge import differences, explain
from conformance.observe import observe

ADVISORIES = """
h11 CVE-2025-43859, Go CVE-2025-22871, Go CVE-2023-39326, Kestrel CVE-2025-55315, fasthttp pull
1899, aiohttp CVE-2024-52304, aiohttp CVE-2023-47627, aiohttp CVE-2025-53643, aiohttp issue
13656, Apache Traffic Server CVE-2024-53868, Netty CVE-2025-58056, HAProxy CVE-2021-40346,
HAProxy CVE-2023-40225, HAProxy CVE-2023-45539, HAProxy CVE-2023-25725, gunicorn CVE-2024-1135,
gunicorn CVE-2024-6827, waitress CVE-2022-24761, waitress CVE-2024-49768, Twisted
CVE-2022-24801, Twisted CVE-2024-41671, Tornado, Pingora CVE-2026-2835, Pingora CVE-2025-4366,
Pingora CVE-2026-2833, Pingora CVE-2026-2836, nghttpx CVE-2026-58055, Envoy CVE-2024-23326, h2c
smuggling, uvicorn CVE-2020-7695, uvicorn CVE-2020-7694, eventlet CVE-2025-58068, Starlette
CVE-2026-48710, httpcore, Caddy, Envoy, Traefik, http-garden
"""
"""What went wrong elsewhere in messages of HTTP/1.1 that a proxy passes on."""


@pytest.fixture(scope="module")
def benches() -> Iterator[Benches]:
    benches = Benches()
    yield benches
    benches.close()


def expected(case: Case, benches: Benches) -> Case:
    """The case, with what only this run knows."""
    if case.bench == "named":
        assert isinstance(case, RequestCase)
        authority = f"127.0.0.1:{benches.recorder.port}"
        return replace(case, reads=tuple(replace(read, host=authority) for read in case.reads))
    return case


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_case(case: Case, benches: Benches) -> None:
    case = expected(case, benches)
    seen = observe(benches.port(case.bench), benches.recorder, case)
    found = differences(case, seen) + benches.faults
    assert not found, explain(case, seen, found)


def test_the_table_is_as_large_as_it_should_be() -> None:
    assert len(ALL) >= 300
    assert len({case.name for case in ALL}) == len(ALL)
    assert all(case.clause.startswith("RFC ") for case in ALL)


@pytest.mark.parametrize("advisory", " ".join(ADVISORIES.split()).split(", "))
def test_every_advisory_has_a_case(advisory: str) -> None:
    assert any(case.advisory.startswith(advisory) for case in ALL)
