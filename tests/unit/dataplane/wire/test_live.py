from __future__ import annotations

import pytest

from shedproxy.core import Instant
from shedproxy.dataplane.wire.head_memory import RequestHeads
from shedproxy.snapshot import Classification, Match, Rule

pytestmark = pytest.mark.anyio


async def test_a_connection_has_as_many_requests_as_it_may(still) -> None:
    bench = still(requests_per_connection_max=3)
    live = bench.server.live
    assert [live.keeps_clients(served) for served in (1, 2, 3)] == [True, True, False]
    unbounded = still().server
    assert unbounded.live.keeps_clients(10**9)
    unbounded.announce()
    assert not unbounded.live.keeps_clients(1)


async def test_serials_differ_over_reloads(still) -> None:
    bench = still()
    tokens, framing = RequestHeads().read(b"GET / HTTP/1.1\r\nHost: e\r\n\r\n", bench.server.live)
    first = bench.server.live.classify(tokens, framing, "")
    bench.server.apply(bench.driver.document)
    again = bench.server.live.classify(tokens, framing, "")
    assert bench.server.requests == 2
    assert first[0] == again[0]
    assert first[2] != again[2]  # whose cohort nobody names, has the place of its number


async def test_a_request_is_classified_by_its_own_method(still) -> None:
    rule = Rule(name="writes", match=Match(method=("POST",)))
    live = still(document={"classification": Classification(rules=(rule,))}).server.live
    methods = ("GET", "POST", "POST", "PUT", "POST")
    heads = [f"{method} / HTTP/1.1\r\nHost: e\r\n\r\n".encode() for method in methods]
    read = [live.classify(*RequestHeads().read(head, live), "")[0].route for head in heads]
    assert read == ["default", "writes", "writes", "default", "writes"]


async def test_a_date_is_that_of_its_instant(still) -> None:
    live = still().server.live
    now = live.clock()
    first = live.date_at(now)
    assert first.endswith(b" GMT")
    assert live.date_at(Instant(now + 1_000_000_000)) != first
    assert live.date_at(now) == first


async def test_an_unknown_cell_uses_the_first_cells_upstreams(still) -> None:
    live = still().server.live
    assert live.group_of("nowhere") is live.group_of("default")


async def test_headers_that_decide_are_protected_from_connection(still) -> None:
    rule = Rule(name="beta", match=Match(header=(("x-beta", "*"),)))
    classification = Classification(rules=(rule,), tenant_header="X-Tenant")
    live = still(document={"classification": classification}).server.live
    assert {b"x-beta", b"x-tenant", b"traceparent"} <= live.header_context.protected
