"""The checkers are silent while all is well, and name each thing that goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
from harness.worlds import chance_of, make_call, oracle, ours, run_world, steady

from shedproxy.core import (
    Criticality,
    Instant,
    Outcome,
    Rejected,
    RejectReason,
    RequestInfo,
    Ticket,
    Verdict,
    rank_of,
)
from shedproxy.simulator.checkers import Checkers, WatchedController
from shedproxy.simulator.controllers.ledger import Ledger
from shedproxy.simulator.controllers.nothing import NoControl
from shedproxy.simulator.controllers.ours import OurControl, our_policy
from shedproxy.simulator.controllers.protocol import Reading
from shedproxy.simulator.tally import End
from shedproxy.simulator.world import World
from shedproxy.workload.scenario import BackendSpec, EventSpec, ProxySpec, Scenario

NOW = Instant(0)
LOW = RequestInfo(criticality=Criticality.SHEDDABLE)
HIGH = RequestInfo(criticality=Criticality.CRITICAL)


def nothing(world: World, now: Any, index: int) -> NoControl:
    return NoControl()


@pytest.mark.parametrize("controller", [ours, oracle, nothing])
def test_all_is_well_in_an_eventful_run(controller: Any) -> None:
    scenario = steady(
        2.0,
        arrivals=3_000,
        backend=BackendSpec(slots=8, hosts=2, service_ms=10.0),
        criticality=(("critical", 1.0), ("sheddable", 2.0)),
        tenants=10,
        attempts=2,
        proxy=ProxySpec(count=2, upstream_timeout_ms=60.0),
        event=(
            EventSpec(at_s=0.3, what="stall_proxy", for_s=0.1),
            EventSpec(at_s=0.35, what="restart_proxy"),
            EventSpec(at_s=0.5, what="lose_hosts"),
            EventSpec(at_s=0.8, what="outage", for_s=0.2),
        ),
    )
    world = run_world(scenario, controller, make_checkers=Checkers)
    assert isinstance(world.checkers, Checkers)
    assert world.checkers.violations == []


def test_watching_changes_nothing() -> None:
    scenario = steady(2.0, arrivals=3_000, criticality=(("critical", 1.0), ("sheddable", 1.0)))
    plain, watched = run_world(scenario, ours), run_world(scenario, ours, make_checkers=Checkers)
    assert watched.tally.latencies_ns == plain.tally.latencies_ns
    assert watched.tally.refused_at == plain.tally.refused_at


class Loose(Ledger):
    """Does as it is told, right or wrong."""

    limit, claimed = 1.0, 0

    def arrive(self, request: RequestInfo, *, now: Instant, **more: Any) -> Any:
        if request.criticality is Criticality.SHEDDABLE:
            self.claimed += 1
            return self.ticket(request, now=now, expires_at=now)
        return self.admit(request, now=now)

    def reading(self) -> Reading:
        return Reading(self.limit, self.in_flight, self.claimed, 0.0, 0)


@pytest.fixture
def checkers() -> Checkers:
    world = World(scenario=Scenario(), make_controller=nothing, chance=chance_of(1))
    return Checkers(world)


@pytest.fixture
def loose(checkers: Checkers) -> Any:
    return checkers.watch(Loose())


def first(checkers: Checkers) -> str:
    (violation,) = checkers.violations
    return violation


def test_more_in_flight_than_the_limit(checkers: Checkers, loose: Any) -> None:
    for _ in range(2):
        loose.arrive(HIGH, now=NOW)
    assert first(checkers) == "2 in flight above the limit 1 at 0.000000 s"


def test_one_wider_than_the_limit_may_run_alone(checkers: Checkers, loose: Any) -> None:
    loose.arrive(RequestInfo(criticality=Criticality.CRITICAL, cost=5), now=NOW)
    assert checkers.violations == []


class NotGoneThrough(dict):  # type: ignore[type-arg]
    """Of permits: without control there are tens of thousands, and a check at every event."""

    def _refuse(self) -> Any:
        raise AssertionError("a check goes through all that is held")

    __iter__ = keys = values = items = _refuse


def test_a_check_takes_no_longer_the_more_is_held(checkers: Checkers, loose: Any) -> None:
    loose.inner.limit = 100.0
    loose.held = NotGoneThrough()
    wide = RequestInfo(criticality=Criticality.CRITICAL, cost=5)
    permits = [loose.arrive(request, now=NOW) for request in (HIGH, wide, HIGH)]
    loose.release(permits[0], Outcome.SUCCESS, now=NOW)
    checkers.after_event()
    loose.inner.in_flight -= 1
    loose.tick(now=NOW)
    assert "6 in flight, but 5 counted at 0.000000 s" in checkers.violations


def test_a_permit_given_back_twice(checkers: Checkers, loose: Any) -> None:
    permit = loose.arrive(HIGH, now=NOW)
    loose.release(permit, Outcome.SUCCESS, now=NOW)
    loose.leave_zombie(permit, now=NOW)
    assert "permit 1 was given back and not held" in checkers.violations[0]


def test_a_waiter_answered_twice(checkers: Checkers, loose: Any) -> None:
    ticket = loose.arrive(LOW, now=NOW)
    inner = loose.inner
    inner.claimed = 0
    inner.tick = lambda now: [inner.admit_ticket(ticket, now=now)] * 2
    loose.tick(now=NOW)
    assert "ticket 1 was answered and did not wait" in checkers.violations[0]


def test_a_waiter_that_is_forgotten(checkers: Checkers, loose: Any) -> None:
    loose.arrive(LOW, now=NOW)
    loose.inner.claimed = 0
    loose.tick(now=NOW)
    assert first(checkers).startswith("1 wait, but 0 counted")


def test_a_count_that_is_too_low(checkers: Checkers, loose: Any) -> None:
    loose.arrive(HIGH, now=NOW)
    loose.inner.in_flight = -1
    loose.tick(now=NOW)
    assert first(checkers).startswith("1 in flight, but -1 counted")


def test_a_figure_out_of_range(checkers: Checkers, loose: Any) -> None:
    loose.inner.limit = -1
    loose.tick(now=NOW)
    assert "has a figure out of range" in first(checkers)


class OurScript(OurControl):
    """A Shedder whose answer to the next arrival is given."""

    __slots__ = ("answer", "length")

    def arrive(self, request: RequestInfo, **more: Any) -> Any:
        return self.answer if self.answer is not None else super().arrive(request, **more)

    def reading(self) -> Reading:
        return super().reading()._replace(queue_length=self.length)


@pytest.fixture
def script(checkers: Checkers) -> tuple[WatchedController, OurScript]:
    control = OurScript(our_policy(Scenario(queue_length_max=1), with_profile=False), now=NOW)
    control.answer, control.length = None, 0
    return checkers.watch(control), control


def waiter(serial: int, request: RequestInfo) -> Ticket:
    return Ticket(serial, request, 0, 0, rank_of(request, 0), NOW, Instant(9))


def test_a_waiter_passed_over_for_a_lesser_one(checkers: Checkers, script: Any) -> None:
    watched, control = script
    control.answer, control.length = waiter(1, HIGH), 1
    watched.arrive(HIGH, now=NOW)
    control.answer = None
    watched.arrive(LOW, now=NOW)
    assert first(checkers).startswith("one of level 1 passed a waiter of level 5")


def test_a_queue_above_its_bound(checkers: Checkers, script: Any) -> None:
    watched, control = script
    for length in (1, 2):
        control.answer, control.length = waiter(length, LOW), length
        watched.arrive(LOW, now=NOW)
    assert first(checkers).startswith("2 wait in a queue for 1")


def test_a_refusal_that_does_not_follow_from_its_numbers(checkers: Checkers, script: Any) -> None:
    watched, control = script
    control.answer = Rejected(LOW, RejectReason.CLASS_LIMIT, NOW, (1, 1, 9))
    watched.arrive(LOW, now=NOW)
    assert "does not follow from its numbers" in first(checkers)


def test_an_evicted_waiter_is_answered_by_the_arrival(checkers: Checkers, script: Any) -> None:
    watched, control = script
    low, high = waiter(1, LOW), waiter(2, HIGH)
    control.answer, control.length = low, 1
    watched.arrive(LOW, now=NOW)
    evicted = Rejected(LOW, RejectReason.EVICTED, NOW, (1, low.rank, high.rank, 0), queue_length=1)
    high.evicted = Verdict(low, evicted)
    control.answer = high
    watched.arrive(HIGH, now=NOW)
    assert checkers.violations == []
    assert [serial for _, serial in watched.waiting] == [2]


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "ended twice"])
def test_a_call_that_is_lost_or_ends_twice(is_lost: bool) -> None:
    world = World(
        scenario=steady(0.5, arrivals=50),
        make_controller=ours,
        chance=chance_of(1),
        make_checkers=Checkers,
    )

    def spoil(_: None) -> None:
        if is_lost:
            world.tally.next_serial()
        else:
            world.tally.end_call(make_call(), End.FAILED, world.engine.now)

    world.engine.at(200_000_000, spoil, None)
    world.run()
    assert isinstance(world.checkers, Checkers)
    assert "calls begun, but" in world.checkers.violations[0]
    assert "at 0.200000 s" in world.checkers.violations[0]


def test_the_list_of_violations_is_bounded(checkers: Checkers) -> None:
    for number in range(30):
        checkers.report(f"wrong {number}")
    assert len(checkers.violations) == 21
    assert checkers.violations[-1] == "and 10 more"
