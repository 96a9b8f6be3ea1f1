"""The middleware from outside: what the client gets, what the app sees, what is in flight."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from shedproxy import Criticality, Document, Match, Mode, Policy, Rule
from shedproxy.core import (
    BUCKETS,
    CellPolicy,
    LimitPolicy,
    MovePhase,
    QueuePolicy,
    RejectReason,
    RequestInfo,
    SpillPolicy,
    milliseconds,
    motion_place,
    seconds,
)
from shedproxy.dataplane.asgi import ShedMiddleware, ShedState
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.key_moves import Moving
from shedproxy.errors import DocumentInvalidError, StartupError
from shedproxy.simulator.replay import verify
from shedproxy.snapshot import CellRouting, Classification, RejectDocument, cell_hash
from shedproxy.testing import AsgiProbe, a_policy, eventually_async
from shedproxy.workload.trace import TraceReader

pytestmark = pytest.mark.anyio


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def in_flight(middleware):
    return middleware._driver.shedder.stats().cells[0].in_flight


async def test_an_answer_passes_and_frees_its_slot(shed):
    middleware = shed(hello, limit=1)
    for _ in range(3):
        request = AsgiProbe(middleware).request()
        assert await request.end() is None
        assert (request.status, request.body) == (200, b"hello")
    assert in_flight(middleware) == 0
    assert middleware._driver.meter.finished(0) == 3
    assert middleware._driver.meter.goodput(0) == 3


async def test_over_the_limit_is_refused_before_the_body_is_asked_for(shed, held):
    middleware = shed(held, limit=1, queue_length=0)
    probe = AsgiProbe(middleware)
    first = probe.request()
    await eventually_async(lambda: held.started)
    second = probe.request("POST", "/upload")
    assert await second.end() is None
    assert (second.status, second.receive_count) == (503, 0)
    assert second.headers["shedproxy-reason"] == "queue_full"
    assert int(second.headers["retry-after"]) >= 1
    assert middleware._driver.ring.find(
        middleware._driver.ring.parse_id(second.headers["shedproxy-id"])
    )
    held.gate.set()
    await first.end()
    assert first.status == 200


async def test_head_is_refused_without_a_body(shed):
    middleware = shed(hello, class_limits=(0, 0, 0, 0))
    request = AsgiProbe(middleware).request("HEAD")
    await request.end()
    assert (request.status, request.body) == (503, b"")


async def test_a_client_that_left_does_not_hear_of_its_refusal(shed):
    request = AsgiProbe(shed(hello, class_limits=(0, 0, 0, 0))).request()
    request.send_error = OSError("gone")
    assert await request.end() is None


async def test_health_paths_pass_a_full_service(shed, held):
    middleware = shed(held, limit=1, queue_length=0)
    probe = AsgiProbe(middleware)
    requests = [probe.request(), probe.request("GET", "/livez"), probe.request("HEAD", "/healthz")]
    await eventually_async(lambda: len(held.started) == 3)
    held.gate.set()
    for request in requests:
        await request.end()
        assert request.status == 200
    assert middleware._driver.meter.bypassed(0) == 2


async def test_the_app_hears_of_the_load(shed):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["state"]["shedproxy"])
        await hello(scope, receive, send)

    middleware = shed(app, limit=4)
    request = AsgiProbe(middleware).request(headers=[(b"x-criticality", b"sheddable")])
    request.scope["state"]["mine"] = 1
    await request.end()
    (state,) = seen
    assert isinstance(state, ShedState)
    assert state.criticality is Criticality.SHEDDABLE
    assert 0 <= state.pressure <= 1
    assert request.scope["state"]["mine"] == 1


async def test_a_scope_without_state_gets_one(shed):
    request = AsgiProbe(shed(hello)).request(state=None)
    await request.end()
    assert isinstance(request.scope["state"]["shedproxy"], ShedState)


async def test_the_lifespan_passes_untouched_and_ends_our_timers():
    seen = []

    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            return await hello(scope, receive, send)
        seen.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        seen.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    middleware = ShedMiddleware(app)
    probe = AsgiProbe(middleware)
    lifespan = probe.lifespan()
    lifespan.feed({"type": "lifespan.startup"})
    assert (await lifespan.read())["type"] == "lifespan.startup.complete"
    await probe.request().end()
    lifespan.feed({"type": "lifespan.shutdown"})
    assert await lifespan.end() is None
    assert seen == ["lifespan.startup", "lifespan.shutdown"]
    # It serves on all the same: some servers end the lifespan first.
    late = probe.request()
    await late.end()
    assert late.status == 200
    middleware.close()


async def test_an_app_without_lifespan_says_so_itself():
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await hello(scope, receive, send)

    middleware = ShedMiddleware(app)
    assert isinstance(await AsgiProbe(middleware).lifespan().end(), AssertionError)
    request = AsgiProbe(middleware).request()
    await request.end()
    assert request.status == 200
    middleware.close()


async def test_an_app_that_returns_from_the_lifespan_leaves_us_open():
    """A server takes that for an application that needs none; our control lane is for its own."""

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await hello(scope, receive, send)

    middleware = ShedMiddleware(app, control="127.0.0.1:0")
    assert await AsgiProbe(middleware).lifespan().end() is None
    assert middleware._control.port
    middleware.close()
    assert not middleware._control.port


@pytest.mark.parametrize(
    "wrong",
    [
        {"classification": Classification(trusted_peers=("10.0.0.0/33",))},
        {"reject": RejectDocument(status_capacity=200)},
    ],
)
def test_what_cannot_be_compiled_is_refused_at_the_start(wrong):
    with pytest.raises(DocumentInvalidError):
        ShedMiddleware(hello, **wrong)


async def test_a_driver_that_took_what_cannot_be_compiled_goes_on_as_before(a_driver, caplog):
    driver = a_driver(class_limits=(0, 0, 0, 0))
    middleware = ShedMiddleware(hello, driver=driver)
    probe = AsgiProbe(middleware)
    for reject in (RejectDocument(), RejectDocument(status_capacity=200)):
        driver.apply(replace(driver.document, reject=reject))
        for _ in range(2):
            request = probe.request()
            assert await request.end() is None
            assert request.status == 503
    assert [record.message for record in caplog.records] == [
        "the former document stays in force: reject.status is not between 400 and 599: 200"
    ]


async def test_other_scope_types_pass():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await ShedMiddleware(app)({"type": "telepathy"}, None, None)
    assert seen == ["telepathy"]


def test_every_event_loop_has_its_own_driver():
    middleware = ShedMiddleware(hello, a_policy(limit=2))

    async def one():
        request = AsgiProbe(middleware).request()
        await request.end()
        assert request.status == 200

    for _ in range(3):
        asyncio.run(one())


async def test_rules_marks_nothing_and_the_callable_have_the_last_word(shed):
    seen = []

    def classify(scope, info):
        seen.append(info.criticality)
        plan = dict(scope["headers"]).get(b"x-plan")
        return {b"free": Criticality.SHEDDABLE, b"odd": RequestInfo(route="odd")}.get(plan)

    async def app(scope, receive, send):
        state = scope["state"]["shedproxy"]
        seen.append((state.criticality, state.route))
        await hello(scope, receive, send)

    rule = Rule(name="shop", match=Match(path=("/shop/*",)), criticality=Criticality.CRITICAL_PLUS)
    middleware = shed(app, classify=classify, rules=[rule])
    for plan in (b"free", b"free", b"odd", b"none"):
        await AsgiProbe(middleware).request("GET", "/shop/1", [(b"x-plan", plan)]).end()
    top = Criticality.CRITICAL_PLUS
    assert seen == [
        top,
        (Criticality.SHEDDABLE, "shop"),
        top,
        (Criticality.SHEDDABLE, "shop"),
        top,
        (Criticality.CRITICAL, "odd"),
        top,
        (top, "shop"),
    ]


async def test_a_new_document_is_taken_while_serving(shed):
    middleware = shed(hello)
    probe = AsgiProbe(middleware)
    await probe.request().end()
    driver = middleware._driver
    closed = Rule(match=Match(path=("/closed",)), limit=0)
    driver.apply(
        Document(
            classification=Classification(rules=(closed,)),
            reject=RejectDocument(status_capacity=529),
        )
    )
    request = probe.request("GET", "/closed")
    await request.end()
    assert (request.status, request.headers["shedproxy-reason"]) == (529, "route_limit")


async def test_observe_mode_refuses_nothing(shed, held):
    middleware = shed(held, limit=1, queue_length=0, mode=Mode.OBSERVE)
    requests = [AsgiProbe(middleware).request() for _ in range(5)]
    await eventually_async(lambda: len(held.started) == 5)
    held.gate.set()
    for request in requests:
        await request.end()
        assert request.status == 200
    assert in_flight(middleware) == 0
    assert middleware._driver.meter.would_reject(0) >= 1


async def test_a_document_may_be_composed_from_parts():
    middleware = ShedMiddleware(
        hello,
        Policy(),
        rules=[Rule(name="first", match=Match(path=("/x",)), limit=0)],
        classification=Classification(rules=(Rule(name="second"),)),
        reject=RejectDocument(status_capacity=529),
    )
    probe = AsgiProbe(middleware)
    refused, served = probe.request("GET", "/x"), probe.request("GET", "/y")
    await refused.end()
    await served.end()
    assert (refused.status, served.status) == (529, 200)
    assert served.scope["state"]["shedproxy"].route == "second"
    middleware.close()


async def test_parts_given_beside_a_driver_are_applied_to_it(a_driver):
    driver = a_driver()
    middleware = ShedMiddleware(hello, driver=driver, rules=[Rule(limit=0)])
    request = AsgiProbe(middleware).request()
    await request.end()
    assert request.headers["shedproxy-reason"] == RejectReason.ROUTE_LIMIT.label


def test_a_policy_and_a_file_exclude_each_other():
    with pytest.raises(TypeError, match="not both"):
        ShedMiddleware(hello, Policy(), config="x.toml")
    with pytest.raises(TypeError, match="once"):
        ShedMiddleware(hello, "a.toml", config="b.toml")


@pytest.mark.parametrize("how", ["policy", "config"])
async def test_a_configuration_file(how, tmp_path):
    path = tmp_path / "shedproxy.toml"
    path.write_text(
        '[reject]\nstatus_capacity = 529\n\n[[rule]]\nmatch.path = "/closed"\nlimit = 0\n'
    )
    middleware = ShedMiddleware(hello, **{how: path})
    request = AsgiProbe(middleware).request("GET", "/closed")
    await request.end()
    assert request.status == 529
    middleware.close()


@pytest.mark.parametrize("given", ["nothing", "policy", "document", "file"])
async def test_the_environment_has_the_last_word_on_the_mode(given, monkeypatch, tmp_path):
    """Break-glass without a release, whatever the code says."""
    file = tmp_path / "shedproxy.toml"
    file.write_text('mode = "enforce"\n[classes.limits]\ncritical = 0\n')
    enforcing = Policy(mode=Mode.ENFORCE, cells=(CellPolicy(class_limits=(0, 0, 0, 0)),))
    argument = {
        "nothing": None,
        "policy": enforcing,
        "document": Document(policy=enforcing),
        "file": file,
    }[given]

    async def status() -> int:
        middleware = ShedMiddleware(hello, argument)
        request = AsgiProbe(middleware).request()
        await request.end()
        middleware.close()
        return request.status

    monkeypatch.delenv("SHEDPROXY_MODE", raising=False)
    assert await status() == (200 if given == "nothing" else 503)
    for mode in ("observe", "off"):
        monkeypatch.setenv("SHEDPROXY_MODE", mode)
        assert await status() == 200


@pytest.mark.parametrize("word", ["offf", ""])
@pytest.mark.parametrize("has_file", [True, False])
def test_a_mode_that_there_is_none_of_is_refused(word, has_file, monkeypatch, tmp_path):
    file = tmp_path / "shedproxy.toml"
    file.touch()
    monkeypatch.setenv("SHEDPROXY_MODE", word)
    with pytest.raises(DocumentInvalidError, match="must be one of enforce, observe, off"):
        ShedMiddleware(hello, file if has_file else None)


async def test_a_given_driver_has_its_owners_mode(monkeypatch, a_driver):
    monkeypatch.setenv("SHEDPROXY_MODE", "off")
    driver = a_driver()
    ShedMiddleware(hello, driver=driver)
    assert driver.mode is Mode.ENFORCE


async def test_draining_refuses_with_its_reason(shed):
    middleware = shed(hello)
    middleware._driver.drain()
    request = AsgiProbe(middleware).request()
    await request.end()
    assert (request.status, request.headers["shedproxy-reason"]) == (503, "draining")


async def test_a_peer_on_a_unix_socket_has_no_address(shed):
    request = AsgiProbe(shed(hello), client=None).request(raw_path=None)
    await request.end()
    assert request.status == 200


async def test_a_cell_without_residents_refuses_sockets_with_an_answer(shed):
    middleware = shed(hello, resident_limit=0)
    socket = AsgiProbe(middleware).websocket()
    await socket.end()
    assert [message["type"] for message in socket.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert (socket.status, socket.headers["shedproxy-reason"]) == (503, "resident_limit")
    old = AsgiProbe(middleware).websocket(can_deny=False)
    await old.end()
    assert old.sent == [{"type": "websocket.close", "code": 1013, "reason": "overloaded"}]


def test_each_event_loop_is_recorded_to_a_file_of_its_own(tmp_path):
    middleware = ShedMiddleware(hello, a_policy(limit=2), record=tmp_path / "trace.jsonl")

    async def main():
        await AsgiProbe(middleware).request().end()
        middleware.close()

    asyncio.run(main())
    asyncio.run(main())
    pid = os.getpid()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"trace.{pid}-2.jsonl", f"trace.{pid}.jsonl"]
    for file in files:
        verification = verify(TraceReader(file.read_text().splitlines(keepends=True)))
        assert (verification.difference, verification.arrivals) == (None, 1)


def test_a_recording_that_cannot_be_is_refused_when_the_middleware_is_made(tmp_path):
    with pytest.raises(StartupError, match="no folder"):
        ShedMiddleware(hello, record=tmp_path / "gone" / "trace.jsonl")
    with pytest.raises(TypeError, match="recorded by its owner"):
        ShedMiddleware(hello, driver=Driver(Document()), record=tmp_path / "trace.jsonl")


def test_import_brings_no_third_party_package():
    code = (
        "import sys; before = set(sys.modules); from shedproxy import ShedMiddleware;"
        "print('\\n'.join(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    brought = {name.partition(".")[0] for name in done.stdout.split()}
    assert brought <= {"shedproxy", *sys.stdlib_module_names}
    # The control lane is optional, and its server is the heaviest import of all.
    assert "http.server" not in done.stdout.split()


def test_the_cells_of_a_policy_are_all_there():
    policy = Policy(cells=(CellPolicy(), CellPolicy(name="slow")))
    rules = [Rule(match=Match(path=("/slow",)), cell="slow")]

    async def main():
        middleware = ShedMiddleware(hello, policy, rules=rules)
        request = AsgiProbe(middleware).request("GET", "/slow")
        await request.end()
        middleware.close()
        return request.scope["state"]["shedproxy"].cell

    assert asyncio.run(main()) == "slow"


async def test_what_one_cell_has_no_room_for_runs_in_another(held, clock):
    """It is one app, and the slot is the other cell's; whoever asks is told so."""
    spill = SpillPolicy(to=("b",), classes=(Criticality.SHEDDABLE,))
    cells = tuple(
        CellPolicy(
            name=name,
            limit=LimitPolicy(algorithm="fixed", initial=limit, maximum=limit),
            queue=QueuePolicy(length_max=0),
            spill=policy,
        )
        for name, limit, policy in (("a", 1, spill), ("b", 4, SpillPolicy()))
    )
    rule = Rule(criticality=Criticality.SHEDDABLE, cell="a")
    classification = Classification(rules=(rule,))
    driver = Driver(
        Document(policy=Policy(cells=cells), classification=classification), clock=clock
    )
    for _ in range(60):
        clock.advance(seconds(0.1))
        driver.tick()
    probe = AsgiProbe(ShedMiddleware(held, driver=driver))
    requests = [probe.request() for _ in range(4)]
    await requests[3].end()
    assert requests[3].status == 503
    await eventually_async(lambda: len(held.started) == 3)
    told = [request.scope["state"]["shedproxy"].cell for request in requests[:3]]
    assert told == ["a", "b", "b"]
    held.gate.set()
    for request in requests[:3]:
        await request.end()
    assert [cell.in_flight for cell in driver.shedder.stats().cells] == [0, 0]
    driver.close()


