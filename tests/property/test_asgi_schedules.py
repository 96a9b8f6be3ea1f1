"""Whatever clients, servers and apps do, in whatever order: every permit comes back exactly once.

10 000 schedules of a few requests each on one event loop in virtual time. A schedule is a random
interleaving of what a client does (send a body, leave, stop reading), a server (cancel, fail to
send), an app (answer whole or in parts, stream, crash, return without an answer) and time
(waiters expire). After each schedule nothing may be in flight, waiting or resident.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from shedproxy import Match, Mode, Rule, ShedMiddleware
from shedproxy.core import Kind, Lane, Permit, milliseconds
from shedproxy.dataplane.driver import Driver
from shedproxy.snapshot import Classification, Document
from shedproxy.testing import AsgiProbe, ManualClock, a_policy

SEEDS = range(20)
SCHEDULES_PER_SEED = 500


class CountingDriver(Driver):
    """Counts how often each permit is given out and given back."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.given = set()
        self.returned = Counter()
        self.mistakes = []

    def _count_permit(self, permit):
        self.given.add(permit.serial)
        super()._count_permit(permit)

    def release_at(self, permit: Permit, outcome, stalled_ns, now):
        self.returned[permit.serial] += 1
        try:
            super().release_at(permit, outcome, stalled_ns, now)
        except Exception as error:
            self.mistakes.append(error)
            raise


def make_driver(clock):
    rules = (
        Rule(name="stream", match=Match(path=("/stream",)), kind=Kind.STREAM),
        Rule(name="control", match=Match(path=("/control",)), lane=Lane.CONTROL),
        Rule(name="heavy", match=Match(path=("/heavy",)), cost=2),
        Rule(name="narrow", match=Match(path=("/narrow",)), limit=1),
    )
    policy = a_policy(limit=3, queue_length=3, wait_max_ns=milliseconds(200), resident_limit=4)
    document = Document(policy=policy, classification=Classification(rules=rules))
    return CountingDriver(document, clock=clock)


PATHS = ("/", "/", "/", "/stream", "/control", "/heavy", "/narrow")
CLASSES = (b"critical", b"sheddable", b"sheddable_plus")
APP_STEPS = (
    "head",
    "events",
    "error",
    "part",
    "part",
    "end",
    "end",
    "end",
    "crash",
    "return",
    "receive",
)
CLIENT_STEPS = ("body", "body_part", "leave", "cancel", "break", "stop_reading", "read_again")


async def scripted_app(scope, receive, send):
    """Does what it is told through the queue in its scope."""
    is_http = scope["type"] == "http"
    while True:
        step = await scope["steps"].get()
        match step:
            case "crash":
                raise LookupError
            case "return":
                return
            case "receive":
                await receive()
            case "head" | "events" | "error" if not is_http:
                await send({"type": "websocket.accept"})
            case "head":
                await send({"type": "http.response.start", "status": 200})
            case "events":
                headers = [(b"content-type", b"text/event-stream")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            case "error":
                await send({"type": "http.response.start", "status": 503, "headers": []})
            case "part" | "end" if not is_http:
                await send({"type": "websocket.send", "text": step})
            case "part":
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
            case "end":
                await send({"type": "http.response.body", "body": b"x"})


class Schedule:
    def __init__(self, rng, middleware, driver, clock):
        self.rng, self.driver, self.clock = rng, driver, clock
        self.middleware = middleware
        self.probe = AsgiProbe(middleware)
        self.exchanges = []

    def arrive(self):
        rng = self.rng
        headers = [(b"x-criticality", rng.choice(CLASSES))]
        if rng.random() < 0.1:
            headers.append((b"x-request-timeout-ms", b"%d" % rng.choice((0, 1, 50, 500))))
        if rng.random() < 0.1:
            headers.append((b"expect", b"100-continue"))
        more = {"steps": asyncio.Queue()}
        if rng.random() < 0.15:
            exchange = self.probe.websocket("/", headers, can_deny=rng.random() < 0.5, **more)
            exchange.feed({"type": "websocket.connect"})
        else:
            method = rng.choice(("GET", "POST"))
            if rng.random() < 0.3:
                headers.append((b"transfer-encoding", b"chunked"))
            exchange = self.probe.request(method, rng.choice(PATHS), headers, **more)
        self.exchanges.append(exchange)

    def act(self, exchange):
        if self.rng.random() < 0.6:
            exchange.scope["steps"].put_nowait(self.rng.choice(APP_STEPS))
            return
        match self.rng.choice(CLIENT_STEPS):
            case "body":
                exchange.send_body(b"x")
            case "body_part":
                exchange.send_body(b"x", more=True)
            case "leave":
                exchange.disconnect()
            case "cancel":
                exchange.cancel()
            case "break":
                exchange.send_error = OSError("gone")
            case "stop_reading":
                exchange.hold_sends.clear()
            case "read_again":
                exchange.hold_sends.set()

    def pass_time(self):
        self.clock.advance(milliseconds(self.rng.choice((1, 10, 100, 400, 2000, 40_000))))
        self.driver.tick()
        for runtime in self.middleware._runtimes.values():
            runtime._slow_bodies.close()
            runtime._slow_bodies._look()

    async def run(self):
        rng = self.rng
        for _ in range(rng.randint(4, 24)):
            chance = rng.random()
            if chance < 0.35 or not self.exchanges:
                self.arrive()
            elif chance < 0.9:
                self.act(rng.choice(self.exchanges))
            elif chance < 0.97:
                self.pass_time()
            else:
                self.driver.set_mode(
                    rng.choice((Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE, Mode.OFF))
                )
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)
        await self.end()

    async def end(self):
        """The server closes: whatever still runs is cancelled, in any order."""
        self.driver.set_mode(Mode.ENFORCE)
        self.rng.shuffle(self.exchanges)
        for exchange in self.exchanges:
            exchange.cancel()
            if self.rng.random() < 0.3:
                await asyncio.sleep(0)
        for exchange in self.exchanges:
            error = await exchange.end()
            assert error is None or isinstance(
                error, LookupError | OSError | asyncio.CancelledError
            ), repr(error)


async def run_seed(seed):
    rng, clock = random.Random(seed), ManualClock()
    driver = make_driver(clock)
    middleware = ShedMiddleware(scripted_app, driver=driver)
    for number in range(SCHEDULES_PER_SEED):
        await Schedule(rng, middleware, driver, clock).run()
        cell = driver.shedder.stats().cells[0]
        left = (
            cell.in_flight,
            cell.queue_length,
            cell.residents,
            cell.zombies,
            cell.control_in_flight,
        )
        assert left == (0, 0, 0, 0, 0), f"schedule {number} of seed {seed} leaves {left}"
        assert not any(runtime._slow_bodies.held for runtime in middleware._runtimes.values())
        assert not driver.mistakes
        assert driver.returned.keys() == driver.given
        assert all(count == 1 for count in driver.returned.values())
        driver.given.clear()
        driver.returned.clear()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return driver.meter


@pytest.mark.parametrize("seed", SEEDS)
def test_every_permit_comes_back_exactly_once(seed):
    meter = asyncio.run(run_seed(seed))
    # The schedules are worth something: work was admitted, refused, and refused after a wait.
    assert meter.admitted(0) > 500
    assert meter.rejected(0) > 100
    assert meter.finished(0) > 500
