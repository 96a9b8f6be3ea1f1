"""What a queue comes to in the long run, told from what is known soon."""

from __future__ import annotations

import math
import random

import pytest
from harness.calibrations import SLO, a_step, closed_step, latency

from shedproxy.calibration.digest import percentiles_of
from shedproxy.calibration.measurement import Phase, StepState
from shedproxy.calibration.settled import (
    arrivals_cv,
    drawn_lengths,
    lengths_of,
    settled_rate,
    uncrowded_steps,
)
from shedproxy.core import milliseconds
from shedproxy.workload.laws import service_law

SLOTS, SERVICE_S = 4, 0.02


def late_ratio(rate_rps: float, after_s: float) -> float:
    """Erlang's queue: the share whose answer takes longer (Cooper 1981)."""
    work, per_s = rate_rps * SERVICE_S, 1 / SERVICE_S
    terms = [work**n / math.factorial(n) for n in range(SLOTS)]
    waiting = work**SLOTS / math.factorial(SLOTS) / (1 - work / SLOTS)
    waits = waiting / (math.fsum(terms) + waiting)
    room = SLOTS - 1 - work
    return math.exp(-per_s * after_s) * (1 + waits * -math.expm1(-per_s * after_s * room) / room)


def of_law(law: str, *, cv: float | None = None):
    draw = service_law(law, mean_ns=milliseconds(20), rng=random.Random(1), cv=cv)
    return lengths_of([percentiles_of(sorted(draw() for _ in range(4000)))])


def test_erlangs_queue_keeps_the_objective_up_to_there() -> None:
    rate_rps = settled_rate(of_law("exponential"), SLO, capacity_rps=200)
    assert 0.008 < late_ratio(rate_rps, 0.25) < 0.012
    assert late_ratio(192, 0.25) > 0.04, "what short steps take for good"


def test_scatter_costs_rate_and_its_absence_none() -> None:
    rates = [
        settled_rate(of_law("lognormal", cv=cv), SLO, capacity_rps=200) for cv in (0.2, 1.0, 2.0)
    ]
    assert rates == sorted(rates, reverse=True)
    equal = settled_rate(of_law("constant"), SLO, capacity_rps=200, arrivals_cv=0)
    assert equal == pytest.approx(200, rel=1e-3)
    assert (arrivals_cv("poisson"), arrivals_cv("constant")) == (1, 0)


def test_nobody_waited_alone_nor_well_below_the_knee() -> None:
    idle = a_step(Phase.IDLE, concurrency=1, latency=latency(20))
    steps = [idle, *(closed_step(n, 50 * n, latency=latency(20)) for n in (2, 3, 8))]
    void = closed_step(2, 100, latency=latency(20), state=StepState.VOID)
    assert uncrowded_steps([*steps, void], 200) == steps[:2]
    assert uncrowded_steps(steps[1:], 200) == []


def test_lengths_are_drawn_about_what_was_seen() -> None:
    lengths, rng = of_law("exponential"), random.Random(2)
    totals = [sum(count for _, count in drawn_lengths(lengths, rng)) for _ in range(200)]
    mean = sum(totals) / len(totals)
    assert mean == pytest.approx(4000, rel=0.02)
    scatter = math.sqrt(sum((total - mean) ** 2 for total in totals) / len(totals))
    assert scatter == pytest.approx(math.sqrt(4000), rel=0.2)
