"""The simulated proxy does what the product's driver does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from harness.worlds import make_call

from shedproxy.core import NS_PER_MS, Instant, Outcome, Permit, RejectReason, Verdict
from shedproxy.simulator.backend.service import Backend
from shedproxy.simulator.call import Call, CallState
from shedproxy.simulator.controllers.ledger import Ledger
from shedproxy.simulator.controllers.protocol import Reading
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.proxy import Proxy
from shedproxy.simulator.tally import End, Tally
from shedproxy.workload.scenario import BackendSpec, ProxySpec

MS = NS_PER_MS


class OneByOne(Ledger):
    """One in flight, the rest waits in order; it notes what it was told."""

    limit = 1

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Any] = []
        self.told: list[tuple[Any, ...]] = []
        self.tick_at: int | None = None

    def arrive(self, request: Any, *, now: Instant, time_left_ns: Any = None, **more: Any) -> Any:
        self.told.append(("arrive", now, time_left_ns))
        if self.in_flight < self.limit:
            return self.admit(request, now=now)
        ticket = self.ticket(request, now=now, expires_at=Instant(now + 1000 * MS))
        self.waiting.append(ticket)
        return ticket

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        self.told.append(("release", now, outcome))
        self.give_back(permit)
        return [self.admit_ticket(self.waiting.pop(0), now=now)] if self.waiting else []

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        self.told.append(("orphan", now))

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        self.told.append(("zombie", now, outcome))
        return []

    def abandon(self, ticket: Any, *, now: Instant) -> Sequence[Verdict]:
        self.told.append(("abandon", now))
        self.waiting.remove(ticket)
        return []

    def next_tick_at(self) -> Any:
        return self.tick_at

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        self.told.append(("tick", now))
        self.tick_at = None
        waiting, self.waiting = self.waiting, []
        return [self.refuse_ticket(t, RejectReason.QUEUE_TIMEOUT, now=now) for t in waiting]

    def on_stall(self, *, now: Instant) -> None:
        self.told.append(("stall", now))

    def reading(self) -> Reading:
        return Reading(1.0, self.in_flight, len(self.waiting), 0.0, 0)


class Client:
    """What a population is to a proxy."""

    def __init__(self, *, announces_deadline: bool = False) -> None:
        self.spec = self
        self.announces_deadline = announces_deadline
        self.ends: list[tuple[int, End]] = []

    def ended(self, call: Call, end: End) -> None:
        call.state = CallState.ANSWERED
        self.ends.append((call.serial, end))


class Bench:
    def __init__(
        self, *, backend: BackendSpec | None = None, cancels: bool = False, **spec: Any
    ) -> None:
        self.engine = Engine()
        self.control = OneByOne()
        self.client = Client()
        backend = backend or BackendSpec(slots=10)
        self.backend = Backend(
            self.engine,
            backend,
            (),
            rng=random.Random(1),
            on_done=lambda call, status: call.proxy.on_done(call, status),
        )
        self.proxy = Proxy(
            self.engine,
            self.control,
            self.backend,
            ProxySpec(**spec),
            cancels=cancels,
            rng=random.Random(2),
            tally=Tally(deadline_ns=10**9, unscored=0, keeps_tenants=False, has_classes=False),
        )

    def offer(self, serial: int, at_ms: float = 0, work_ms: float = 10) -> Call:
        call = make_call(serial, work_ns=int(work_ms * MS))
        call.source = self.client
        self.engine.at(int(at_ms * MS), self.proxy.offer, call)
        return call

    def told(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [(kind, at / MS, *more) for kind, at, *more in self.control.told if kind in kinds]


def test_a_call_is_admitted_forwarded_answered_and_its_slot_given_on() -> None:
    bench = Bench()
    bench.offer(1)
    bench.offer(2, at_ms=5)
    bench.engine.run(90 * MS)
    assert bench.client.ends == [(1, End.SERVED), (2, End.SERVED)]
    assert bench.told("release") == [
        ("release", 10, Outcome.SUCCESS),
        ("release", 20, Outcome.SUCCESS),
    ]


def test_it_ticks_every_tenth_of_a_second_and_when_the_controller_wants_to() -> None:
    bench = Bench()
    bench.offer(1, work_ms=500)
    bench.control.tick_at = 30 * MS
    bench.offer(2)
    bench.engine.run(250 * MS)
    assert bench.told("tick") == [("tick", 30), ("tick", 100), ("tick", 200)]
    assert bench.client.ends == [(2, End.REFUSED)]


def test_the_time_left_is_passed_on_when_the_client_announces_it() -> None:
    bench = Bench()
    bench.client.announces_deadline = True
    call = bench.offer(1, at_ms=3)
    call.gives_up_at = 10 * MS
    bench.engine.run(5 * MS)
    assert bench.told("arrive") == [("arrive", 3, 7 * MS)]


def test_who_leaves_while_waiting_abandons_his_ticket() -> None:
    bench = Bench()
    bench.offer(1)
    call = bench.offer(2)
    bench.engine.at(5 * MS, bench.proxy.leave, call)
    bench.engine.run(8 * MS)
    assert bench.told("abandon") == [("abandon", 5)]


@pytest.mark.parametrize(
    ("cancels", "told", "inside"),
    [
        (True, [("release", 5, Outcome.ABANDONED)], 0),
        (False, [("orphan", 5), ("release", 10, Outcome.SUCCESS)], 1),
    ],
)
def test_who_leaves_while_running_stops_the_work_only_where_the_backend_can(
    cancels: bool, told: list[tuple[Any, ...]], inside: int
) -> None:
    """Where it cannot, the slot stays until the end of the work is seen."""
    bench = Bench(cancels=cancels)
    call = bench.offer(1)

    def leave(_: None) -> None:
        bench.proxy.leave(call)
        call.state = CallState.LEFT

    bench.engine.at(5 * MS, leave, None)
    bench.engine.run(6 * MS)
    assert bench.backend.inside == inside
    bench.engine.run(50 * MS)
    assert bench.told("release", "orphan", "zombie") == told
    assert not bench.client.ends, "nobody is there to be told"


@pytest.mark.parametrize(
    ("status", "outcome", "end"),
    [
        (200, Outcome.SUCCESS, End.SERVED),
        (500, Outcome.IGNORE, End.FAILED),
        (503, Outcome.OVERLOAD, End.FAILED),
        (0, Outcome.OVERLOAD, End.FAILED),
    ],
)
def test_an_answer_teaches_what_its_status_means(status: int, outcome: Outcome, end: End) -> None:
    bench = Bench()
    call = bench.offer(1, work_ms=50)
    bench.engine.run(5 * MS)
    bench.proxy.on_done(call, status)
    assert bench.told("release") == [("release", 5, outcome)]
    assert bench.client.ends == [(1, end)]


def test_its_own_timeout_gives_a_call_up_as_overload() -> None:
    bench = Bench(upstream_timeout_ms=20)
    for serial, at_ms, work_ms in ((1, 0, 5), (2, 10, 50), (3, 15, 50), (4, 60, 10)):
        bench.offer(serial, at_ms=at_ms, work_ms=work_ms)
    bench.control.limit = 10
    bench.engine.run(90 * MS)
    given_up = [("zombie", 30, Outcome.OVERLOAD), ("zombie", 35, Outcome.OVERLOAD)]
    assert bench.told("zombie") == given_up
    assert bench.client.ends == [(1, End.SERVED), (2, End.FAILED), (3, End.FAILED), (4, End.SERVED)]


def test_noise_of_its_loop_delays_what_it_measures() -> None:
    bench = Bench(noise_us=2000)
    for serial in range(1, 400):
        bench.offer(serial, at_ms=100 * serial)
    bench.engine.run(50_000 * MS)
    delays = [at % 100 - 10 for _, at, _ in bench.told("release")]
    assert min(delays) >= 0
    assert sum(delays) / len(delays) == pytest.approx(2.0, rel=0.15)


def test_a_loop_that_stands_still_takes_nothing_and_tells_the_controller() -> None:
    bench = Bench()
    bench.offer(1)
    bench.engine.at(5 * MS, bench.proxy.stall, 50 * MS)
    bench.offer(2, at_ms=20)
    gone = bench.offer(3, at_ms=20)
    bench.engine.at(30 * MS, lambda _: setattr(gone, "state", CallState.LEFT), None)
    bench.engine.run(80 * MS)
    assert bench.told("arrive", "release", "stall") == [
        ("arrive", 0, None),
        ("stall", 55),
        ("release", 55, Outcome.SUCCESS),
        ("arrive", 55, None),
        ("release", 65, Outcome.SUCCESS),
    ]


def test_a_retired_proxy_finishes_what_it_has() -> None:
    bench = Bench()
    bench.offer(1, work_ms=300)
    bench.engine.run(50 * MS)
    bench.proxy.is_retired = True
    bench.engine.run(1000 * MS)
    assert bench.client.ends == [(1, End.SERVED)]
    assert bench.told("tick") == [("tick", 100)]
