"""A body is its client's business until it is here: it takes no slot, and no time of the app's."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from shedproxy.core import NS_PER_S, CellPolicy, Kind, Lane, Mode, Outcome, Policy
from shedproxy.dataplane.asgi import client_body
from shedproxy.dataplane.asgi.middleware import ShedMiddleware
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.stalls import LOOK_NS, STALL_NS
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric import ProcessCounter
from shedproxy.snapshot import Classification, Document, Match, ProxyDocument, Rule, Timeouts
from shedproxy.testing import AsgiProbe, a_policy, eventually_async

pytestmark = pytest.mark.anyio

LENGTH = (b"content-length", b"10")
CHUNKED = (b"transfer-encoding", b"chunked")
HELD = ProxyDocument().permit_body_size
LARGE = b"x" * HELD


def cell(middleware):
    return middleware._driver.shedder.stats().cells[0]


class Reader:
    """An app that reads the whole body, as frameworks do, and answers with its length."""

    def __init__(self):
        self.messages = []
        self.endings = []

    async def __call__(self, scope, receive, send):
        length = 0
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "http.disconnect":
                self.endings.append("disconnect")
                raise ConnectionError("the client has left")
            length += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % length})


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def finished(monkeypatch):
    """What permits were given back with: outcome, status and the client's time."""
    seen = []
    finish = Driver.finish

    def noted(self, permit, outcome, status, stalled_ns=0):
        seen.append((outcome, status, stalled_ns))
        finish(self, permit, outcome, status, stalled_ns)

    monkeypatch.setattr(Driver, "finish", noted)
    return seen


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_body_that_does_not_come_holds_no_slot(shed, reader, method):
    middleware = shed(reader, limit=1)
    slow = [AsgiProbe(middleware).request(method, headers=[LENGTH]) for _ in range(8)]
    for request in slow:
        request.send_body(b"x", more=True)
    await eventually_async(lambda: all(request.receive_count == 2 for request in slow))
    assert (cell(middleware).in_flight, cell(middleware).queue_length) == (0, 0)
    quick = AsgiProbe(middleware).request()
    quick.send_body()
    await quick.end()
    assert quick.status == 200
    for request in slow:
        request.send_body(b"yz")
        await request.end()
        assert request.body == b"3"
    assert cell(middleware).in_flight == 0


async def test_parts_that_were_held_reach_the_app_as_one(shed, reader):
    request = AsgiProbe(shed(reader)).request("POST", headers=[CHUNKED])
    request.send_body(b"one", more=True)
    request.send_body(b"", more=True)
    request.send_body(b"two")
    await request.end()
    assert reader.messages == [{"type": "http.request", "body": b"onetwo", "more_body": False}]


async def test_a_message_without_its_optional_entries_is_an_empty_end(shed, reader):
    request = AsgiProbe(shed(reader)).request("POST", headers=[CHUNKED])
    request.feed({"type": "http.request"})
    await request.end()
    assert request.body == b"0"


async def test_of_a_larger_body_so_much_is_held_and_the_rest_is_read_with_the_slot(shed, reader):
    middleware = shed(reader, limit=1)
    request = AsgiProbe(middleware).request("POST", headers=[CHUNKED])
    request.send_body(LARGE[1:], more=True)
    await eventually_async(lambda: request.receive_count == 2)
    assert cell(middleware).in_flight == 0
    request.send_body(b"x", more=True)
    await eventually_async(lambda: cell(middleware).in_flight == 1)
    request.send_body(b"end")
    await request.end()
    assert request.body == b"%d" % (HELD + 3)


async def test_the_time_that_the_rest_takes_is_the_clients(shed, reader, clock, finished):
    request = AsgiProbe(shed(reader)).request("POST", headers=[CHUNKED])
    request.send_body(LARGE, more=True)
    await eventually_async(lambda: request.receive_count == 2)
    clock.advance(7_000)
    request.send_body(b"end")
    await request.end()
    assert finished == [(Outcome.SUCCESS, 200, 7_000)]


async def test_who_leaves_while_its_body_comes_was_never_there(shed, reader, finished):
    middleware = shed(reader)
    request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    request.send_body(b"x", more=True)
    request.disconnect()
    assert await request.end() is None
    assert (request.sent, reader.messages, finished) == ([], [], [])
    assert cell(middleware).in_flight == 0


