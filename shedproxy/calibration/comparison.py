"""Two calibrations of the same service: what changed, and whether the change is more than noise.

Estimates are taken as independent and their errors as log-normal, so that the error of a ratio is
the root of the sum of squares of the relative errors. A change counts when its interval leaves out
"no change"; a loss fails a gate when it counts and its best estimate is above the bound.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shedproxy.calibration.estimates import mean_interval
from shedproxy.calibration.results import (
    Calibration,
    Confidence,
    Interval,
    Provenance,
    VerificationRun,
)
from shedproxy.core import NS_PER_MS

__all__ = [
    "Better",
    "Comparison",
    "Difference",
    "Judgement",
    "Result",
    "compare",
    "judge",
    "overall",
]

_Z = 1.959963984540054
_FEWEST_WINDOWS = 5


class Better(enum.Enum):
    """Which way a figure should go."""

    HIGHER = 1
    LOWER = 2
    NEITHER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure, before and after."""

    name: str
    unit: str
    better: Better
    before: Interval | None
    after: Interval | None
    change: Interval | None
    """After over before, less 1; None where one of them is not known, or before is 0."""

    @property
    def is_certain(self) -> bool:
        """Whether the interval of the change leaves out "no change"."""
        return self.change is not None and not self.change.low <= 0 <= self.change.high

    @property
    def loss(self) -> Interval | None:
        """The change for the worse, as a share; negative: it became better."""
        change = self.change
        if change is None or self.better is Better.NEITHER:
            return None
        if self.better is Better.LOWER:
            return change
        return Interval(value=-change.value, low=-change.high, high=-change.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All figures, and what stands in the way of comparing them."""

    differences: tuple[Difference, ...]
    obstacles: tuple[str, ...]
    """Why a verdict would mean nothing."""
    remarks: tuple[str, ...]
    """What is to be kept in mind."""


class Result(enum.Enum):
    """How a figure fared at the gate."""

    PASSED = 1
    BLIND = 2
    """Passed, but its interval is so wide that a loss above the bound would not have been seen."""
    UNKNOWN = 3
    FAILED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A line of the gate's verdict."""

    name: str
    result: Result
    text: str


# --- comparing ---------------------------------------------------------------------------------


def compare(before: Calibration, after: Calibration) -> Comparison:
    """What became of each figure that either of them has."""
    old, new = _figures(before), _figures(after)
    differences = []
    for name in dict.fromkeys([*old, *new]):
        unit, better, _ = new.get(name) or old[name]
        was = old[name][2] if name in old else None
        now = new[name][2] if name in new else None
        differences.append(
            Difference(
                name=name, unit=unit, better=better, before=was, after=now,
                change=_change(was, now),
            )
        )  # fmt: skip
    return Comparison(
        differences=tuple(differences),
        obstacles=tuple(_obstacles(before, after)),
        remarks=tuple(_remarks(before, after)),
    )


_Figure = tuple[str, Better, Interval | None]


def _figures(calibration: Calibration) -> dict[str, _Figure]:
    found = calibration.findings
    figures: dict[str, _Figure] = {
        "capacity": ("/s", Better.HIGHER, found.capacity_rps),
        "rate that keeps the objective": ("/s", Better.HIGHER, found.slo_rps),
        "knee": ("in flight", Better.NEITHER, found.knee_in_flight),
        "cost of a refusal": ("of a request", Better.LOWER, found.refusal_cost),
    }
    for route in found.routes:
        name = "all routes" if route.name == "*" else route.name
        figures[f"latency without load, {name}"] = (
            "ms", Better.LOWER, _scaled(route.baseline, 1 / NS_PER_MS),
        )  # fmt: skip
    for run in calibration.verification:
        if run.is_shedding and not run.is_void:
            name = f"goodput at {run.load_ratio:g} x"
            figures[name] = ("of what can be", Better.HIGHER, _goodput(run))
    return {name: figure for name, figure in figures.items() if figure[2] is not None}


def _scaled(interval: Interval, scale: float) -> Interval:
    return Interval(
        value=interval.value * scale,
        low=interval.low * scale,
        high=interval.high * scale,
        level=interval.level,
    )


def _goodput(run: VerificationRun) -> Interval:
    """Its interval is of the windows' scatter; without enough of them the estimate stands alone."""
    served = [window.served_count * 1e9 / window.length_ns for window in run.windows]
    scatter = mean_interval(served) if len(served) >= _FEWEST_WINDOWS else None
    if scatter is None or not scatter.value:
        return Interval(value=run.goodput_ratio, low=run.goodput_ratio, high=run.goodput_ratio)
    half = run.goodput_ratio * (scatter.high - scatter.low) / 2 / scatter.value
    value = run.goodput_ratio
    return Interval(value=value, low=max(0.0, value - half), high=value + half)


def _change(before: Interval | None, after: Interval | None) -> Interval | None:
    if before is None or after is None or before.value <= 0 or after.value < 0:
        return None
    if not after.value:
        # Nothing is left: of that there is no logarithm, and no doubt but its own interval's.
        return Interval(value=-1.0, low=-1.0, high=after.high / before.value - 1)
    ratio = after.value / before.value
    error = math.hypot(_relative_error(before), _relative_error(after))
    return Interval(
        value=ratio - 1,
        low=ratio * math.exp(-_Z * error) - 1,
        high=ratio * math.exp(_Z * error) - 1,
    )


def _relative_error(interval: Interval) -> float:
    return (interval.high - interval.low) / 2 / _Z / interval.value


def _obstacles(before: Calibration, after: Calibration) -> Iterable[str]:
    old, new = before.plan.slo, after.plan.slo
    if (old.percentile, old.latency_ns, old.error_ratio) != (
        new.percentile, new.latency_ns, new.error_ratio,
    ):  # fmt: skip
        yield f"the objectives differ: {old.text or old} and {new.text or new}"
    for name, one in (("base", before), ("report", after)):
        if one.verdict.confidence is Confidence.INCONCLUSIVE:
            why = one.verdict.reasons[0] if one.verdict.reasons else "no reason given"
            yield f"the {name} is inconclusive: {why}"


def _remarks(before: Calibration, after: Calibration) -> Iterable[str]:
    old, new = before.provenance, after.provenance
    if old.target_build and new.target_build and old.target_build != new.target_build:
        yield f"another build of the service: {old.target_build}, then {new.target_build}"
    elif old.target_build != new.target_build:
        named = old.target_build or new.target_build
        yield f"perhaps another build of the service: one is of {named}, the other does not say"
    if _machine(old) != _machine(new):
        yield "another machine"
    if before.plan.engine != after.plan.engine:
        yield f"another generator: {before.plan.engine}, then {after.plan.engine}"
    if (before.plan.routes, before.plan.classes) != (after.plan.routes, after.plan.classes):
        yield "another mix of requests"


def _machine(made: Provenance) -> list[tuple[str, str]]:
    # How busy it was before differs always.
    return [fact for fact in made.machine if fact[0] != "load"]


# --- judging -----------------------------------------------------------------------------------


def judge(
    comparison: Comparison, *, max_regression: float, after: Calibration
) -> tuple[Judgement, ...]:
    """What a gate says of each figure that the base has.

    `max_regression` is the share that may be lost.
    """
    lines = [
        _judged(difference, max_regression)
        for difference in comparison.differences
        if difference.better is not Better.NEITHER and difference.before is not None
    ]
    verdict = after.verdict
    for name, is_good in (
        ("objective can be met", verdict.slo_is_met),
        ("thresholds verified", verdict.is_verified),
    ):
        if is_good is not None:
            result = Result.PASSED if is_good else Result.FAILED
            lines.append(Judgement(name=name, result=result, text="yes" if is_good else "no"))
    lines += [
        Judgement(name="comparable", result=Result.UNKNOWN, text=text)
        for text in comparison.obstacles
    ]
    return tuple(lines)


def _judged(difference: Difference, bound: float) -> Judgement:
    loss = difference.loss
    if loss is None:
        text = "the base has it, and the report does not"
        return Judgement(name=difference.name, result=Result.UNKNOWN, text=text)
    interval = f"({_percent(loss.low)} to {_percent(loss.high)})"
    is_loss = loss.value > 0
    shown = f"lost {_percent(loss.value)} {interval}" if is_loss else f"no loss {interval}"
    if loss.value > bound and loss.low > 0:
        text = f"{shown}, more than {_percent(bound)}"
        return Judgement(name=difference.name, result=Result.FAILED, text=text)
    if loss.high - loss.value > bound:
        text = f"{shown}: too wide an interval to see a loss of {_percent(bound)}"
        return Judgement(name=difference.name, result=Result.BLIND, text=text)
    return Judgement(name=difference.name, result=Result.PASSED, text=shown)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def overall(lines: Sequence[Judgement], *, is_strict: bool) -> Result:
    """The result of the whole: failed before unknown before passed; strict: blind is unknown."""
    results = {line.result for line in lines}
    if Result.FAILED in results:
        return Result.FAILED
    if Result.UNKNOWN in results or not lines or (is_strict and Result.BLIND in results):
        return Result.UNKNOWN
    return Result.PASSED
