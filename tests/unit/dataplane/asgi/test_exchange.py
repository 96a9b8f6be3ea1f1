"""One request's permit: taken once, given back once, whatever happens in between."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.core import NS_PER_S, Kind, Outcome
from shedproxy.dataplane.asgi.exchange import READER_PATIENCE_NS, Exchange, outcome_of
from shedproxy.dataplane.driver import Driver
from shedproxy.snapshot import Document, Match, Rule
from shedproxy.testing import AsgiProbe, a_policy, a_request, eventually_async

pytestmark = pytest.mark.anyio


def cell(middleware):
    return middleware._driver.shedder.stats().cells[0]


def start(status=200, content_type=b"text/plain"):
    headers = [(b"Content-Type", content_type)]
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.fixture
def outcomes(monkeypatch):
    """The outcomes that permits were given back with."""
    seen = []
    finish = Driver.finish

    def noted(self, permit, outcome, status, stalled_ns=0):
        seen.append(outcome)
        finish(self, permit, outcome, status, stalled_ns)

    monkeypatch.setattr(Driver, "finish", noted)
    return seen


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SUCCESS),
        (304, Outcome.SUCCESS),
        (404, Outcome.IGNORE),
        (500, Outcome.IGNORE),
        (503, Outcome.OVERLOAD),
        (504, Outcome.OVERLOAD),
    ],
)
def test_what_a_status_teaches(status, outcome):
    assert outcome_of(status) is outcome


@pytest.mark.parametrize("status", [0, 99, 1000, -1])
async def test_what_is_no_status_is_a_failure_and_no_crash(shed, outcomes, status):
    async def app(scope, receive, send):
        await send(start(status))
        await send(body())

    assert await AsgiProbe(shed(app)).request().end() is None
    assert outcomes == [Outcome.IGNORE]


async def test_the_slot_is_free_at_the_last_part_of_the_body(shed, outcomes):
    """Work after the answer (background tasks) is not the answer's latency."""
    gate = asyncio.Event()

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"a", more=True))
        await send(body(b"b"))
        await gate.wait()
        raise LookupError("after the answer")

    middleware = shed(app, limit=1)
    request = AsgiProbe(middleware).request()
    await eventually_async(lambda: request.body == b"ab")
    assert (cell(middleware).in_flight, outcomes) == (0, [Outcome.SUCCESS])
    gate.set()
    assert isinstance(await request.end(), LookupError)
    assert outcomes == [Outcome.SUCCESS]


async def test_an_exception_frees_the_slot_and_is_passed_on(shed, outcomes):
    async def app(scope, receive, send):
        raise LookupError

    middleware = shed(app, limit=1)
    assert isinstance(await AsgiProbe(middleware).request().end(), LookupError)
    assert (cell(middleware).in_flight, outcomes) == (0, [Outcome.IGNORE])


async def test_cancellation_frees_the_slot(shed, held, outcomes):
    middleware = shed(held, limit=1)
    request = AsgiProbe(middleware).request()
    await eventually_async(lambda: held.started)
    request.cancel()
    assert isinstance(await request.end(), asyncio.CancelledError)
    assert (cell(middleware).in_flight, outcomes) == (0, [Outcome.ABANDONED])


async def test_an_app_that_sees_its_client_leave_frees_the_slot(shed, outcomes):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"part", more=True))
        assert (await receive())["type"] == "http.disconnect"

    middleware = shed(app, limit=1)
    request = AsgiProbe(middleware).request()
    request.disconnect()
    await request.end()
    assert (cell(middleware).in_flight, outcomes) == (0, [Outcome.ABANDONED])


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_server_that_tells_by_an_error_of_send(shed, outcomes, at):
    """ASGI 2.4: send raises OSError when the client has gone."""
    request = None

    async def app(scope, receive, send):
        for number, message in enumerate([start(), body(b"a", more=True), body()]):
            if number == at:
                request.send_error = OSError("gone")
            await send(message)

    middleware = shed(app, limit=1)
    request = AsgiProbe(middleware).request()
    assert isinstance(await request.end(), OSError)
    assert cell(middleware).in_flight == 0
    assert outcomes == [Outcome.SUCCESS if at == 2 else Outcome.ABANDONED]


async def test_an_answer_by_path_ends_the_exchange(shed, outcomes):
    async def app(scope, receive, send):
        await send(start())
        await send({"type": "http.response.pathsend", "path": "/etc/hostname"})

    await AsgiProbe(shed(app)).request().end()
    assert outcomes == [Outcome.SUCCESS]


