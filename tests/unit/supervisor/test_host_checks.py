"""Health checks against real sockets: who is asked when, and what answers mean."""

from __future__ import annotations

from collections import Counter

import pytest
from harness.raw_server import raw_server

from shedproxy.core import milliseconds, seconds
from shedproxy.snapshot import CheckDocument, Document, ProxyDocument, UpstreamDocument
from shedproxy.supervisor.host_checks import HostChecks, phase_of
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio

QUICK = CheckDocument(
    path="/well",
    interval_ns=milliseconds(20),
    timeout_ns=milliseconds(500),
    falls=2,
    rises=2,
)


class Host:
    """Answers a check as it is told; remembers what it was asked."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def __aenter__(self) -> Host:
        self._server = raw_server(self._serve)
        self.url = f"http://{await self._server.__aenter__()}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._server.__aexit__(*error)

    async def _serve(self, reader, writer) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        await writer.drain()


def document(*urls: str, check: CheckDocument = QUICK) -> Document:
    upstream = UpstreamDocument(cell="a", urls=urls, check=check)
    return Document(proxy=ProxyDocument(upstreams=(upstream,)))


async def test_a_host_falls_and_rises_after_so_many_answers_in_a_row():
    events: list = []
    async with Host() as host:
        checks = HostChecks(lambda event, facts: events.append((event, facts["status"])))
        checks.apply(document(host.url))
        assert checks.verdict("a", host.url) is None
        await eventually_async(lambda: checks.verdict("a", host.url) is True)
        host.answer = b"HTTP/1.1 503 No\r\n\r\n"
        await eventually_async(lambda: checks.verdict("a", host.url) is False)
        host.answer = b"HTTP/1.0 200 Yes\r\nmore"
        await eventually_async(lambda: checks.verdict("a", host.url) is True)
        checks.close()
    assert events == [("check fails", 503), ("check passes", 200)]
    name = host.url.removeprefix("http://").encode()
    assert host.asked[0].startswith(b"GET /well HTTP/1.1\r\nhost: " + name + b"\r\n")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n", b"x" * 4096])
async def test_no_answer_is_a_bad_one(answer):
    async with Host(answer) as host:
        checks = HostChecks(lambda *_: None)
        checks.apply(document(host.url))
        await eventually_async(lambda: checks.verdict("a", host.url) is False)
        checks.close()


async def test_who_does_not_accept_fails_and_what_is_not_asked_is_not_known():
    async with Host() as host:
        pass
    checks = HostChecks(lambda *_: None)
    checks.apply(document(host.url))
    await eventually_async(lambda: checks.verdict("a", host.url) is False)
    assert checks.verdict("a", "http://h:1") is None
    checks.apply(document(host.url, check=CheckDocument()))
    assert checks.verdict("a", host.url) is None
    checks.close()


async def test_a_check_that_stays_the_same_goes_on_where_it_was():
    async with Host() as host, Host() as other:
        checks = HostChecks(lambda *_: None)
        checks.apply(document(host.url))
        await eventually_async(lambda: checks.verdict("a", host.url) is True)
        checks.apply(document(host.url, other.url))
        assert checks.verdict("a", host.url) is True
        await eventually_async(lambda: checks.verdict("a", other.url) is True)
        checks.close()


def test_each_host_has_a_moment_of_its_own_that_is_always_the_same():
    interval = seconds(10)
    phases = [phase_of(f"http://10.0.0.{n}:80", interval, "m") for n in range(1000)]
    assert phases == [phase_of(f"http://10.0.0.{n}:80", interval, "m") for n in range(1000)]
    assert phase_of("http://h", interval, "m") != phase_of("http://h", interval, "n")
    by_second = Counter(phase // seconds(1) for phase in phases)
    assert len(by_second) == 10
    assert all(60 <= count <= 140 for count in by_second.values())
