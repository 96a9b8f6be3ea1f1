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