async def test_an_event_stream_becomes_a_resident(shed):
    gate = asyncio.Event()

    async def app(scope, receive, send):
        await send(start(content_type=b"Text/Event-Stream; charset=utf-8"))
        await send(body(b"data: 1\n\n", more=True))
        await gate.wait()
        await send(body())

    middleware = shed(app, limit=1)
    request = AsgiProbe(middleware).request()
    await eventually_async(lambda: request.body)
    assert (cell(middleware).in_flight, cell(middleware).residents) == (0, 1)
    gate.set()
    await request.end()
    assert cell(middleware).residents == 0


async def test_a_route_called_unary_stays_unary(shed):
    async def app(scope, receive, send):
        await send(start(content_type=b"text/event-stream"))
        await receive()

    middleware = shed(app, limit=1, rules=[Rule(match=Match(path=("/x",)), kind=Kind.UNARY)])
    request = AsgiProbe(middleware).request("GET", "/x")
    await request.read()
    assert (cell(middleware).in_flight, cell(middleware).residents) == (1, 0)
    request.disconnect()
    await request.end()


async def hold_at_part(request):
    """Let the head pass and stop reading at the first part of the body."""
    request.hold_sends.clear()
    await request.read()
    request.hold_sends.set()
    request.hold_sends.clear()
    await request.read()


async def test_time_that_the_client_takes_is_not_the_apps(shed, clock, monkeypatch):
    stalled = []
    finish = Driver.finish
    monkeypatch.setattr(
        Driver,
        "finish",
        lambda self, permit, outcome, status, stalled_ns=0: (
            stalled.append(stalled_ns),
            finish(self, permit, outcome, status, stalled_ns),
        ),
    )

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"part", more=True))
        await send(body())

    request = AsgiProbe(shed(app)).request()
    await hold_at_part(request)
    clock.advance(7_000)
    request.hold_sends.set()
    await request.end()
    assert stalled == [7_000]


async def test_a_reader_that_does_not_read_loses_its_slot_and_keeps_its_answer(shed, clock):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"part", more=True))
        await send(body(b"end"))

    middleware = shed(app, limit=1)
    request = AsgiProbe(middleware).request()
    await hold_at_part(request)
    clock.advance(READER_PATIENCE_NS)
    await eventually_async(lambda: cell(middleware).residents == 1)
    assert cell(middleware).in_flight == 0
    request.hold_sends.set()
    await request.end()
    assert request.body == b"partend"
    assert cell(middleware).residents == 0


async def test_a_socket_is_a_resident_until_the_app_returns(shed, outcomes):
    async def app(scope, receive, send):
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": message["text"]})

    middleware = shed(app, limit=1)
    socket = AsgiProbe(middleware).websocket()
    socket.feed({"type": "websocket.connect"})
    socket.feed({"type": "websocket.receive", "text": "hi"})
    await socket.read()
    assert (await socket.read())["text"] == "hi"
    assert (cell(middleware).in_flight, cell(middleware).residents) == (0, 1)
    socket.disconnect()
    assert await socket.end() is None
    assert (cell(middleware).residents, outcomes) == (0, [Outcome.SUCCESS])


@pytest.mark.parametrize("how", ["raise", "cancel"])
async def test_a_socket_that_ends_badly_is_given_back_too(shed, how):
    async def app(scope, receive, send):
        await receive()
        raise LookupError

    middleware = shed(app)
    socket = AsgiProbe(middleware).websocket()
    if how == "raise":
        socket.feed({"type": "websocket.connect"})
    else:
        await eventually_async(lambda: cell(middleware).residents)
        socket.cancel()
    assert await socket.end() is not None
    assert cell(middleware).residents == 0


# --- waiting ------------------------------------------------------------------------------------


async def fill(middleware, held):
    """Take the one slot; returns the request that has it."""
    first = AsgiProbe(middleware).request("GET", "/first")
    await eventually_async(lambda: held.started)
    return first


async def waiting(middleware, *args, **more):
    request = AsgiProbe(middleware).request(*args, **more)
    before = cell(middleware).queue_length
    await eventually_async(lambda: cell(middleware).queue_length == before + 1)
    return request


async def test_a_waiter_runs_when_the_slot_is_free(shed, held):
    middleware = shed(held, limit=1)
    first = await fill(middleware, held)
    second = await waiting(middleware, "GET", "/second")
    held.gate.set()
    await first.end()
    await second.end()
    assert (first.status, second.status) == (200, 200)
    assert held.started == ["/first", "/second"]
    assert cell(middleware).in_flight == 0


async def test_a_waiter_whose_time_is_up_is_refused(shed, held, clock):
    middleware = shed(held, limit=1, wait_max_ns=NS_PER_S)
    first = await fill(middleware, held)
    second = await waiting(middleware)
    clock.advance(NS_PER_S)
    middleware._driver.tick()
    await second.end()
    assert (second.status, second.headers["shedproxy-reason"]) == (503, "queue_timeout")
    held.gate.set()
    await first.end()


