"""Fits a profile to what a live proxy saw, where nobody may load production.

A service of K slots and service time S has a known number in flight at each share of its capacity
(Erlang's queue with Allen's and Cunneen's correction, as `observability.drift` has it). Every K is
tried against the points, S follows from them; which K are as good as the best one within chance
gives the interval (profile likelihood), where points near in time count as fewer, by their
correlation. No slots at all, so that latency is the same whatever the load, is tried too: where
that is as good, no knee was seen, and all that may be claimed is that the service carried what it
carried. Nor is a knee claimed beyond the loads that were there, nor from points in which a limit
before the service kept requests from it; where that was most of them, what they show is a floor.
Pure.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from shedproxy.calibration.estimates import t_quantile
from shedproxy.calibration.measurement import Interval
from shedproxy.errors import StartupError
from shedproxy.observability.drift import mean_in_flight
from shedproxy.observability.load_points import (
    POINT_REQUESTS,
    POINTS_FORMAT,
    POINTS_SCHEMA,
    LoadPoint,
)

__all__ = ["POINTS_MIN", "ObservedFit", "fit_points", "read_points"]

POINTS_MIN = 30
"""Less than five minutes of traffic say nothing."""
_ERRORS_MAX = 0.05
_LEVEL = 0.95
_SCATTERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
_SHARES = tuple(1 - (1 - step / 60) ** 2 for step in range(1, 60))
"""Of capacity, closer where in flight rises steeply."""
_SLOTS_EXACT, _SLOTS_GROWTH = 24, 1.06
_SLOTS_OVER_SEEN = 4
"""More slots than so many times what was in flight cannot be told from endless ones."""
_SHARE_MIN = 0.75
"""A knee is claimed only where so much of the capacity was in use."""
_RISE_MIN = 1.2
"""Over the service time: a knee is where requests wait inside the service, so they must have."""
_WIDTH_MAX = 0.25
_MODEL_ERROR = 0.05
"""Added to each side of an interval: no service is Erlang's queue, and points of ten seconds blur
what happens within them."""
_ROUGH_MAX = 0.2
_HIGHEST = 3
"""The highest load counts that was seen so often."""
_HELD_MAX = 0.02
"""Of requests, that were made to wait or refused before the service: where more were, what was in
flight was cut off by the limit, and would pass for a service with room left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedFit:
    """What the points say. None where they do not; `missing` says why, in sentences."""

    point_count: int
    span_s: float
    upstreams: int
    highest_in_flight: float = 0.0
    highest_rps: float = 0.0
    knee: Interval | None = None
    capacity_rps: Interval | None = None
    service_ns: Interval | None = None
    """Latency when nobody waits in the service."""
    scatter: float = 1.0
    changed_ratio: float | None = None
    """Service time of the later half over that of the earlier one, if it surely changed."""
    missing: tuple[str, ...] = ()

    @property
    def is_enough(self) -> bool:
        """Whether anything may be claimed."""
        return self.highest_in_flight > 0


def read_points(text: str, cell: str) -> list[LoadPoint]:
    """The points of a cell, from what `/-/points` answers.

    Raises:
        StartupError: it is something else, or has no such cell.
    """
    try:
        body = json.loads(text)
        cells = _cells(body) if isinstance(body, dict) else {}
    except json.JSONDecodeError as error:
        raise StartupError(f"no points: it is not JSON, as /-/points answers: {error}") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise StartupError(f"the points cannot be read: {error!r}") from error
    if not isinstance(body, dict) or body.get("format") != POINTS_FORMAT:
        raise StartupError("no points: that is not what /-/points of a control listener answers")
    if body["schema"] > POINTS_SCHEMA:
        raise StartupError(
            f"the points have schema {body['schema']}, of a newer shedproxy; this one knows up to"
            f" {POINTS_SCHEMA}"
        )
    if cell not in cells and cells:
        raise StartupError(f"no points of cell {cell!r}; there are: {', '.join(sorted(cells))}")
    return cells.get(cell, [])


def _cells(body: dict[str, Any]) -> dict[str, list[LoadPoint]]:
    """By name; none of a document of another format or a newer schema, which is then refused."""
    if body.get("format") != POINTS_FORMAT or body["schema"] > POINTS_SCHEMA:
        return {}
    places = [body["columns"].index(name) for name in LoadPoint._fields]
    cells = {
        str(name): [LoadPoint(*(row[place] for place in places)) for row in rows]
        for name, rows in body["cells"].items()
    }
    return {
        name: [point for point in points if point.length_s > 0] for name, points in cells.items()
    }


