"""Which step to play next: idle, a search, then passes of interleaved steps in random order.

A generator of orders that is sent what became of each: it reads no clock (time spent is in the
steps), so that it may be driven in virtual time, live, or by the stored steps of a calibration that
was interrupted. What it decides by:

- *Idle*: one request at a time tells latency without load.
- *Search*: concurrency doubles until a doubling gains next to nothing. Closed, so that a service
  beyond its knee holds a known number of requests and no more; it ends at the first sign of errors.
- *Passes*: each has two equal steps at the concurrency found (they are also the A/A check), levels
  of the sweep for the USL, and open steps at rates that close in on where the SLO breaks.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from shedproxy.calibration.measurement import Phase, Plan, Step, StepState
from shedproxy.calibration.orders import Order
from shedproxy.calibration.saturation import GAIN_MIN, closed_steps, is_outdone
from shedproxy.calibration.slo import next_levels
from shedproxy.core import NS_PER_S, seconds
from shedproxy.workload import RandomSource

__all__ = ["Orders", "Outcome", "saturating_concurrency", "step_orders"]

_BUDGET_SHARE = 0.97
"""The rest is for drains that take longer than they should."""
_IDLE_SHARE = 0.05
_IDLE_MIN_S, _IDLE_MAX_S = 2.0, 20.0
_SEARCH_ANSWERS = 350
_SEARCH_SHARE = 0.03
_SEARCH_MIN_S = 0.6
_FALL_MAX = 0.85
_NO_GAIN_TURNS = 4
"""Times as many in flight that must gain nothing: one doubling may be bad luck of few answers."""
_ERRORS_MAX = 0.05
_CONCURRENCY_MAX = 1_024
_SATURATED_KNEE = 0.8
_SETTLE_TURNS = 25
"""Mean service times after which a saturated service has forgotten that it began idle, were its
service times as scattered as those of a log-normal law with a cv of 2."""
_SETTLE_SHARE = 0.3
_SATURATED_SHARE, _SWEEP_SHARE = 0.42, 0.16
_OPEN_MIN_S = 2.0
_OPEN_PER_PASS = 2
_OVERLOAD_LEVELS = (1.1, 1.3)
_OVERLOAD_MAX_S = 3.0
_PASS_MIN_S = 3.0
_SWEEP_MIN_S = 0.7
_HELD_BACK = 0.97
"""Of the cap on the rate: a closed step that does so much was held back by it."""
_CAPPED = "the cap on rate or requests in flight was reached before the service's capacity"
_BACKLOG_S = 2.0
"""An open step ends once so many seconds of work are in flight."""

Orders = Generator[Order, Step, "Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the plan came to its end. `stopped_by` is "" for a plan that was done."""

    stopped_by: str = ""


@dataclass(slots=True, kw_only=True)
class _Known:
    """What the steps so far have told."""

    idle_ns: float
    """Mean latency without load."""
    rate_rps: float
    """Capacity, roughly."""
    last: Step
    concurrency: int = 1
    """At which that was seen."""
    rate_max_rps: float | None = None
    """Never to be exceeded."""

    @property
    def knee(self) -> float:
        """Requests in flight when the service is busy and nobody waits inside it."""
        return self.rate_rps * self.idle_ns / NS_PER_S

    def see(self, steps: Sequence[Step]) -> None:
        """Know the rate better after a pass; more in flight, if that turns out to do more."""
        if is_outdone(steps, self.concurrency):
            self.concurrency = max(step.concurrency or 0 for step in closed_steps(steps))
        rates = [
            step.throughput_rps
            for step in steps
            if step.concurrency == self.concurrency and step.state is not StepState.VOID
        ]
        if rates:
            self.rate_rps = math.fsum(rates) / len(rates)

    def is_at_cap(self, step: Step) -> bool:
        """Whether the cap on the rate held it back: then it does not tell what the service does."""
        most = math.inf if self.rate_max_rps is None else self.rate_max_rps
        return step.throughput_rps > (most if step.planned_rps else _HELD_BACK * most)