async def test_a_waiter_that_leaves_is_abandoned_at_once(shed, held):
    middleware = shed(held, limit=1)
    first = await fill(middleware, held)
    second = await waiting(middleware)
    second.send_body()
    second.disconnect()
    assert await second.end() is None
    assert (second.sent, cell(middleware).queue_length) == ([], 0)
    held.gate.set()
    await first.end()
    assert held.started == ["/first"]


async def test_a_cancelled_waiter_is_abandoned(shed, held):
    middleware = shed(held, limit=1)
    first = await fill(middleware, held)
    second = await waiting(middleware)
    second.cancel()
    assert isinstance(await second.end(), asyncio.CancelledError)
    assert cell(middleware).queue_length == 0
    held.gate.set()
    await first.end()
    assert cell(middleware).in_flight == 0


@pytest.mark.parametrize("how", ["cancel", "disconnect"])
async def test_a_waiter_that_goes_in_the_turn_of_its_admission_gives_the_slot_back(shed, held, how):
    middleware = shed(held, limit=1)
    first = await fill(middleware, held)
    second = await waiting(middleware)
    # The same turn of the loop: first its verdict, then its end, then it runs.
    permit_holder = middleware._driver
    getattr(second, how)()
    held.gate.set()
    await first.end()
    await second.end()
    assert cell(middleware).in_flight == 0
    assert permit_holder.shedder.stats().cells[0].queue_length == 0


async def test_what_was_read_while_waiting_reaches_the_app(shed, held):
    got = []

    async def app(scope, receive, send):
        if scope["path"] == "/first":
            return await held(scope, receive, send)
        while (message := await receive())["type"] == "http.request":
            got.append(message["body"])
            if not message["more_body"]:
                break
        await send(start())
        await send(body())

    middleware = shed(app, limit=1)
    first = await fill(middleware, held)
    second = await waiting(middleware, "POST", "/second")
    second.send_body(b"one", more=True)
    second.send_body(b"two", more=True)
    second.send_body(b"three")
    await eventually_async(lambda: second.receive_count == 1)
    held.gate.set()
    await first.end()
    await second.end()
    assert (got, second.status) == ([b"one", b"two", b"three"], 200)


async def test_no_more_than_one_part_of_a_body_is_read_while_waiting(shed, held):
    middleware = shed(held, limit=1)
    first = await fill(middleware, held)
    second = await waiting(middleware, "POST")
    for _ in range(10):
        second.send_body(b"x", more=True)
    await eventually_async(lambda: second.receive_count == 1)
    held.gate.set()
    await first.end()
    await second.end()
    assert second.receive_count == 1


async def test_the_read_under_way_is_the_apps(shed, held):
    """A GET is complete at once; the read for its disconnect goes on and must not be lost."""
    got = []

    async def app(scope, receive, send):
        if scope["path"] == "/first":
            return await held(scope, receive, send)
        got.append((await receive())["type"])
        got.append((await receive())["type"])

    middleware = shed(app, limit=1)
    first = await fill(middleware, held)
    second = await waiting(middleware, "GET", "/second")
    second.send_body()
    await eventually_async(lambda: second.receive_count == 2)
    held.gate.set()
    await first.end()
    second.disconnect()
    await second.end()
    assert got == ["http.request", "http.disconnect"]
    assert second.receive_count == 2


async def test_nobody_is_told_to_continue_while_waiting(shed, held):
    """The first read makes a server send 100 Continue."""
    middleware = shed(held, limit=1, wait_max_ns=NS_PER_S)
    first = await fill(middleware, held)
    second = await waiting(middleware, "POST", "/", [(b"expect", b"100-continue")])
    held.gate.set()
    await first.end()
    await second.end()
    assert (second.status, second.receive_count) == (200, 0)


async def test_a_read_that_fails_while_waiting_ends_the_wait(shed, held):
    middleware = shed(held, limit=1)
    first = await fill(middleware, held)

    async def receive():
        raise RuntimeError("the server broke")

    scope = AsgiProbe(held).request("GET", "/second").scope
    with pytest.raises(RuntimeError, match="broke"):
        await middleware(scope, receive, None)
    assert cell(middleware).queue_length == 0
    held.gate.set()
    await first.end()


async def test_a_verdict_for_nobody_is_given_back(clock):
    driver = Driver(Document(policy=a_policy(limit=1)), clock=clock)
    exchange = Exchange(driver, None, None)
    permit = driver.arrive(a_request(), exchange)
    exchange.on_verdict(permit)
    assert permit.is_released