def fit_points(points: Sequence[LoadPoint]) -> ObservedFit:
    """The profile that the points bear out, and no more."""
    usual = Counter(point.upstreams for point in points).most_common(1)
    upstreams = usual[0][0] if usual else 0
    sound = sorted(
        point
        for point in points
        if point.ended >= POINT_REQUESTS
        and point.failed <= _ERRORS_MAX * point.ended
        and point.upstreams == upstreams
        and point.in_flight > 0
    )
    kept = [point for point in sound if _held_ratio(point) <= _HELD_MAX]
    held = len(sound) - len(kept)
    span_s = kept[-1].at_s - kept[0].at_s + kept[0].length_s if kept else 0.0
    if len(kept) < POINTS_MIN and len(sound) >= POINTS_MIN and len(kept) >= _HIGHEST:
        return _carried(sound, kept)
    if len(kept) < POINTS_MIN:
        return ObservedFit(
            point_count=len(kept),
            span_s=span_s,
            upstreams=upstreams,
            missing=(_too_few(len(kept), upstreams), *([_always_held(held)] if held else [])),
        )
    highest = sorted(point.in_flight for point in kept)[-_HIGHEST]
    fastest = sorted(point.throughput_rps for point in kept)[-_HIGHEST]
    found = _search(kept)
    missing = _doubts(found, highest)
    if missing and held:
        missing.append(_left_out(held))
    return ObservedFit(
        point_count=len(kept),
        span_s=span_s,
        upstreams=upstreams,
        highest_in_flight=highest,
        highest_rps=fastest,
        knee=None if missing else found.knee,
        capacity_rps=None if missing else found.capacity_rps,
        service_ns=found.service_ns,
        scatter=found.scatter,
        changed_ratio=_changed(kept, found),
        missing=tuple(missing),
    )


def _carried(sound: Sequence[LoadPoint], kept: Sequence[LoadPoint]) -> ObservedFit:
    """A floor, of a service whose limit is mostly in use.

    What it completed behind the limit it can complete; so many slots were busy with that (Little's
    law) as its latency was when nobody was held back, which is that of a service with room. What
    was in flight is no measure: beyond the knee it only waits.
    """
    fastest = sorted(point.throughput_rps for point in sound)[-_HIGHEST]
    usual_s = sorted(point.latency_ms for point in kept)[_HIGHEST - 1] / 1e3
    most = sorted(point.in_flight for point in sound)[-_HIGHEST]
    return ObservedFit(
        point_count=len(sound),
        span_s=sound[-1].at_s - sound[0].at_s + sound[0].length_s,
        upstreams=sound[0].upstreams,
        highest_in_flight=min(most, fastest * usual_s),
        highest_rps=fastest,
        missing=(_cut_off(len(sound) - len(kept), len(sound), fastest),),
    )


def _cut_off(held: int, count: int, fastest_rps: float) -> str:
    return (
        f"in {held} of {count} points the limit made requests wait or refused them: the service "
        f"carried {fastest_rps:.0f}/s, and what it could do beyond was cut off: floor only"
    )


def _held_ratio(point: LoadPoint) -> float:
    return (point.waited + point.refused) / (point.ended + point.refused)


def _left_out(count: int) -> str:
    return (
        f"{count} points more were left out, in which the limit made requests wait or refused them:"
        " what reached the service then was cut off"
    )


def _always_held(count: int) -> str:
    return (
        f"{_left_out(count)}; points of quieter hours would tell its latency, and points with a "
        "higher limit.max, or of mode observe, what it can carry"
    )


def _too_few(count: int, upstreams: int) -> str:
    return (
        f"not enough data: {count} sound points of {POINT_REQUESTS} requests or more with "
        f"{upstreams} healthy upstreams, and it takes {POINTS_MIN}"
    )


@dataclass(slots=True, kw_only=True)
class _Found:
    knee: Interval
    capacity_rps: Interval
    service_ns: Interval
    scatter: float
    slots: int
    has_knee: bool
    is_bounded: bool
    highest_share: float
    rise: float
    """Latency at the highest load over the service time."""
    rough: float
    """Standard deviation of the points about the curve, as a share."""


class _Curve:
    """In flight at each share of capacity of so many slots, the other way round."""

    def __init__(self, slots: int, scatter: float) -> None:
        self.slots = slots
        self.scatter = scatter
        self._in_flight = [mean_in_flight(slots, share, scatter) for share in _SHARES]

    def share(self, in_flight: float) -> float:
        place = bisect_right(self._in_flight, in_flight)
        if place == 0:
            return _SHARES[0] * in_flight / self._in_flight[0]
        if place == len(_SHARES):
            return 1.0
        low, high = self._in_flight[place - 1 : place + 1]
        along = (in_flight - low) / (high - low)
        return _SHARES[place - 1] + along * (_SHARES[place] - _SHARES[place - 1])

    def service_logs(self, points: Sequence[LoadPoint]) -> list[float]:
        """Logarithm of the service time in s that each point asks for."""
        return [
            math.log(self.share(point.in_flight) * self.slots / point.throughput_rps)
            for point in points
        ]