async def test_a_call_that_is_cancelled_while_its_body_comes_leaves_nothing(shed, reader):
    middleware = shed(reader)
    request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    await eventually_async(lambda: request.receive_count == 1)
    request.cancel()
    assert isinstance(await request.end(), asyncio.CancelledError)
    assert cell(middleware).in_flight == 0


async def test_what_would_be_refused_is_refused_before_its_body(shed, reader):
    middleware = shed(reader, rules=[Rule(match=Match(path=("/**",)), limit=0)])
    request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    await request.end()
    assert (request.status, request.receive_count) == (503, 0)


async def test_a_deadline_runs_while_the_body_comes(shed, reader, clock):
    middleware = shed(reader, default_timeout_ns=NS_PER_S)
    request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    await eventually_async(lambda: request.receive_count == 1)
    clock.advance(NS_PER_S)
    request.send_body(b"x")
    await request.end()
    assert (request.status, request.headers["shedproxy-reason"]) == (503, "deadline")
    assert reader.messages == []


async def test_one_with_a_body_waits_for_a_slot_and_may_leave(shed, reader, held):
    async def app(scope, receive, send):
        await (held if scope["path"] == "/first" else reader)(scope, receive, send)

    middleware = shed(app, limit=1)
    first = AsgiProbe(middleware).request("GET", "/first")
    await eventually_async(lambda: held.started)
    requests = [AsgiProbe(middleware).request("POST", headers=[LENGTH]) for _ in range(2)]
    for request in requests:
        request.send_body(b"on", more=True)
        request.send_body(b"e")
    await eventually_async(lambda: cell(middleware).queue_length == 2)
    requests[0].disconnect()
    assert await requests[0].end() is None
    held.gate.set()
    await requests[1].end()
    await first.end()
    assert (requests[0].sent, requests[1].body) == ([], b"3")
    assert cell(middleware).in_flight == 0


async def test_a_stream_needs_no_slot_and_its_body_is_not_held(shed, reader):
    middleware = shed(reader, rules=[Rule(match=Match(path=("/s",)), kind=Kind.STREAM)])
    request = AsgiProbe(middleware).request("POST", "/s", headers=[CHUNKED])
    request.send_body(b"a", more=True)
    await eventually_async(lambda: reader.messages)
    request.send_body(b"b")
    await request.end()
    assert request.body == b"2"
    assert len(reader.messages) == 2


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.OBSERVE])
async def test_where_nobody_is_refused_nobody_is_kept_waiting(shed, reader, mode):
    middleware = shed(reader, mode=mode)
    request = AsgiProbe(middleware).request("POST", headers=[CHUNKED])
    request.send_body(b"a", more=True)
    await eventually_async(lambda: reader.messages)
    request.send_body(b"b")
    await request.end()
    assert request.body == b"2"


async def test_the_app_may_stop_waiting_and_ask_again(shed):
    got = []

    async def app(scope, receive, send):
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        got.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    request = AsgiProbe(shed(app)).request("POST", headers=[CHUNKED])
    request.send_body(LARGE, more=True)
    await eventually_async(lambda: request.receive_count == 2)
    request.send_body(b"end")
    await request.end()
    assert (got, request.receive_count) == ([b"end"], 2)


# --- giving way ---------------------------------------------------------------------------------