def saturating_concurrency(steps: Sequence[Step]) -> int | None:
    """The concurrency at which capacity is read: the one that the passes spent most time at."""
    spent: dict[int, int] = {}
    for step in steps:
        if step.phase is Phase.CLOSED and step.concurrency is not None:
            spent[step.concurrency] = spent.get(step.concurrency, 0) + step.length_ns
    return max(spent, key=lambda level: spent[level]) if spent else None


def step_orders(plan: Plan, rng: RandomSource) -> Orders:
    """All of a calibration's orders, one after the other."""
    budget_ns = plan.budget_ns * _BUDGET_SHARE
    idle = yield _idle_order(plan, rng)
    if idle.latency is None:
        return Outcome(stopped_by="no answer with success came from the idle service")
    known = _Known(
        idle_ns=idle.latency.mean_ns,
        rate_rps=idle.throughput_rps,
        last=idle,
        rate_max_rps=plan.rate_max_rps,
    )
    stopped_by = yield from _search(plan, rng, known)
    if stopped_by:
        return Outcome(stopped_by=stopped_by)
    steps: list[Step] = []
    for number in range(1, plan.repeats + 1):
        left_s = (budget_ns - known.last.ended_at_ns) / NS_PER_S / (plan.repeats - number + 1)
        if left_s < _PASS_MIN_S and number > 1:
            return Outcome(stopped_by="the budget is spent")
        for order in _pass_orders(plan, rng, known, steps, number, max(left_s, _PASS_MIN_S)):
            if order.phase is Phase.OPEN and known.last.ended_at_ns > budget_ns:
                # Drains took longer than they should: the rate within the SLO is the lesser loss.
                continue
            step = yield order
            steps.append(step)
            known.last = step
            if known.is_at_cap(step):
                return Outcome(stopped_by=_CAPPED)
        known.see(steps)
    return Outcome()


def _idle_order(plan: Plan, rng: RandomSource) -> Order:
    length_s = plan.budget_ns / NS_PER_S * _IDLE_SHARE
    return Order(
        phase=Phase.IDLE,
        pass_number=0,
        length_ns=seconds(min(_IDLE_MAX_S, max(_IDLE_MIN_S, length_s))),
        settle_ns=seconds(0.2),
        seed=_draw_seed(rng),
        concurrency=1,
        rate_max_rps=plan.rate_max_rps,
    )


def _search(plan: Plan, rng: RandomSource, known: _Known) -> Generator[Order, Step, str]:
    """Double the concurrency until that gains nothing. Returns why it had to stop, or ""."""
    longest_s = plan.budget_ns / NS_PER_S * _SEARCH_SHARE
    most = min(_CONCURRENCY_MAX, plan.in_flight_max or _CONCURRENCY_MAX)
    best, level, gained_nothing_at = known.last, 1, 0
    while True:
        level *= 2
        if level > most:
            return "" if known.concurrency > 1 else _CAPPED
        length_s = max(
            min(longest_s, max(_SEARCH_MIN_S, _SEARCH_ANSWERS / known.rate_rps)),
            8 * known.idle_ns / NS_PER_S,
        )
        step = yield _closed_order(Phase.SEARCH, 0, level, length_s, known, rng)
        known.last = step
        if step.state is StepState.VOID:
            return f"the generator cannot keep {level} requests in flight: {step.reasons[0]}"
        if step.failed_count > _ERRORS_MAX * step.offered_count or step.ended_early:
            known.concurrency = gained_nothing_at or known.concurrency
            return "" if level > 2 else f"errors with {level} requests in flight"
        if known.is_at_cap(step):
            return _CAPPED
        gain = step.throughput_rps / best.throughput_rps
        if gain >= GAIN_MIN:
            best, gained_nothing_at = step, 0
            known.concurrency, known.rate_rps = level, step.throughput_rps
            continue
        if gain >= _FALL_MAX:
            gained_nothing_at = gained_nothing_at or level
            known.rate_rps = max(known.rate_rps, step.throughput_rps)
        if level >= _NO_GAIN_TURNS * known.concurrency:
            known.concurrency = gained_nothing_at or known.concurrency
            # Latency as good as without load: nobody waited, so it may well not be saturated.
            if gain >= _FALL_MAX and known.knee > _SATURATED_KNEE * known.concurrency:
                known.concurrency = min(most, 2 * known.concurrency)
            return ""


