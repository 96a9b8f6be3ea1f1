"""A load test by itself: one load at one target, and what its clients got. Nothing is fitted.

What was played is read as the steps of a calibration are: latency from when a request was meant to
be sent, goodput by the client's clock, and a generator that was late or busy voids it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shedproxy.calibration.digest import digest
from shedproxy.calibration.measurement import Phase, Slo, Step, StepState
from shedproxy.calibration.orders import Order, Played
from shedproxy.calibration.slo import percentile_ns
from shedproxy.core import NS_PER_S, Nanos, seconds
from shedproxy.workload.shapes import Level

__all__ = ["LoadResult", "SchedulePlayer", "keeps_slo", "play_load", "search_load"]

Arrivals = Sequence[tuple[Nanos, int]]

_SEARCH_ERROR = 0.1
_LEVELS_MAX = 16


class SchedulePlayer(Protocol):
    """`calibration.live.LivePlayer` is one."""

    def play_schedule(self, order: Order, schedule: Arrivals) -> Played:
        """Play these arrivals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What came of a load. `levels` are parts of a step or of a search, in time."""

    whole: Step | None
    """None of a search, whose levels were played one by one."""
    levels: tuple[Step, ...] = ()
    good_rps: float | None = None
    """Of a search: the highest rate that kept the objective."""
    bad_rps: float | None = None
    """Of a search: the lowest that did not; None: none did not."""
    is_stopped: bool = False
    """It was ended before its time; a search knows what it knew before its last level."""

    @property
    def faults(self) -> list[str]:
        """Why it says nothing; empty: it counts."""
        steps = self.levels if self.whole is None else (self.whole,)
        void = [step for step in steps if step.state is StepState.VOID]
        return [reason for step in void for reason in step.reasons]


def keeps_slo(step: Step, slo: Slo) -> bool:
    """Percentile and errors are within it; refusals are errors to who gets them."""
    if step.latency is None or not step.offered_count:
        return False
    errors = (step.offered_count - step.served_count) / step.offered_count
    return percentile_ns(step.latency, slo.percentile) <= slo.latency_ns and (
        errors <= slo.error_ratio
    )


def play_load(
    player: SchedulePlayer,
    schedule: Arrivals,
    *,
    slo: Slo,
    length_ns: Nanos,
    in_flight_max: int,
    routes: Sequence[str],
    levels: Sequence[Level] = (),
    seed: int = 1,
) -> LoadResult:
    """All of the arrivals, once, to the last answer. Blocks."""
    order = _order(len(schedule) * NS_PER_S / length_ns, length_ns, in_flight_max, seed)
    played = player.play_schedule(order, schedule)
    planned_rps = order.planned_rps
    if played.is_stopped:
        sent_ns = max(1, played.stopped_at - played.started_at)
        planned_rps = played.planned_count * NS_PER_S / sent_ns
        levels = [level for level in levels if level.from_ns < sent_ns]

    def read(played: Played, planned_rps: float) -> Step:
        return digest(
            replace(order, planned_rps=planned_rps),
            played,
            slo=slo,
            index=0,
            origin=played.started_at,
            routes=routes,
            cuts_warm_up=False,
        )

    assert planned_rps is not None
    return LoadResult(
        whole=read(played, planned_rps),
        levels=tuple(read(_part(played, schedule, level), level.rate_rps) for level in levels),
        is_stopped=played.is_stopped,
    )


def _part(played: Played, schedule: Arrivals, level: Level) -> Played:
    stopped_ns = played.stopped_at - played.started_at if played.is_stopped else level.until_ns
    until_ns = min(level.until_ns, stopped_ns)
    begin, end = (played.started_at + at for at in (level.from_ns, until_ns))
    return replace(
        played,
        rows=[row for row in played.rows if begin <= row.intended_at < end],
        started_at=type(played.started_at)(begin),
        stopped_at=type(played.stopped_at)(end),
        planned_count=sum(level.from_ns <= offset < until_ns for offset, _ in schedule),
        cpu_ns=0,
        not_sent_count=0,
    )


def search_load(
    player: SchedulePlayer,
    arrivals: Callable[[float, int], Arrivals],
    *,
    slo: Slo,
    from_rps: float,
    upto_rps: float,
    length_ns: Nanos,
    in_flight_max: int,
    routes: Sequence[str],
    on_level: Callable[[Step, bool], None] = lambda *_: None,
) -> LoadResult:
    """Double the rate until the objective is missed, then halve what is between good and bad.

    `arrivals` makes those of a rate and a seed. It ends when good and bad are a tenth apart.
    """
    good, bad, rate = 0.0, 0.0, from_rps
    steps: list[Step] = []
    for number in range(1, _LEVELS_MAX + 1):
        result = play_load(
            player, arrivals(rate, number), slo=slo, length_ns=length_ns,
            in_flight_max=in_flight_max, routes=routes, seed=number,
        )  # fmt: skip
        assert result.whole is not None
        step = replace(result.whole, index=number - 1, planned_rps=rate)
        steps.append(step)
        if result.is_stopped:
            break
        is_good = keeps_slo(step, slo)
        on_level(step, is_good)
        if step.state is StepState.VOID:
            break
        good, bad = (rate, bad) if is_good else (good, rate)
        if (bad and bad - good <= _SEARCH_ERROR * bad) or good >= upto_rps:
            break
        rate = (good + bad) / 2 if bad else min(upto_rps, 2 * rate)
    return LoadResult(
        whole=None, levels=tuple(steps), good_rps=good or None, bad_rps=bad or None,
        is_stopped=result.is_stopped,
    )  # fmt: skip


def _order(rate_rps: float, length_ns: Nanos, in_flight_max: int, seed: int) -> Order:
    return Order(
        phase=Phase.OPEN,
        pass_number=0,
        length_ns=length_ns,
        settle_ns=seconds(0),
        seed=seed,
        planned_rps=rate_rps,
        in_flight_max=in_flight_max,
        not_sent_max=None,
    )