def _slot_counts(highest: float) -> list[int]:
    most = max(4, math.ceil(_SLOTS_OVER_SEEN * highest))
    counts = list(range(1, min(most, _SLOTS_EXACT) + 1))
    while counts[-1] < most:
        counts.append(min(most, max(counts[-1] + 1, round(counts[-1] * _SLOTS_GROWTH))))
    return counts


def _rest(logs: Sequence[float]) -> tuple[float, float]:
    """Mean, and sum of squares about it."""
    mean = math.fsum(logs) / len(logs)
    return mean, math.fsum((each - mean) ** 2 for each in logs)


def _search(points: Sequence[LoadPoint]) -> _Found:
    highest = max(point.in_flight for point in points)
    curves = [_Curve(slots, scatter) for slots in _slot_counts(highest) for scatter in _SCATTERS]
    fits = [(*_rest(curve.service_logs(points)), curve) for curve in curves]
    log_s, least, best = min(fits, key=lambda fit: fit[1])
    freedom = _freedom([each - log_s for each in best.service_logs(points)])
    allowed = least * (1 + t_quantile(_LEVEL, freedom) ** 2 / freedom) + 1e-12
    as_good = [fit for fit in fits if fit[1] <= allowed]
    # Without a limit in sight latency is the service time, whatever is in flight.
    _, endless = _rest([math.log(point.in_flight / point.throughput_rps) for point in points])
    slots = [curve.slots for _, _, curve in as_good]
    capacities = [curve.slots / math.exp(log) for log, _, curve in as_good]
    services = [math.exp(log) * 1e9 for log, _, _ in as_good]
    half = _MODEL_ERROR + t_quantile(_LEVEL, freedom) * math.sqrt(least / len(points) / freedom)
    shares = sorted(best.share(point.in_flight) for point in points)
    return _Found(
        knee=Interval(
            value=best.slots,
            low=min(slots) * (1 - _MODEL_ERROR),
            high=max(slots) * (1 + _MODEL_ERROR),
        ),
        capacity_rps=Interval(
            value=best.slots / math.exp(log_s),
            low=min(capacities) * math.exp(-half),
            high=max(capacities) * math.exp(half),
        ),
        service_ns=Interval(
            value=math.exp(log_s) * 1e9,
            low=min(services) * math.exp(-half),
            high=max(services) * math.exp(half),
        ),
        scatter=best.scatter,
        slots=best.slots,
        has_knee=endless > allowed,
        is_bounded=max(slots) < curves[-1].slots,
        highest_share=shares[-_HIGHEST],
        rise=sorted(point.latency_ms for point in points)[-_HIGHEST] / 1e3 / math.exp(log_s),
        rough=math.sqrt(least / len(points)),
    )


def _freedom(rests: Sequence[float]) -> int:
    """Points that are worth as much as independent ones, less what was fitted."""
    square = math.fsum(rest * rest for rest in rests)
    lagged = math.fsum(a * b for a, b in pairwise(rests))
    correlation = min(0.9, max(0.0, lagged / square)) if square > 0 else 0.0
    return max(5, int(len(rests) * (1 - correlation) / (1 + correlation)) - 3)


def _doubts(found: _Found, highest: float) -> list[str]:
    """Why no knee may be claimed; empty: one may."""
    shown = f"{highest:.0f}" if highest >= 10 else f"{highest:.1f}"
    doubt = _doubt(found)
    return [f"highest in-flight seen was {shown}, {doubt}: floor only"] if doubt else []


def _doubt(found: _Found) -> str:
    if not found.has_knee or not found.is_bounded or found.rise < _RISE_MIN:
        return "no knee seen"
    if found.highest_share < _SHARE_MIN:
        share = f"{found.highest_share:.0%}"
        return f"about {share} of what it might carry, and a knee takes {_SHARE_MIN:.0%}"
    if found.rough > _ROUGH_MAX:
        return (
            f"but points scatter by {found.rough:.0%} about any one curve, as of a mix of routes "
            "or a service that changed"
        )
    capacity = found.capacity_rps
    if capacity.high - capacity.low > 2 * _WIDTH_MAX * capacity.value:
        return f"but capacity is anything from {capacity.low:.0f} to {capacity.high:.0f}/s"
    return ""


def _changed(points: Sequence[LoadPoint], found: _Found) -> float | None:
    """How the later half differs from the earlier one, beyond chance."""
    logs = _Curve(found.slots, found.scatter).service_logs(points)
    half = len(logs) // 2
    (first, before), (second, after) = _rest(logs[:half]), _rest(logs[half:])
    error = math.sqrt(before / half**2 + after / (len(logs) - half) ** 2)
    change = second - first
    return math.exp(change) if abs(change) > max(math.log(1.12), 4 * error) else None
