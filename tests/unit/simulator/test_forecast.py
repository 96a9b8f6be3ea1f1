"""The real Shedder before a station of known capacity: who is let in, who waits how long."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from shedproxy.core import Criticality, LimitPolicy, QueuePolicy
from shedproxy.simulator.forecast import CellForecast, CellModel, forecast

CELL = CellModel(
    name="default",
    slots=4,
    service_ms=20.0,
    law="exponential",
    limit=LimitPolicy(initial=5, minimum=2, maximum=12),
    queue=QueuePolicy(),
    deadline_ms=1000.0,
)
MIX = [(Criticality.CRITICAL, 0.2), (Criticality.SHEDDABLE, 0.8)]


def chance(name: str) -> random.Random:
    return random.Random(f"1/{name}")


def ask(load: float, cell: CellModel = CELL, length_s: float = 15.0) -> CellForecast:
    return forecast(
        cell, offered_rps=load * cell.capacity_rps, mix=MIX, length_s=length_s, chance=chance
    )


def test_below_capacity_everybody_is_served() -> None:
    found = ask(0.6)
    assert [each.name for each in found.classes] == ["critical", "sheddable"]
    assert all(each.served_ratio > 0.995 for each in found.classes)
    assert found.goodput_ratio > 0.995
    assert found.offered_rps == pytest.approx(120, rel=0.1)


def test_what_comes_after_the_objective_is_served_and_not_good() -> None:
    found = ask(0.6)
    strict = ask(0.6, replace(CELL, objective_ms=20.0))
    (critical, _), (late, _) = found.classes, strict.classes
    assert (late.admitted_ratio, late.p99_ms) == (critical.admitted_ratio, critical.p99_ms)
    assert 0.4 < late.served_ratio < 0.64, "no more than the exponential's 0.63 below its mean"
    assert strict.goodput_rps < 0.75 * found.goodput_rps


def test_above_it_the_critical_are_and_the_others_get_the_rest() -> None:
    critical, sheddable = ask(2.0).classes
    assert critical.admitted_ratio > 0.98
    assert sheddable.admitted_ratio == pytest.approx(0.375, abs=0.06), "0.6 of 1.6"
    assert sheddable.refused[0][1] > 0
    assert critical.wait_p99_ms is not None and sheddable.wait_p99_ms is not None
    assert critical.wait_p99_ms < sheddable.wait_p99_ms


def test_capacity_is_used_but_not_more() -> None:
    found = ask(2.0)
    assert 0.93 < found.goodput_ratio <= 1.05
    assert found.in_flight_mean <= found.limit_mean + 1


def test_a_limit_that_is_too_high_costs_time() -> None:
    fixed = replace(CELL, limit=LimitPolicy(algorithm="fixed", initial=40, maximum=1000))
    high, adaptive = ask(2.0, fixed), ask(2.0)
    assert high.limit_mean == 40
    assert (high.classes[0].p50_ms or 0) > 3 * (adaptive.classes[0].p50_ms or 0)


def test_chance_is_given_and_the_same_gives_the_same() -> None:
    assert ask(1.5, length_s=5.0) == ask(1.5, length_s=5.0)


def test_latency_is_of_service_and_way_without_load() -> None:
    found = ask(0.1, replace(CELL, law="constant", network_ms=3.0))
    assert found.classes[0].p50_ms == pytest.approx(23.0, abs=0.01)
