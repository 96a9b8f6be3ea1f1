"""What may be concluded from a load test that another tool ran, and what may not.

Little's law gives what was in flight; capacity is throughput where more in flight no longer raises
it; the knee is capacity times the latency of the lightest level. None of it has an interval: nobody
repeated it, and nobody watched the generator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shedproxy.calibration.imports.load_record import LoadRecord, Loop, Point
from shedproxy.calibration.results import UslFit
from shedproxy.calibration.usl import LEVELS_MIN, fit_usl
from shedproxy.core import Nanos
from shedproxy.workload import RandomSource

__all__ = ["Appraisal", "Conclusion", "appraise", "measured_points"]

_LIGHT = 1.5
"""So little in flight counts as no load."""
_PLATEAU = 0.95
_HIGHER = 1.5
"""Throughput of levels of which one has so much more in flight than the other is compared."""
_ENOUGH = 100
"""Requests beyond a percentile that it rests on, as for a step of our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """One question, and whether the file answers it."""

    question: str
    is_supported: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """A record with what follows from it."""

    record: LoadRecord
    conclusions: tuple[Conclusion, ...]
    capacity_rps: float | None
    """None: throughput was still rising at the highest level, or there were no levels."""
    idle_ns: Nanos | None
    """Mean latency without load."""
    knee_in_flight: float | None
    usl: UslFit | None


def measured_points(record: LoadRecord) -> list[tuple[float, float, Point]]:
    """(in flight, throughput, point) of the levels whose latency is known, rising."""
    found = [
        (in_flight, point.throughput_rps, point)
        for point in record.points
        if (in_flight := point.in_flight) is not None and in_flight > 0
    ]
    return sorted(found, key=lambda item: item[0])


def appraise(record: LoadRecord, *, rng: RandomSource) -> Appraisal:
    """Read what the record supports."""
    points = measured_points(record)
    capacity = _capacity(points)
    idle_ns = _idle_ns(points)
    knee = None if capacity is None or idle_ns is None else capacity * idle_ns / 1e9
    usl = None
    if len({round(in_flight, 2) for in_flight, _, _ in points}) >= LEVELS_MIN:
        # The law is of whole requests: less than one in flight is one for a part of the time.
        usl = fit_usl([(max(1.0, n), x) for n, x, _ in points], rng=rng)
    conclusions = [
        _of_latency(record),
        _of_tail(record),
        _of_capacity(points, capacity),
        _of_curve(points, usl),
        _of_knee(points, capacity, idle_ns, knee),
        *_of_errors(record),
    ]
    return Appraisal(
        record=record,
        conclusions=tuple(conclusions),
        capacity_rps=capacity,
        idle_ns=idle_ns,
        knee_in_flight=knee,
        usl=usl,
    )


def _capacity(points: Sequence[tuple[float, float, Point]]) -> float | None:
    """The highest throughput, if half as much in flight again did not raise it."""
    if not points:
        return None
    best = max(x for _, x, _ in points)
    flat = [n for n, x, _ in points if x >= _PLATEAU * best]
    falls = points[-1][1] < _PLATEAU * best
    return best if falls or flat[-1] >= _HIGHER * flat[0] else None


def _idle_ns(points: Sequence[tuple[float, float, Point]]) -> Nanos | None:
    if not points or points[0][0] > _LIGHT:
        return None
    return points[0][2].latency.mean_ns


def _of_latency(record: LoadRecord) -> Conclusion:
    question = "Latency that users would have seen"
    if record.loop is Loop.OPEN:
        text = "arrivals kept a schedule, and latency counts from it"
        return Conclusion(question=question, is_supported=True, text=text)
    if record.loop is Loop.CLOSED:
        text = (
            "closed loop: latency counts from the actual send time and a stalled service was asked"
            " less, so percentiles are lower bounds"
        )
    else:
        text = (
            "the file does not say whether arrivals waited for answers: say --loop open if they"
            " kept a schedule; else percentiles are lower bounds"
        )
    return Conclusion(question=question, is_supported=False, text=text)


def _of_tail(record: LoadRecord) -> Conclusion:
    total = record.total
    known = [share for share, _ in total.latency.percentiles if share < 1]
    beyond = {share: round((total.request_count or 0) * (1 - share)) for share in known}
    good = [share for share in known if beyond[share] >= _ENOUGH]
    question = "Highest percentile that rests on enough"
    if not good:
        text = f"none: {total.request_count} requests leave fewer than {_ENOUGH} beyond any in it"
        return Conclusion(question=question, is_supported=False, text=text)
    best = max(good)
    text = f"p{100 * best:g}: {beyond[best]} of {total.request_count} requests lie beyond it"
    return Conclusion(question=question, is_supported=True, text=text)


def _of_capacity(
    points: Sequence[tuple[float, float, Point]], capacity: float | None
) -> Conclusion:
    question = "Capacity"
    if capacity is not None:
        text = f"{capacity:,.1f} answers/s: more in flight brought no more"
        return Conclusion(question=question, is_supported=True, text=text)
    if len(points) < 2:
        text = "one level of load says nothing of what the service can do"
    else:
        text = "throughput was still rising at the highest level: it is more than was asked for"
    return Conclusion(question=question, is_supported=False, text=text)


def _of_curve(points: Sequence[tuple[float, float, Point]], usl: UslFit | None) -> Conclusion:
    question = "Throughput against concurrency (USL)"
    if usl is None:
        text = f"{len(points)} levels of load; a fit needs {LEVELS_MIN} that differ"
        return Conclusion(question=question, is_supported=False, text=text)
    text = f"fitted to {usl.point_count} levels, R² {usl.r_squared:.3f}"
    return Conclusion(question=question, is_supported=True, text=text)


def _of_knee(
    points: Sequence[tuple[float, float, Point]],
    capacity: float | None,
    idle_ns: Nanos | None,
    knee: float | None,
) -> Conclusion:
    question = "Knee, to start a limit from"
    if knee is not None and capacity is not None and idle_ns is not None:
        text = f"{knee:.1f} in flight: {capacity:,.1f}/s times {idle_ns / 1e6:.1f} ms without load"
        return Conclusion(question=question, is_supported=True, text=text)
    if capacity is None:
        text = "needs the capacity"
    elif points:
        text = f"needs a level with at most {_LIGHT} in flight; the lightest had {points[0][0]:.1f}"
    else:
        text = "needs levels of load"
    return Conclusion(question=question, is_supported=False, text=text)


def _of_errors(record: LoadRecord) -> Iterable[Conclusion]:
    failed, count = record.total.failed_count, record.total.request_count
    if failed and count:
        yield Conclusion(
            question="Are failures among it",
            is_supported=False,
            text=f"{failed} of {count} failed; their latency is in the percentiles where the tool"
            " counts it so",
        )
