"""A step as it was played becomes a step as it counts: cut, windows, percentiles, doubts.

Open steps are read by when requests were meant to be sent, so that a stall shows in all that it
delayed. Closed steps are read by when answers came, because of them only the rate is asked.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from shedproxy.calibration.estimates import mser_cut, trend
from shedproxy.calibration.measurement import (
    ClassCount,
    Count,
    GeneratorHealth,
    Percentiles,
    Slo,
    Step,
    StepState,
    Window,
)
from shedproxy.calibration.orders import Order, Played, Sent
from shedproxy.core import NS_PER_MS, NS_PER_S, NS_PER_US, Criticality, Nanos, to_milliseconds
from shedproxy.workload.results import percentile

__all__ = ["digest", "percentiles_of"]

WINDOWS = 20
_BUCKET = 1.03
_LAG_MAX_NS = NS_PER_MS
_LAG_SHARE = 0.05
_ACHIEVED_MIN = 0.995
_CPU_MAX = 0.7
_GROWTH_MIN = 0.01
_TREND_T = 3.0
_SHIFT_ERRORS, _SHIFT_MIN = 4.0, 0.05
"""A beginning differs from the rest by so many errors and this share, or is none."""
_STEADY_MIN = 50
"""Requests below which a step says nothing of its steadiness."""

_DISPERSION_MEAN_MIN = 5.0
"""Requests a window, below which their scatter is mostly that of whole numbers."""

_CLASSES: Mapping[int, str] = {one: one.label for one in reversed(Criticality)}


def digest(
    order: Order,
    played: Played,
    *,
    slo: Slo,
    index: int,
    origin: int,
    routes: Sequence[str] = (),
    cuts_warm_up: bool = True,
) -> Step:
    """Evaluate one step: what was ordered and what was played.

    `index` is its number in the calibration that began at `origin`; `routes` are names by number.
    With `cuts_warm_up` False nothing but `settle_ns` is cut, however the beginning differs.
    """
    is_open = order.planned_rps is not None
    rows = sorted(played.rows) if is_open else sorted(played.rows, key=lambda row: row.done_at)
    settled_at = played.started_at + order.settle_ns
    cut_at = _cut(rows, order, played, is_open=is_open) if cuts_warm_up else settled_at
    end = played.stopped_at
    kept = [row for row in rows if cut_at <= (row.intended_at if is_open else row.done_at) < end]
    span_s = max(1, end - cut_at) / NS_PER_S
    served = [row for row in kept if 200 <= row.status < 400]
    refused_count = sum(row.status in {429, 503} for row in kept)
    latencies = sorted(_latency(row, is_open=is_open) for row in served)
    good_count = bisect_left(latencies, slo.latency_ns + 1)
    windows = _windows(rows, cut_at, end, origin, is_open=is_open)
    health = _health(played, windows if is_open else ())
    left_count = sum(cut_at <= row.done_at < end and row.status > 0 for row in rows)
    state, reasons = _state(order, played, kept, windows, health, latencies)
    return Step(
        index=index,
        phase=order.phase,
        pass_number=order.pass_number,
        started_at_ns=Nanos(played.started_at - origin),
        length_ns=Nanos(end - played.started_at),
        ended_at_ns=Nanos(played.ended_at - origin),
        cut_ns=Nanos(cut_at - played.started_at),
        state=state,
        reasons=tuple(reasons),
        planned_rps=order.planned_rps,
        concurrency=order.concurrency,
        offered_rps=len(kept) / span_s,
        throughput_rps=left_count / span_s,
        goodput_rps=good_count / span_s,
        in_flight=_in_flight(rows, cut_at, end),
        offered_count=len(kept),
        served_count=len(served),
        refused_count=refused_count,
        failed_count=len(kept) - len(served) - refused_count,
        latency=percentiles_of(latencies),
        health=health,
        windows=windows,
        routes=_parts(kept, [row.route for row in kept], dict(enumerate(routes)), is_open=is_open),
        classes=_parts(kept, [row.criticality for row in kept], _CLASSES, is_open=is_open),
        errors=_errors(kept),
        ended_early=bool(played.ended_early),
    )


def percentiles_of(ordered: Sequence[int]) -> Percentiles | None:
    """Of sorted latencies; None of none."""
    if not ordered:
        return None

    def at(share: float) -> Nanos:
        return Nanos(percentile(ordered, share) or 0)

    return Percentiles(
        count=len(ordered),
        mean_ns=Nanos(sum(ordered) // len(ordered)),
        p50_ns=at(0.5),
        p90_ns=at(0.9),
        p99_ns=at(0.99),
        p999_ns=at(0.999),
        max_ns=Nanos(ordered[-1]),
        histogram=_histogram(ordered),
    )


def _histogram(ordered: Sequence[int]) -> tuple[tuple[Nanos, int], ...]:
    buckets: list[tuple[Nanos, int]] = []
    place = 0
    while place < len(ordered):
        steps = math.ceil(math.log(max(1.0, ordered[place] / NS_PER_US)) / math.log(_BUCKET))
        bound = int(NS_PER_US * _BUCKET**steps) + 1
        after = bisect_left(ordered, bound + 1, place)
        buckets.append((Nanos(bound), after - place))
        place = after
    return tuple(buckets)


def _latency(row: Sent, *, is_open: bool) -> int:
    return row.done_at - (row.intended_at if is_open else row.sent_at)


def _cut(rows: Sequence[Sent], order: Order, played: Played, *, is_open: bool) -> int:
    """Where warm-up ends: after `settle_ns`, later where MSER-5 clearly asks for it."""
    settled_at = played.started_at + order.settle_ns
    kept = [
        row
        for row in rows
        if settled_at <= (row.intended_at if is_open else row.done_at) < played.stopped_at
    ]
    if len(kept) < _STEADY_MIN:
        return settled_at
    # Hundred batches at most: what is cut is a beginning, not a single request.
    size = max(1, len(kept) // 100)
    means = [
        sum(_latency(row, is_open=is_open) for row in kept[at : at + size]) / size
        for at in range(0, len(kept) - size + 1, size)
    ]
    cut = mser_cut(means)
    if not cut:
        return settled_at
    head, tail = means[:cut], means[cut:]
    mean = math.fsum(tail) / len(tail)
    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in tail) / (len(tail) - 1))
    shift = abs(math.fsum(head) / len(head) - mean)
    # A cut on chance alone would favour whatever chance made smooth.
    error = spread * math.sqrt(1 / len(head) + 1 / len(tail))
    if shift <= max(_SHIFT_ERRORS * error, _SHIFT_MIN * mean):
        return settled_at
    row = kept[cut * size]
    return row.intended_at if is_open else row.done_at


def _in_flight(rows: Sequence[Sent], start: int, end: int) -> float:
    area = sum(
        min(end, row.done_at) - max(start, row.sent_at)
        for row in rows
        if row.done_at > start and row.sent_at < end
    )
    return area / max(1, end - start)


def _windows(
    rows: Sequence[Sent], start: int, end: int, origin: int, *, is_open: bool
) -> tuple[Window, ...]:
    bounds = [start + (end - start) * place // WINDOWS for place in range(WINDOWS + 1)]
    offered, areas = [0] * WINDOWS, [0] * WINDOWS
    ended: list[list[Sent]] = [[] for _ in range(WINDOWS)]
    width = max(1, (end - start) / WINDOWS)

    def place_of(instant: int) -> int:
        return min(WINDOWS - 1, int((instant - start) / width))

    for row in rows:
        if start <= row.intended_at < end:
            offered[place_of(row.intended_at)] += 1
        if start <= row.done_at < end:
            ended[place_of(row.done_at)].append(row)
        first, last = max(start, row.sent_at), min(end, row.done_at)
        if first < last:
            for place in range(place_of(first), place_of(last - 1) + 1):
                areas[place] += max(0, min(last, bounds[place + 1]) - max(first, bounds[place]))
    return tuple(
        _window(
            Nanos(low - origin), Nanos(max(1, high - low)), offered[place], areas[place],
            ended[place], is_open=is_open,
        )
        for place, (low, high) in enumerate(pairwise(bounds))
    )  # fmt: skip


def _window(
    started_at: Nanos,
    length_ns: Nanos,
    offered: int,
    area: int,
    ended: Sequence[Sent],
    *,
    is_open: bool,
) -> Window:
    latencies = sorted(_latency(row, is_open=is_open) for row in ended if 200 <= row.status < 400)
    refused = sum(row.status in {429, 503} for row in ended)
    p99 = percentile(latencies, 0.99)
    return Window(
        started_at_ns=started_at,
        length_ns=length_ns,
        offered_count=offered,
        served_count=len(latencies),
        refused_count=refused,
        failed_count=len(ended) - len(latencies) - refused,
        in_flight=area / length_ns,
        mean_ns=Nanos(sum(latencies) // len(latencies)) if latencies else None,
        p99_ns=None if p99 is None else Nanos(p99),
    )


def _health(played: Played, windows: Sequence[Window]) -> GeneratorHealth:
    lags = sorted(row.sent_at - row.intended_at for row in played.rows)
    span = max(1, played.stopped_at - played.started_at)

    def at(share: float) -> Nanos:
        return Nanos(max(0, percentile(lags, share) or 0))

    sent = len(lags) - played.not_sent_count
    return GeneratorHealth(
        send_lag_p50_ns=at(0.5),
        send_lag_p99_ns=at(0.99),
        send_lag_max_ns=at(1.0),
        cpu_ratio=played.cpu_ns / span,
        achieved_ratio=sent / played.planned_count if played.planned_count else 1.0,
        not_sent_count=played.not_sent_count,
        dispersion_ratio=_dispersion([window.offered_count for window in windows]),
    )


def _dispersion(counts: Sequence[int]) -> float | None:
    """Variance over mean; None where there are too few counts, or too small ones, to tell."""
    mean = math.fsum(counts) / max(1, len(counts))
    if len(counts) < WINDOWS or mean < _DISPERSION_MEAN_MIN:
        return None
    return math.fsum((count - mean) ** 2 for count in counts) / (len(counts) - 1) / mean


def _state(
    order: Order,
    played: Played,
    kept: Sequence[Sent],
    windows: Sequence[Window],
    health: GeneratorHealth,
    latencies: Sequence[int],
) -> tuple[StepState, list[str]]:
    void = _void(order, played, health, latencies)
    if void:
        return StepState.VOID, void
    if played.ended_early:
        return StepState.OVERLOADED, [played.ended_early]
    if len(kept) < _STEADY_MIN:
        return StepState.SHORT, [f"{len(kept)} requests say nothing of steadiness"]
    if order.planned_rps is None:
        return StepState.STEADY, []
    offered = sum(window.offered_count for window in windows)
    growth = windows[-1].in_flight - windows[0].in_flight
    line = trend([window.in_flight for window in windows])
    if growth > _GROWTH_MIN * offered and line is not None and line.t_value > _TREND_T:
        return StepState.OVERLOADED, [
            f"{growth:.0f} more in flight at the end than at the start: more came than left"
        ]
    return StepState.STEADY, []


def _void(
    order: Order, played: Played, health: GeneratorHealth, latencies: Sequence[int]
) -> list[str]:
    found = list(played.faults)
    if order.planned_rps is not None and not played.planned_count:
        return [
            *found,
            f"no request was due in it at {order.planned_rps:.3g}/s: play longer, or more",
        ]
    if health.cpu_ratio > _CPU_MAX:
        found.append(f"the generator used {health.cpu_ratio:.0%} of its CPU: starved")
    if order.planned_rps is None:
        return found
    median = latencies[len(latencies) // 2] if latencies else 0
    allowed_ns = max(_LAG_MAX_NS, _LAG_SHARE * median)
    lags = {"": health.send_lag_p99_ns}
    if len(played.generators) > 1:
        # One of several that is late hides among those in time.
        lags |= {
            f"generator process {place} ": part.lag_p99_ns
            for place, part in enumerate(played.generators, 1)
        }
    for who, lag_ns in lags.items():
        if lag_ns > allowed_ns:
            found.append(
                f"{who}sent {to_milliseconds(lag_ns):.1f} ms late at p99 "
                f"(at most {to_milliseconds(int(allowed_ns)):.1f} ms)"
            )
    if health.achieved_ratio < _ACHIEVED_MIN and not played.ended_early:
        found.append(
            f"{health.achieved_ratio:.1%} of what was planned was sent" + _not_sent(health)
        )
    return found


def _not_sent(health: GeneratorHealth) -> str:
    if not health.not_sent_count:
        return ""
    asks = ": does the target listen?" if not health.achieved_ratio else ""
    return f"; {health.not_sent_count} found no connection, or were above the cap in flight{asks}"


def _parts(
    kept: Sequence[Sent], keys: Sequence[int], names: Mapping[int, str], *, is_open: bool
) -> tuple[ClassCount, ...]:
    rows: dict[int, list[Sent]] = {}
    for key, row in zip(keys, kept, strict=True):
        rows.setdefault(key, []).append(row)
    found = []
    for key, name in names.items():
        if key in rows:
            latencies = sorted(
                _latency(row, is_open=is_open) for row in rows[key] if 200 <= row.status < 400
            )
            p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
            found.append(
                ClassCount(
                    name=name,
                    offered_count=len(rows[key]),
                    served_count=len(latencies),
                    refused_count=sum(row.status in {429, 503} for row in rows[key]),
                    p50_ns=None if p50 is None else Nanos(p50),
                    p99_ns=None if p99 is None else Nanos(p99),
                )
            )
    return tuple(found)


def _errors(kept: Sequence[Sent]) -> tuple[Count, ...]:
    counts = Counter(
        "no answer" if row.status == 0 else str(row.status)
        for row in kept
        if not 200 <= row.status < 400
    )
    return tuple(Count(name=name, count=count) for name, count in counts.most_common())