async def let_pass(middleware, clock, length_ns):
    """So much time, in which the loop looks who moves."""
    slow = middleware._runtime()._slow_bodies
    for _ in range(length_ns // LOOK_NS):
        clock.advance(LOOK_NS)
        slow.close()  # its timer is the test's
        slow._look()
        for _ in range(4):  # who is let in is heard of by its task, and the app by that
            await asyncio.sleep(0)


async def let_stall(middleware, clock):
    """So much that a client that does not move gives way to who waits."""
    await let_pass(middleware, clock, STALL_NS + 2 * LOOK_NS)


async def stalled(middleware):
    """A request of a large body that stopped, with the one slot."""
    request = AsgiProbe(middleware).request("POST", headers=[CHUNKED])
    request.send_body(LARGE, more=True)
    await eventually_async(lambda: request.receive_count == 2)
    assert cell(middleware).in_flight == 1
    return request


async def test_who_stops_in_a_large_body_gives_way_to_who_waits(shed, reader, clock, finished):
    middleware = shed(reader, limit=1, wait_max_ns=10 * NS_PER_S)
    slow = await stalled(middleware)
    quick = AsgiProbe(middleware).request()
    quick.send_body()
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    await let_stall(middleware, clock)
    assert await slow.end() is None
    await quick.end()
    assert (slow.status, slow.headers["shedproxy-reason"]) == (408, "slow_client")
    assert slow.headers["connection"] == "close"
    assert quick.status == 200
    assert [one[:2] for one in finished] == [(Outcome.IGNORE, 408), (Outcome.SUCCESS, 200)]
    assert cell(middleware).in_flight == 0


async def test_with_nobody_waiting_it_may_take_its_time(shed, reader, clock):
    middleware = shed(reader, limit=1, wait_max_ns=10 * NS_PER_S)
    slow = await stalled(middleware)
    await let_stall(middleware, clock)
    slow.send_body(b"end")
    await slow.end()
    assert slow.status == 200


async def test_but_not_for_ever(shed, reader, clock, finished):
    middleware = shed(reader, limit=1)
    slow = await stalled(middleware)
    await let_pass(middleware, clock, Timeouts().client_body_ns + LOOK_NS)
    assert await slow.end() is None
    assert (slow.status, slow.headers["shedproxy-reason"]) == (408, "body_timeout")
    assert [one[:2] for one in finished] == [(Outcome.IGNORE, 408)]
    assert middleware._driver.meter.faults(0, Fault.BODY_TIMEOUT) == 1
    assert cell(middleware).in_flight == 0


async def test_unless_the_app_has_begun_to_answer(shed, clock):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        message = await receive()
        await send({"type": "http.response.body", "body": message["body"]})

    middleware = shed(app, limit=1)
    slow = await stalled(middleware)
    await let_pass(middleware, clock, Timeouts().client_body_ns + LOOK_NS)
    slow.send_body(b"end")
    await slow.end()
    assert (slow.status, slow.body) == (200, b"end")


async def test_what_an_app_says_to_who_has_left_for_it_is_not_heard(shed, clock, finished):
    """Frameworks answer 500 when they are told in the middle of a body."""

    async def app(scope, receive, send):
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        status = 500 if message["type"] == "http.disconnect" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    middleware = shed(app, limit=1, wait_max_ns=10 * NS_PER_S)
    slow = await stalled(middleware)
    quick = AsgiProbe(middleware).request()
    quick.send_body()
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    await let_stall(middleware, clock)
    assert await slow.end() is None
    await quick.end()
    assert (slow.status, quick.status) == (408, 200)
    assert [one[:2] for one in finished] == [(Outcome.IGNORE, 408), (Outcome.SUCCESS, 200)]


async def test_an_answer_that_has_begun_is_the_apps_to_end(shed, clock, finished):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        await send({"type": "http.response.body", "body": message["type"].encode()})

    middleware = shed(app, limit=1, wait_max_ns=10 * NS_PER_S)
    slow = await stalled(middleware)
    quick = AsgiProbe(middleware).request()
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    await let_stall(middleware, clock)
    await slow.end()
    assert (slow.status, slow.body) == (200, b"http.disconnect")
    meter = middleware._driver.meter
    counted = meter.faults(0, Fault.SLOW_CLIENT), meter.counted(ProcessCounter.EVICTED_UPLOAD)
    assert counted == (0, 0), "nobody got a 408"
    quick.send_body()
    await quick.end()
    assert cell(middleware).in_flight == 0


async def test_what_an_app_raises_for_another_reason_is_passed_on(shed):
    async def app(scope, receive, send):
        raise LookupError

    request = AsgiProbe(shed(app)).request("POST", headers=[LENGTH])
    request.send_body(b"x")
    assert isinstance(await request.end(), LookupError)


async def test_with_a_timer_of_the_loop(reader, held):
    """As it is, in its own time."""

    async def app(scope, receive, send):
        await (held if scope["method"] == "GET" else reader)(scope, receive, send)

    middleware = ShedMiddleware(app, Document(policy=a_policy(limit=1, wait_max_ns=20 * NS_PER_S)))
    slow = AsgiProbe(middleware).request("POST", headers=[CHUNKED])
    slow.send_body(LARGE, more=True)
    await eventually_async(lambda: slow.receive_count == 2)
    quick = AsgiProbe(middleware).request()
    await slow.end()
    assert slow.status == 408
    held.gate.set()
    await quick.end()
    assert quick.status == 200
    await eventually_async(lambda: middleware._runtime()._slow_bodies._timer is None)
    middleware.close()


async def test_evictions_are_counted(shed, reader, clock):
    middleware = shed(reader, limit=1, wait_max_ns=10 * NS_PER_S)
    slow = await stalled(middleware)
    quick = AsgiProbe(middleware).request()
    quick.send_body()
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    await let_stall(middleware, clock)
    await slow.end()
    await quick.end()
    meter = middleware._driver.meter
    assert meter.faults(0, Fault.SLOW_CLIENT) == 1
    assert meter.counted(ProcessCounter.EVICTED_UPLOAD) == 1


async def test_its_owner_may_ask_for_no_rate(clock, reader):
    timeouts = Timeouts(contended_rate_min=0, body_rate_min=0)
    document = Document(
        policy=a_policy(limit=1, wait_max_ns=100 * NS_PER_S), proxy=ProxyDocument(timeouts=timeouts)
    )
    middleware = ShedMiddleware(reader, driver=Driver(document, clock=clock))
    slow = await stalled(middleware)
    quick = AsgiProbe(middleware).request()
    quick.send_body()
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    for _ in range(20):
        slow.send_body(b"x", more=True)
        await asyncio.sleep(0)
        await let_pass(middleware, clock, NS_PER_S)
    slow.send_body(b"end")
    await slow.end()
    await quick.end()
    assert (slow.status, quick.status) == (200, 200)


@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_a_client_that_leaves_in_its_body_teaches_nothing(shed, reader, finished, how):
    middleware = shed(reader, limit=1)
    slow = await stalled(middleware)
    slow.disconnect() if how == "leave" else slow.cancel()
    await slow.end()
    assert [one[:2] for one in finished] in (
        [(Outcome.IGNORE, 500)],  # the app raised
        [(Outcome.IGNORE, 499)],
    )


async def test_nor_does_one_whose_app_returns_without_a_word(shed, finished):
    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    slow = await stalled(shed(app, limit=1))
    slow.disconnect()
    assert await slow.end() is None
    assert [one[:2] for one in finished] == [(Outcome.IGNORE, 499)]


async def test_time_that_the_app_takes_is_not_the_clients(shed, clock):
    """Between the part that was held and the next that it asks for."""
    gate, waits = asyncio.Event(), []

    async def app(scope, receive, send):
        await receive()
        await gate.wait()
        waits.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    middleware = shed(app, limit=1, wait_max_ns=60 * NS_PER_S)
    upload = AsgiProbe(middleware).request("POST", headers=[CHUNKED])
    upload.send_body(LARGE, more=True)
    await eventually_async(lambda: cell(middleware).in_flight == 1)
    other = AsgiProbe(middleware).request()
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    clock.advance(3 * NS_PER_S)
    gate.set()
    await eventually_async(lambda: upload.receive_count == 2)
    await let_pass(middleware, clock, 2 * LOOK_NS)
    upload.send_body(b"end")
    await upload.end()
    assert upload.status == 200
    other.send_body()
    other.send_body()
    await other.end()


async def test_an_answer_beside_a_body_that_comes_is_no_latency(shed, monkeypatch):
    sampled = []
    release = Driver.release_at
    monkeypatch.setattr(
        Driver,
        "release_at",
        lambda self, permit, *rest: (
            sampled.append(permit.is_sampled),
            release(self, permit, *rest),
        ),
    )

    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        await send({"type": "http.response.body", "body": b""})

    request = AsgiProbe(shed(app)).request("POST", headers=[CHUNKED])
    request.send_body(LARGE, more=True)
    request.send_body(b"end")
    await request.end()
    assert sampled == [True]


async def test_a_control_request_has_no_slot_to_give(shed, reader, clock, held):
    async def app(scope, receive, send):
        await (held if scope["path"] == "/held" else reader)(scope, receive, send)

    middleware = shed(
        app,
        limit=1,
        wait_max_ns=10 * NS_PER_S,
        rules=[Rule(match=Match(path=("/c",)), lane=Lane.CONTROL)],
    )
    control = AsgiProbe(middleware).request("POST", "/c", headers=[LENGTH])
    await eventually_async(lambda: control.receive_count == 1)
    requests = [AsgiProbe(middleware).request("GET", "/held") for _ in range(2)]
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    await let_stall(middleware, clock)
    control.send_body(b"late")
    await control.end()
    assert (control.status, control.body) == (200, b"4")
    held.gate.set()
    for request in requests:
        await request.end()


# --- stopping before the slot -------------------------------------------------------------------


def is_let_in(request):
    """Whether its app runs: what the load is, is told with the slot."""
    return "shedproxy" in request.scope["state"]


async def test_who_waits_for_a_word_first_gets_it_where_nobody_wants_the_slot(shed, clock):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            message = await receive()
            more = message["more_body"]
            body = {"type": "http.response.body", "body": message["body"], "more_body": more}
            await send(body)
            if not more:
                return

    middleware = shed(app)
    request = AsgiProbe(middleware).request("POST", headers=[CHUNKED])
    request.send_body(b"ping", more=True)
    await eventually_async(lambda: request.receive_count == 2)
    await let_pass(middleware, clock, STALL_NS - LOOK_NS)
    assert not request.sent
    await let_pass(middleware, clock, LOOK_NS)
    await eventually_async(lambda: request.body == b"ping")
    request.send_body(b"pong")
    await request.end()
    assert request.body == b"pingpong"


async def test_who_stops_is_not_let_in_before_who_waits_and_gives_way_at_once(
    shed, reader, held, clock
):
    async def app(scope, receive, send):
        await (held if scope["method"] == "GET" else reader)(scope, receive, send)

    middleware = shed(app, limit=1, wait_max_ns=30 * NS_PER_S)
    slow = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    slow.send_body(b"x", more=True)
    await eventually_async(lambda: slow.receive_count == 2)
    first, second = [AsgiProbe(middleware).request() for _ in range(2)]
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    await let_stall(middleware, clock)
    assert cell(middleware).queue_length == 1, "the slow one does not even wait"
    held.gate.set()
    await first.end()
    await second.end()
    await let_pass(middleware, clock, LOOK_NS)
    assert cell(middleware).in_flight == 1, "nobody wants it"
    third = AsgiProbe(middleware).request()
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    await let_pass(middleware, clock, 2 * LOOK_NS)
    await slow.end()
    await third.end()
    assert (slow.status, third.status) == (408, 200)


async def test_of_those_who_stopped_one_is_let_in_at_a_look_and_the_longest_first(
    shed, reader, clock
):
    middleware = shed(reader, limit=2)
    paths = ["/1", "/2", "/3"]
    slow = {
        path: AsgiProbe(middleware).request("POST", path, headers=[LENGTH])
        for path in reversed(paths)
    }
    await eventually_async(lambda: all(request.receive_count == 1 for request in slow.values()))
    for path in paths:
        slow[path].send_body(b"x", more=True)
        await eventually_async(lambda request=slow[path]: request.receive_count == 2)
        clock.advance(1)
    await let_pass(middleware, clock, STALL_NS)
    inside = []
    for _ in range(3):
        inside.append([path for path in paths if is_let_in(slow[path])])
        await let_pass(middleware, clock, LOOK_NS)
    assert inside == [["/1"], ["/1", "/2"], ["/1", "/2"]]
    assert cell(middleware).queue_length == 0, "no slot is free"
    slow["/1"].send_body(b"y")
    await slow["/1"].end()
    await let_pass(middleware, clock, LOOK_NS)
    assert is_let_in(slow["/3"])
    for path in ("/2", "/3"):
        slow[path].send_body(b"y")
        await slow[path].end()
    assert [slow[path].status for path in paths] == [200, 200, 200]


async def test_one_is_let_in_of_each_cell(reader, clock):
    cells = tuple(CellPolicy(name=name) for name in ("one", "two"))
    rules = tuple(Rule(match=Match(path=(f"/{cell.name}",)), cell=cell.name) for cell in cells)
    document = Document(policy=Policy(cells=cells), classification=Classification(rules=rules))
    middleware = ShedMiddleware(reader, driver=Driver(document, clock=clock))
    paths = ("/one", "/one", "/two")
    slow = [AsgiProbe(middleware).request("POST", path, headers=[LENGTH]) for path in paths]
    for request in slow:
        request.send_body(b"x", more=True)
    await eventually_async(lambda: all(request.receive_count == 2 for request in slow))
    await let_pass(middleware, clock, STALL_NS)
    assert [is_let_in(request) for request in slow] == [True, False, True]
    for request in slow:
        request.send_body(b"y")
        await request.end()


async def test_who_needs_more_slots_than_are_free_is_not_let_in(shed, reader, held, clock):
    async def app(scope, receive, send):
        await (held if scope["method"] == "GET" else reader)(scope, receive, send)

    rule = Rule(match=Match(path=("/heavy",)), cost=2)
    middleware = shed(app, limit=2, rules=[rule])
    first = AsgiProbe(middleware).request()
    slow = AsgiProbe(middleware).request("POST", "/heavy", headers=[LENGTH])
    await eventually_async(lambda: held.started and slow.receive_count == 1)
    await let_pass(middleware, clock, STALL_NS)
    assert (is_let_in(slow), cell(middleware).queue_length) == (False, 0)
    held.gate.set()
    await first.end()
    await let_pass(middleware, clock, LOOK_NS)
    assert cell(middleware).in_flight == 2
    slow.send_body(b"x")
    await slow.end()


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(shed, held, clock, reader):
    async def app(scope, receive, send):
        await (held if scope["method"] == "GET" else reader)(scope, receive, send)

    middleware = shed(app, limit=1, wait_max_ns=100 * NS_PER_S)
    others = [AsgiProbe(middleware).request() for _ in range(2)]
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    slow = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    slow.send_body(b"x", more=True)
    await eventually_async(lambda: slow.receive_count == 2)
    await let_pass(middleware, clock, Timeouts().client_body_ns + LOOK_NS)
    await slow.end()
    assert (slow.status, slow.headers["shedproxy-reason"]) == (408, "body_timeout")
    assert middleware._driver.meter.faults(0, Fault.BODY_TIMEOUT) == 1
    assert middleware._runtime()._slow_bodies.held == 0
    held.gate.set()
    for other in others:
        await other.end()


async def look_in_this_turn(middleware, clock, after_ns):
    """So much time with its looks, the last of them without a turn of the loop after it."""
    await let_pass(middleware, clock, after_ns - LOOK_NS)
    clock.advance(LOOK_NS)
    slow = middleware._runtime()._slow_bodies
    slow.close()
    slow._look()


async def test_a_server_that_cancels_in_the_turn_of_that_is_obeyed(shed, clock, reader):
    middleware = shed(reader)
    slow = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    await eventually_async(lambda: slow.receive_count == 1)
    await look_in_this_turn(middleware, clock, STALL_NS)
    slow.cancel()
    assert isinstance(await slow.end(), asyncio.CancelledError)
    assert reader.messages == []
    assert cell(middleware).in_flight == 0


@pytest.mark.parametrize("is_past", [True, False])
async def test_a_cancellation_from_before_is_not_taken_for_ours(shed, clock, reader, is_past):
    """Somebody cancelled the task, and thought better of it or not, before we were called."""
    middleware = shed(reader)

    async def outer(scope, receive, send):
        asyncio.current_task().cancel()
        if is_past:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        await middleware(scope, receive, send)

    request = AsgiProbe(outer).request("POST", headers=[LENGTH])
    request.send_body(b"x", more=True)
    if is_past:
        await eventually_async(lambda: request.receive_count == 2)
        await let_pass(middleware, clock, STALL_NS)
        await eventually_async(lambda: cell(middleware).in_flight == 1)
        request.send_body(b"y")
        await request.end()
        assert request.body == b"2"
    else:
        assert isinstance(await request.end(), asyncio.CancelledError)
        assert reader.messages == []
    assert cell(middleware).in_flight == 0


async def test_a_read_of_the_server_is_never_broken_off_for_that(shed, clock, reader):
    """Some lose what one had that is cancelled (granian)."""
    middleware = shed(reader)
    broken_off = []

    async def outer(scope, receive, send):
        async def noted():
            try:
                return await receive()
            except asyncio.CancelledError:
                broken_off.append(1)
                raise

        await middleware(scope, noted, send)

    request = AsgiProbe(outer).request("POST", headers=[CHUNKED])
    request.send_body(b"x", more=True)
    await eventually_async(lambda: request.receive_count == 2)
    await let_pass(middleware, clock, STALL_NS)
    await eventually_async(lambda: cell(middleware).in_flight == 1)
    request.send_body(b"y")
    await request.end()
    assert (request.body, request.receive_count, broken_off) == (b"2", 2, [])


async def test_what_comes_in_the_turn_of_that_is_taken(shed, clock, reader):
    middleware = shed(reader)
    request = AsgiProbe(middleware).request("POST", headers=[CHUNKED])
    request.send_body(b"x", more=True)
    await eventually_async(lambda: request.receive_count == 2)
    await look_in_this_turn(middleware, clock, STALL_NS)
    request.send_body(b"yz")
    await request.end()
    assert request.body == b"3"


async def test_also_when_nobody_would_wait_any_more(shed, clock, reader, held):
    async def app(scope, receive, send):
        await (held if scope["method"] == "GET" else reader)(scope, receive, send)

    middleware = shed(app, limit=1, wait_max_ns=100 * NS_PER_S)
    first = AsgiProbe(middleware).request()
    await eventually_async(lambda: held.started)
    request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    await eventually_async(lambda: request.receive_count == 1)
    await look_in_this_turn(middleware, clock, Timeouts().client_body_ns)
    request.send_body(b"late")
    held.gate.set()
    await first.end()
    await request.end()
    assert (request.status, request.body) == (200, b"4")


async def test_who_has_stopped_inside_gives_way_to_who_has_before_it(shed, reader, clock):
    middleware = shed(reader, limit=1, wait_max_ns=30 * NS_PER_S)
    slow = []
    for _ in range(2):
        request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
        request.send_body(b"x", more=True)
        await eventually_async(lambda request=request: request.receive_count == 2)
        clock.advance(1)
        slow.append(request)
    first, second = slow
    await let_pass(middleware, clock, STALL_NS + LOOK_NS)
    assert (is_let_in(first), is_let_in(second)) == (True, False)
    await let_pass(middleware, clock, STALL_NS + 2 * LOOK_NS)
    await first.end()
    assert first.status == 408
    await eventually_async(lambda: is_let_in(second))
    second.send_body(b"y")
    await second.end()
    assert second.body == b"2"


async def test_time_in_which_the_loop_stood_still_is_nobodys(shed, reader, clock):
    middleware = shed(reader)
    request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    await eventually_async(lambda: request.receive_count == 1)
    slow = middleware._runtime()._slow_bodies
    clock.advance(2 * Timeouts().client_body_ns)
    slow.close()
    slow._look()
    request.send_body(b"here meanwhile")
    await request.end()
    assert (request.status, request.body) == (200, b"14")


async def test_once_nobody_is_refused_nobody_is_kept_waiting(shed, reader, held, clock):
    async def app(scope, receive, send):
        await (held if scope["method"] == "GET" else reader)(scope, receive, send)

    middleware = shed(app, limit=1)
    first = AsgiProbe(middleware).request()
    await eventually_async(lambda: held.started)
    slow = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    await eventually_async(lambda: slow.receive_count == 1)
    middleware._driver.set_mode(Mode.OFF)
    await let_pass(middleware, clock, LOOK_NS)
    await eventually_async(lambda: is_let_in(slow))
    slow.send_body(b"x")
    await slow.end()
    assert slow.status == 200
    held.gate.set()
    await first.end()


async def test_what_all_hold_together_is_bounded(shed, reader, monkeypatch):
    monkeypatch.setattr(client_body, "HELD_ALL_MAX", 10)
    middleware = shed(reader)
    requests = [AsgiProbe(middleware).request("POST", headers=[LENGTH]) for _ in range(3)]
    for request in requests:
        request.send_body(b"12345", more=True)
    # The first waits for more, and for the others there is no room: the slots bound them.
    await eventually_async(lambda: all(request.receive_count == 2 for request in requests))
    assert len(reader.messages) == cell(middleware).in_flight == 2
    for request in requests:
        request.send_body(b"6")
        await request.end()
        assert request.body == b"6"
    assert middleware._runtime()._slow_bodies.held == 0


@pytest.mark.parametrize("how", ["run", "leave", "cancel", "expire"])
async def test_what_waits_in_the_queue_is_held_too(shed, reader, held, clock, monkeypatch, how):
    async def app(scope, receive, send):
        await (held if scope["method"] == "GET" else reader)(scope, receive, send)

    monkeypatch.setattr(client_body, "HELD_ALL_MAX", 10)
    middleware = shed(app, limit=1, wait_max_ns=NS_PER_S)
    slow = middleware._runtime()._slow_bodies
    first = AsgiProbe(middleware).request()
    await eventually_async(lambda: held.started)
    requests = []
    for count in range(3):
        request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
        request.send_body(b"12345")
        requests.append(request)
        await eventually_async(lambda count=count: cell(middleware).queue_length == count + 1)
    assert slow.held == 10
    assert requests[2].receive_count == 0, "there is no room for it"
    if how == "run":
        held.gate.set()
    elif how == "expire":
        clock.advance(NS_PER_S)
        middleware._driver.tick()
    else:
        for request in requests:
            request.disconnect() if how == "leave" else request.cancel()
        await requests[0].end()
        assert slow.held <= 5
        held.gate.set()
    for request in requests:
        await request.end()
    held.gate.set()
    await first.end()
    if how == "run":
        assert [request.body for request in requests] == [b"5", b"5", b"5"]
        assert len(reader.messages) == 4, "an empty part of the one that there was no room for"
    assert slow.held == 0


async def test_what_the_app_has_taken_is_its_own(shed, held):
    async def app(scope, receive, send):
        if scope["method"] == "POST":
            await receive()
        await held(scope, receive, send)

    middleware = shed(app, limit=1)
    first = AsgiProbe(middleware).request()
    await eventually_async(lambda: held.started)
    second = AsgiProbe(middleware).request("POST", "/second", headers=[LENGTH])
    second.send_body(b"12345")
    slow = middleware._runtime()._slow_bodies
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    assert slow.held == 5
    held.gate.set()
    await first.end()
    held.gate.clear()
    await eventually_async(lambda: held.started == ["/", "/second"])
    assert slow.held == 0
    held.gate.set()
    await second.end()


async def test_a_client_that_waits_to_send_a_large_body_is_told_by_the_app(shed, held):
    middleware = shed(held, limit=1)
    headers = [(b"content-length", b"100000"), (b"expect", b"100-continue")]
    first, second = [
        AsgiProbe(middleware).request("PUT", path, headers) for path in ("/first", "/second")
    ]
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    assert (first.receive_count, second.receive_count) == (0, 0)
    held.gate.set()
    await first.end()
    await second.end()


async def test_one_that_sends_a_small_one_is_seen_to_leave_the_queue(shed, held):
    middleware = shed(held, limit=1)
    first = AsgiProbe(middleware).request("GET", "/first")
    await eventually_async(lambda: held.started)
    headers = [LENGTH, (b"expect", b"100-continue")]
    second = AsgiProbe(middleware).request("PUT", "/second", headers)
    second.send_body(b"0123456789")
    await eventually_async(lambda: cell(middleware).queue_length == 1)
    second.disconnect()
    assert await second.end() is None
    assert cell(middleware).queue_length == 0
    held.gate.set()
    await first.end()


async def test_an_error_of_the_server_is_passed_on(shed, reader):
    async def receive():
        raise LookupError

    middleware = shed(reader)
    scope = AsgiProbe(reader).request("POST", headers=[LENGTH]).scope
    with pytest.raises(LookupError):
        await middleware(scope, receive, None)
    assert middleware._runtime()._slow_bodies.held == 0


async def test_two_that_read_at_once_get_a_message_each(shed):
    got = []

    async def app(scope, receive, send):
        await receive()
        got.extend(message["body"] for message in await asyncio.gather(receive(), receive()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    request = AsgiProbe(shed(app)).request("POST", headers=[CHUNKED])
    for part in (LARGE, b"one"):
        request.send_body(part, more=True)
    request.send_body(b"two")
    await request.end()
    assert got == [b"one", b"two"]


async def test_the_hook_is_asked_once(shed, reader):
    asked = []
    middleware = shed(reader, classify=lambda scope, info: asked.append(info))
    request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    request.send_body(b"x", more=True)
    await eventually_async(lambda: request.receive_count == 2)
    request.send_body(b"y")
    await request.end()
    assert (request.status, len(asked)) == (200, 1)


async def test_nothing_of_a_body_is_kept_when_its_request_is_over(shed, clock):
    async def app(scope, receive, send):
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    middleware = shed(app)
    request = AsgiProbe(middleware).request("POST", headers=[CHUNKED])
    request.send_body(LARGE, more=True)
    await request.end()
    assert request.status == 413
    assert len(middleware._runtime()._slow_bodies._stalls) == 0


async def test_its_own_middleware_has_it_too(reader):
    middleware = ShedMiddleware(reader, Document(policy=a_policy()))
    request = AsgiProbe(middleware).request("POST", headers=[LENGTH])
    request.send_body(b"x")
    await request.end()
    assert request.body == b"1"
    middleware.close()
