from __future__ import annotations

import json
import re

import pytest

from shedproxy.core import Criticality, Outcome, RejectReason, milliseconds
from shedproxy.dataplane.wire.accounting import outcome_of
from shedproxy.observability.ring import find_refusal
from shedproxy.snapshot import Classification, Match, Rule

pytestmark = pytest.mark.anyio

GET = b"GET /a?q HTTP/1.1\r\nHost: e\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nx"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_served_request_is_counted_with_its_duration_and_logged(still) -> None:
    bench = still(access_log="all")
    client = bench.client()
    upstream = await bench.ask(client, GET)
    bench.clock.advance(milliseconds(30))
    upstream.protocol.data_received(OK)
    meter = bench.driver.meter
    assert (meter.finished(0), meter.goodput(0, Criticality.CRITICAL)) == (1, 1)
    line = json.loads(bench.server.log_lines()[0])
    assert (line["status"], line["duration_ms"], line["body_size"]) == (200, 30.0, 2)
    assert line["peer"] == "192.0.2.7"


@pytest.mark.parametrize("status", [b"500 No", b"503 Busy"])
async def test_an_error_of_the_upstream_is_no_goodput(still, status) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    assert (bench.driver.meter.finished(0), bench.driver.meter.goodput(0)) == (1, 0)


async def test_an_answer_after_its_deadline_is_no_goodput(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(
        client, b"GET / HTTP/1.1\r\nHost: e\r\nX-Request-Timeout-Ms: 50\r\n\r\n"
    )
    bench.clock.advance(milliseconds(60))
    upstream.protocol.data_received(OK)
    assert (bench.driver.meter.finished(0), bench.driver.meter.goodput(0)) == (1, 0)


async def test_control_requests_do_not_count_as_served_work(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, b"GET /healthz HTTP/1.1\r\nHost: e\r\n\r\n")
    upstream.protocol.data_received(OK)
    meter = bench.driver.meter
    assert (meter.finished(0), meter.bypassed(0)) == (0, 1)


async def test_who_finds_no_upstream_after_all_is_counted_once_and_can_ask_why(still) -> None:
    """What was admitted ends, as an error; what is refused on arrival never was."""
    bench = still(upstream={"connections_max": 1, "fail_after": 1})
    first, second, last = (bench.client() for _ in range(3))
    upstream = await bench.ask(first, POST)
    second.protocol.data_received(POST)
    last.protocol.data_received(GET)
    bench.failure = ConnectionRefusedError()
    upstream.lose()
    await bench.settle()
    sent = last.take()
    assert b"shedproxy-reason: no_upstream" in sent
    meter = bench.driver.meter
    assert (meter.admitted(0), meter.finished(0)) == (3, 3)
    assert meter.rejected(0) == meter.goodput(0) == 0
    (refusal_id,) = re.findall(rb"shedproxy-id: (\S+)", sent)
    found = find_refusal((bench.driver.ring,), refusal_id.decode())
    assert found is not None
    assert found.to_rejected().reason is RejectReason.NO_UPSTREAM
    assert bench.cell.in_flight == 0


async def test_a_client_that_leaves_is_a_499_in_the_log(still) -> None:
    bench = still(access_log="all")
    client = bench.client()
    await bench.ask(client, GET)
    client.lose()
    line = json.loads(bench.server.log_lines()[0])
    assert (line["status"], line["reason"]) == (499, "client_gone")


async def test_a_refusal_is_logged_with_what_it_saw_and_its_trace(still) -> None:
    rules = (Rule(name="shut", match=Match(path=("/shut",)), limit=0),)
    bench = still(document={"classification": Classification(rules=rules)})
    client = bench.client()
    trace = b"0af7651916cd43dd8448eb211c80319c"
    client.protocol.data_received(
        b"GET /shut HTTP/1.1\r\nHost: e\r\ntraceparent: 00-%b-b7ad6b7169203331-01\r\n\r\n" % trace
    )
    line = json.loads(bench.server.log_lines()[0])
    assert (line["outcome"], line["reason"]) == ("rejected", "route_limit")
    assert (line["limit"], line["in_flight"]) == (10, 0)
    assert line["trace_id"] == trace.decode()
    assert line["id"].encode() in client.take()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SUCCESS),
        (304, Outcome.SUCCESS),
        (404, Outcome.IGNORE),
        (429, Outcome.IGNORE),
        (500, Outcome.IGNORE),
        (502, Outcome.IGNORE),
        (503, Outcome.OVERLOAD),
        (504, Outcome.OVERLOAD),
    ],
)
def test_what_a_status_teaches(status: int, outcome: Outcome) -> None:
    assert outcome_of(status) is outcome
