"""Which steps are played, driven by stations in virtual time."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest
from harness.calibrations import a_plan, closed_step, open_step, rehearsed

from shedproxy.calibration.measurement import Phase
from shedproxy.calibration.plan import saturating_concurrency, step_orders
from shedproxy.core import seconds


def test_a_quick_plan_takes_its_budget_and_no_more() -> None:
    plan = a_plan()
    steps, outcome = rehearsed(plan, seed=1)
    assert outcome == ""
    assert 0.85 * plan.budget_ns < steps[-1].ended_at_ns < 1.05 * plan.budget_ns


def test_beyond_the_budget_no_open_step_begins() -> None:
    """Log-normal backlogs drain for long: open steps that would be late are left out."""
    plan = a_plan()
    steps, _ = rehearsed(plan, seed=150, slots=16, service_ms=40, law="lognormal")
    assert steps[-1].ended_at_ns > plan.budget_ns
    assert not [
        step for step in steps if step.phase is Phase.OPEN and step.started_at_ns > plan.budget_ns
    ]


def test_the_search_stops_soon_after_the_knee() -> None:
    steps, _ = rehearsed(a_plan(), seed=2, slots=16, service_ms=40)
    searched = [step.concurrency for step in steps if step.phase is Phase.SEARCH]
    assert searched[:4] == [2, 4, 8, 16]
    assert max(level for level in searched if level) <= 64
    assert saturating_concurrency(steps) in {16, 32, 64}


def test_passes_are_random_and_hold_pairs_open_steps_and_a_sweep() -> None:
    plan = a_plan(budget_ns=seconds(180), repeats=5, is_quick=False)
    steps, _ = rehearsed(plan, seed=3)
    level = saturating_concurrency(steps)
    orders = []
    for number in range(1, 6):
        one = [step for step in steps if step.pass_number == number]
        assert sum(step.concurrency == level for step in one) == 2
        assert any(step.phase is Phase.OPEN for step in one)
        orders.append(tuple(step.concurrency for step in one))
    assert len(set(orders)) == 5
    swept = Counter(step.concurrency for step in steps if step.phase is Phase.CLOSED)
    assert len(swept) >= 5
    assert min(swept.values()) >= 2


@pytest.mark.parametrize("seed", [137, 420, 848])
def test_a_few_unlucky_answers_do_not_hide_the_knee(seed: int) -> None:
    """Of 60 log-normal answers the second in flight seemed to gain nothing: four slots are free."""
    steps, _ = rehearsed(a_plan(), seed=seed, law="lognormal")
    assert (saturating_concurrency(steps) or 0) >= 4


def test_passes_that_do_more_with_more_in_flight_move_the_concurrency_up() -> None:
    """Eight slots of 50/s, of which the search saw two."""
    orders = step_orders(a_plan(), random.Random(1))
    order, played = next(orders), []
    while order.pass_number < 3:
        played.append((order.pass_number, order.concurrency))
        slots = 2 if order.phase is Phase.SEARCH else 8
        if order.concurrency is None:
            step = open_step(order.planned_rps or 1, p99_ms=30)
        else:
            step = closed_step(order.concurrency, 50 * min(order.concurrency, slots))
        order = orders.send(replace(step, phase=order.phase, pass_number=order.pass_number))
    pairs = [
        Counter(level for number, level in played if number == one and level).most_common(1)[0][0]
        for one in (1, 2)
    ]
    assert pairs[0] <= 4
    assert pairs[1] >= 6


def test_a_service_without_an_answer_ends_the_plan() -> None:
    orders = step_orders(a_plan(), random.Random(1))
    assert next(orders).concurrency == 1
    with pytest.raises(StopIteration) as end:
        orders.send(closed_step(1, 50, latency=None))
    assert "no answer" in end.value.value.stopped_by


def test_errors_end_the_search_where_it_was_sound() -> None:
    orders = step_orders(a_plan(), random.Random(1))
    next(orders)
    order = orders.send(closed_step(1, 50))
    rates = {2: 100, 4: 200}
    while order.phase is Phase.SEARCH:
        assert order.concurrency is not None
        failed = 0 if order.concurrency <= 4 else 900
        order = orders.send(
            closed_step(order.concurrency, rates.get(order.concurrency, 200), failed_count=failed)
        )
        assert (order.concurrency or 0) <= 8
    assert order.pass_number == 1


def test_overload_is_left_out_where_the_cap_on_the_rate_is_below_it() -> None:
    plan = a_plan(budget_ns=seconds(60), repeats=4, is_quick=False, rate_max_rps=235.0)
    steps, outcome = rehearsed(plan, seed=3)
    assert outcome == ""
    assert max(step.planned_rps or 0 for step in steps) < 235


def test_a_cap_on_the_rate_holds() -> None:
    _, outcome = rehearsed(a_plan(rate_max_rps=80.0), seed=4)
    assert "cap" in outcome
    _, outcome = rehearsed(a_plan(in_flight_max=1), seed=4)
    assert "cap" in outcome


def test_every_closed_step_keeps_to_the_caps() -> None:
    plan, orders = a_plan(rate_max_rps=500.0, in_flight_max=5), []
    rehearsal = step_orders(plan, random.Random(1))
    order = next(rehearsal)
    with suppress(StopIteration):
        while True:
            orders.append(order)
            rate = 50 * min(order.concurrency or 4, 4)
            step = (
                open_step(order.planned_rps or 1, p99_ms=30)
                if order.concurrency is None
                else closed_step(order.concurrency, rate)
            )
            order = rehearsal.send(replace(step, phase=order.phase, pass_number=order.pass_number))
    closed = [order for order in orders if order.concurrency is not None]
    assert {order.rate_max_rps for order in closed} == {500.0}
    assert max(order.concurrency or 0 for order in closed) <= 5
    assert max(order.pass_number for order in closed) >= 3


def test_a_step_that_the_cap_held_back_is_no_measure() -> None:
    orders = step_orders(a_plan(rate_max_rps=200.0), random.Random(1))
    next(orders)
    orders.send(closed_step(1, 50))
    orders.send(closed_step(2, 100))
    with pytest.raises(StopIteration) as end:
        orders.send(closed_step(4, 199))
    assert "cap" in end.value.value.stopped_by