def _closed_order(
    phase: Phase, number: int, level: int, length_s: float, known: _Known, rng: RandomSource
) -> Order:
    # With more in flight than slots a turn takes longer; the service itself does not.
    settle_s = min(_SETTLE_TURNS * known.idle_ns / NS_PER_S, _SETTLE_SHARE * length_s)
    # Equal service times end in step: counted from and to a random phase, that evens out.
    settle_s = max(0.0, settle_s - 2 * rng.random() * known.idle_ns / NS_PER_S)
    length_s = max(2 * settle_s, length_s - 2 * rng.random() * known.idle_ns / NS_PER_S)
    return Order(
        phase=phase,
        pass_number=number,
        length_ns=seconds(length_s),
        settle_ns=seconds(settle_s),
        seed=_draw_seed(rng),
        concurrency=level,
        rate_max_rps=known.rate_max_rps,
    )


def _open_order(
    plan: Plan, number: int, rate_rps: float, length_s: float, known: _Known, rng: RandomSource
) -> Order:
    settle_s = min(_SETTLE_TURNS * known.idle_ns / NS_PER_S, _SETTLE_SHARE * length_s)
    backlog = math.ceil(known.rate_rps * max(_BACKLOG_S, plan.deadline_ns / NS_PER_S))
    most = plan.in_flight_max or max(4_000, 4 * known.concurrency)
    return Order(
        phase=Phase.OPEN,
        pass_number=number,
        length_ns=seconds(length_s),
        settle_ns=seconds(settle_s),
        seed=_draw_seed(rng),
        planned_rps=rate_rps,
        in_flight_max=min(most, max(backlog, 2 * known.concurrency)),
    )


def _sweep_levels(known: _Known, most: int) -> list[int]:
    """Concurrencies below and above the knee; with 1 of the idle step at least six."""
    knee = max(2, round(known.knee))
    wanted = {2, round(knee / 2), knee, round(1.5 * knee), 2 * known.concurrency}
    wanted |= {3, 6} if len(wanted - {1, known.concurrency}) < 5 else set()
    return sorted(level for level in wanted if 1 < level <= most and level != known.concurrency)


def _pass_orders(
    plan: Plan,
    rng: RandomSource,
    known: _Known,
    steps: Sequence[Step],
    number: int,
    length_s: float,
) -> Iterator[Order]:
    """One pass of `length_s`, in random order."""
    saturated_s = length_s * _SATURATED_SHARE / 2
    orders = [
        _closed_order(Phase.CLOSED, number, known.concurrency, saturated_s, known, rng)
        for _ in range(2)
    ]
    levels = _sweep_levels(known, plan.in_flight_max or _CONCURRENCY_MAX)
    sweep_s = length_s * _SWEEP_SHARE
    # Short of time each pass takes every other level, or every third.
    stride = max(1, min(len(levels), math.ceil(len(levels) * _SWEEP_MIN_S / sweep_s)))
    chosen = levels[(number - 1) % stride :: stride]
    orders += [
        _closed_order(Phase.CLOSED, number, level, sweep_s / len(chosen), known, rng)
        for level in chosen
    ]
    open_s = length_s * (1 - _SATURATED_SHARE - _SWEEP_SHARE)
    over = _OVERLOAD_LEVELS[number // 2 % len(_OVERLOAD_LEVELS)]
    is_allowed = plan.rate_max_rps is None or over * known.rate_rps <= plan.rate_max_rps
    if number % 2 == 0 and is_allowed and not plan.is_quick:
        over_s = min(_OVERLOAD_MAX_S, open_s / 4)
        orders.append(_open_order(plan, number, over * known.rate_rps, over_s, known, rng))
        # What is left of it has to be worked off.
        open_s -= over_s * over
    count = min(_OPEN_PER_PASS, max(1, int(open_s / _OPEN_MIN_S)))
    orders += [
        _open_order(plan, number, level * known.rate_rps, open_s / count, known, rng)
        for level in next_levels(steps, known.rate_rps, plan.slo, count=count)
    ]
    for place in range(len(orders) - 1, 0, -1):
        other = int(rng.random() * (place + 1))
        orders[place], orders[other] = orders[other], orders[place]
    return iter(orders)


def _draw_seed(rng: RandomSource) -> int:
    return int(rng.random() * 2**31)