# --- keys that change their cell ------------------------------------------------------------------


def keyed_document(place: int, version: int) -> Document:
    """Two cells of one slot, and where the host `t` is."""
    cells = tuple(
        CellPolicy(
            name=name,
            limit=LimitPolicy(algorithm="fixed", initial=1),
            queue=QueuePolicy(wait_max_ns=seconds(60)),
        )
        for name in "ab"
    )
    pins = ((f"{cell_hash('s')(b't'):016x}", place),)
    routing = CellRouting(
        key="host", secret="s", default="a", cells=("a", "b"), buckets=((0, BUCKETS),),
        pins=pins, version=version,
    )  # fmt: skip
    return Document(policy=Policy(cells=cells), classification=Classification(cells=routing))


async def test_a_key_that_moves_has_one_cell_at_every_moment(clock):
    """What is there before the mark is found; who waits goes on where the key goes."""
    marked, held = (motion_place(0, 1, phase) for phase in (MovePhase.MARKED, MovePhase.HELD))
    driver = Driver(keyed_document(0, 1), clock=clock)
    ends = [asyncio.Event() for _ in range(4)]
    cells = []

    async def app(scope, receive, send):
        number = int(scope["path"][1:])
        cells.append((number, scope["state"]["shedproxy"].cell))
        await ends[number].wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    middleware = ShedMiddleware(app, driver=driver)
    probe = AsgiProbe(middleware)

    def ask(number: int):
        return probe.request(path=f"/{number}", headers=[(b"host", b"t")])

    async def turn(place: int, version: int) -> None:
        driver.apply(keyed_document(place, version))
        middleware.refresh()
        await settle()

    async def settle() -> None:
        for _ in range(8):
            await asyncio.sleep(0)

    running, waiting = ask(0), ask(1)
    await settle()
    await turn(marked, 2)
    assert driver.moves.moving() == Moving(2, 1, 0, 0)
    await turn(held, 3)
    newcomer, gone = ask(2), ask(3)
    await settle()
    assert driver.moves.moving() == Moving(3, 1, 0, 3), "the waiter of the queue is held as well"
    gone.disconnect()
    ends[0].set()
    await settle()
    driver.moves.tick()
    assert driver.moves.moving() == Moving(3, 0, 0, 2)
    assert cells == [(0, "a")]
    await turn(1, 4)
    ends[1].set()
    await settle()
    ends[2].set()
    await settle()
    assert cells == [(0, "a"), (1, "b"), (2, "b")]
    for exchange in (running, waiting, newcomer):
        assert exchange.status == 200
    driver.close()


