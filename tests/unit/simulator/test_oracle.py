"""The yardstick keeps the backend just busy and serves the best first."""

from __future__ import annotations

from typing import Any

import pytest
from harness.worlds import oracle, run_world, steady

from shedproxy.core import (
    Criticality,
    Instant,
    Outcome,
    Permit,
    Rejected,
    RejectReason,
    RequestInfo,
    Ticket,
)
from shedproxy.simulator.oracle import OracleControl
from shedproxy.workload.scenario import BackendSpec


def make(limit: float = 1, wait_max_ns: int = 100) -> OracleControl:
    return OracleControl(best_limit=lambda: limit, wait_max_ns=wait_max_ns)


def arrive(control: OracleControl, at: int, criticality: Criticality, **more: Any) -> Any:
    return control.arrive(RequestInfo(criticality=criticality, **more), now=Instant(at))


def test_it_lets_in_up_to_the_limit_and_a_wide_one_alone() -> None:
    control = make(limit=2)
    kinds = [type(arrive(control, 0, Criticality.CRITICAL)) for _ in range(3)]
    assert kinds == [Permit, Permit, Ticket]
    assert type(arrive(make(limit=2), 0, Criticality.CRITICAL, cost=5)) is Permit


def test_a_slot_goes_to_the_most_important_and_oldest_that_still_waits() -> None:
    control = make()
    permit = arrive(control, 0, Criticality.CRITICAL)
    order = (
        Criticality.SHEDDABLE,
        Criticality.CRITICAL,
        Criticality.CRITICAL,
        Criticality.CRITICAL,
    )
    waiters = [arrive(control, at, criticality) for at, criticality in enumerate(order)]
    control.abandon(waiters[1], now=Instant(4))
    (verdict,) = control.release(permit, Outcome.SUCCESS, now=Instant(5))
    assert verdict.ticket is waiters[2]
    assert control.reading().queue_length == 2


def test_of_those_that_may_be_late_the_newest_comes_first() -> None:
    """Up to half of the longest wait any answer comes in time."""
    control = make(wait_max_ns=100)
    permit = arrive(control, 0, Criticality.CRITICAL)
    first, second, third = (arrive(control, at, Criticality.CRITICAL) for at in (1, 2, 30))
    order = []
    for now in (70, 90, 91):
        (verdict,) = control.release(permit, Outcome.SUCCESS, now=Instant(now))
        order.append(verdict.ticket)
        permit = verdict.decision
    assert order == [third, second, first]


def test_who_cannot_be_served_in_time_any_more_is_refused_when_his_turn_comes() -> None:
    control = make(wait_max_ns=100)
    permit = arrive(control, 0, Criticality.CRITICAL)
    for at in (1, 50):
        arrive(control, at, Criticality.CRITICAL)
    low = arrive(control, 60, Criticality.SHEDDABLE)
    verdicts = control.release(permit, Outcome.SUCCESS, now=Instant(150))
    kinds = [type(decision) for _, decision in verdicts]
    assert kinds == [Rejected, Rejected, Permit]
    assert verdicts[0].decision.reason is RejectReason.QUEUE_TIMEOUT
    assert verdicts[-1].ticket is low


def test_work_that_goes_on_for_nobody_is_in_flight_too() -> None:
    inside = 1
    control = OracleControl(best_limit=lambda: 2, wait_max_ns=100, inside=lambda: inside)
    assert type(arrive(control, 0, Criticality.CRITICAL)) is Permit
    inside = 2
    assert type(arrive(control, 0, Criticality.CRITICAL)) is Ticket


@pytest.mark.parametrize("load", [1.2, 5.0])
@pytest.mark.parametrize("backend", [
    BackendSpec(),
    BackendSpec(slots=32, service_ms=5.0, law="lognormal"),
    BackendSpec(kind="sharing", slots=4),
    BackendSpec(network_ms=20.0, law="constant"),
], ids=lambda spec: f"{spec.kind}-{spec.law}")  # fmt: skip
def test_it_serves_what_the_backend_can_do(backend: BackendSpec, load: float) -> None:
    """And nobody is refused on a guess."""
    world = run_world(
        steady(load, arrivals=round(8_000 * load), backend=backend, unscored_arrivals=1_000), oracle
    )
    assert set(world.tally.refused_by_reason) <= {RejectReason.QUEUE_TIMEOUT}
    could = world.tally.offered / load
    assert world.tally.served == pytest.approx(
        could, rel=0.06 if backend.law == "lognormal" else 0.04
    )
