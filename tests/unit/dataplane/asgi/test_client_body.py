"""A body is its client's business until it is here: it takes no slot, and no time of the app's."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.core import NS_PER_S, Kind, Mode, Outcome
from shedproxy.dataplane.asgi.client_body import BODY_HELD_MAX, expects_body
from shedproxy.dataplane.asgi.middleware import ShedMiddleware
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.stalls import LOOK_NS, STALL_NS
from shedproxy.snapshot import Document, Match, Rule
from shedproxy.testing import AsgiProbe, a_policy, eventually_async

pytestmark = pytest.mark.anyio

LENGTH = (b"content-length", b"10")
CHUNKED = (b"transfer-encoding", b"chunked")
LARGE = b"x" * BODY_HELD_MAX


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


@pytest.mark.parametrize(
    ("method", "headers", "version", "expected"),
    [
        ("POST", [LENGTH], "1.1", True),
        ("PUT", [(b"host", b"a"), CHUNKED], "1.1", True),
        ("POST", [(b"content-length", b"0")], "1.1", False),
        ("POST", [], "1.1", False),
        ("POST", [], "2", True),
        ("POST", [(b"content-length", b"0")], "2", False),
        ("GET", [LENGTH], "1.1", False),
        ("HEAD", [CHUNKED], "1.1", False),
    ],
)
def test_which_heads_are_followed_by_a_body(method, headers, version, expected):
    assert expects_body({"method": method, "headers": headers, "http_version": version}) is expected


async def test_a_body_that_does_not_come_holds_no_slot(shed, reader):
    middleware = shed(reader, limit=1)
    slow = [AsgiProbe(middleware).request("POST", headers=[LENGTH]) for _ in range(8)]
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
    assert request.body == b"%d" % (BODY_HELD_MAX + 3)


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


async def test_switched_off_it_holds_nothing(shed, reader):
    middleware = shed(reader, mode=Mode.OFF)
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


async def let_stall(middleware, clock):
    """Let so much time pass that a client that does not move gives way to who waits."""
    slow = middleware._runtime()._slow_bodies
    for _ in range(2 + STALL_NS // LOOK_NS):
        clock.advance(LOOK_NS)
        slow._turn()
        slow.close()  # its timers are the test's
    await asyncio.sleep(0)


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
    assert [one[:2] for one in finished] == [(Outcome.ABANDONED, 408), (Outcome.SUCCESS, 200)]
    assert cell(middleware).in_flight == 0


async def test_with_nobody_waiting_it_may_take_its_time(shed, reader, clock):
    middleware = shed(reader, limit=1, wait_max_ns=10 * NS_PER_S)
    slow = await stalled(middleware)
    await let_stall(middleware, clock)
    slow.send_body(b"end")
    await slow.end()
    assert slow.status == 200


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
    assert [one[:2] for one in finished] == [(Outcome.ABANDONED, 408), (Outcome.SUCCESS, 200)]


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
    quick.send_body()
    await quick.end()
    assert cell(middleware).in_flight == 0


async def test_what_an_app_raises_for_another_reason_is_passed_on(shed):
    async def app(scope, receive, send):
        raise LookupError

    request = AsgiProbe(shed(app)).request("POST", headers=[LENGTH])
    request.send_body(b"x")
    assert isinstance(await request.end(), LookupError)


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