async def test_a_waiter_whose_key_is_held_too_long_is_refused(clock):
    held = motion_place(0, 1, MovePhase.HELD)
    driver = Driver(keyed_document(held, 2), clock=clock)
    middleware = ShedMiddleware(None, driver=driver)
    exchange = AsgiProbe(middleware).request(headers=[(b"host", b"t")])
    await asyncio.sleep(0.01)
    clock.advance(seconds(10))
    driver.moves.tick()
    await exchange.end()
    assert exchange.status == 503
    driver.close()


async def test_the_time_that_a_key_was_held_is_of_the_clients_deadline(clock):
    driver = Driver(keyed_document(motion_place(0, 1, MovePhase.HELD), 2), clock=clock)
    left = []

    async def app(scope, receive, send):
        (exchange,) = middleware._last._exchanges
        left.append(exchange.permit.expires_at - clock())
        await hello(scope, receive, send)

    middleware = ShedMiddleware(app, driver=driver)
    headers = [(b"host", b"t"), (b"x-request-timeout-ms", b"1000")]
    request = AsgiProbe(middleware).request(headers=headers)
    await asyncio.sleep(0.01)
    clock.advance(milliseconds(300))
    driver.apply(keyed_document(1, 3))
    middleware.refresh()
    await request.end()
    assert (request.status, left) == (200, [milliseconds(700)])
    driver.close()


async def test_a_hook_that_raises_leaves_nothing_for_the_next_request(clock):
    driver = Driver(keyed_document(motion_place(0, 1, MovePhase.HELD), 2), clock=clock)

    def hook(scope, info):
        if scope["path"] == "/bad":
            raise KeyError("x")

    probe = AsgiProbe(ShedMiddleware(hello, driver=driver, classify=hook))
    bad = probe.request(path="/bad", headers=[(b"host", b"t")])
    assert isinstance(await bad.end(), KeyError)
    other = probe.request(headers=[(b"host", b"another")])
    await other.end()
    assert other.status == 200
    driver.close()


def test_a_loop_may_go_on_on_another_thread():
    app = ShedMiddleware(_answer_ok)
    loop = asyncio.new_event_loop()
    sent = []

    async def send(message):
        sent.append(message)

    def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        loop.run_until_complete(app(scope, None, send))

    ask()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    loop.close()
    assert [message["status"] for message in sent if "status" in message] == [200, 200]


async def _answer_ok(_scope, _receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
