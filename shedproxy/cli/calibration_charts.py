"""The charts of a calibration report: measured points are dots, what was fitted to them lines."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from shedproxy.calibration.results import (
    Calibration,
    Percentiles,
    Phase,
    Step,
    StepState,
    UslFit,
    VerificationRun,
)
from shedproxy.calibration.slo import Level, open_levels
from shedproxy.cli.charts.markup import Html
from shedproxy.cli.charts.panel import Chart, Key, Line, Panel, Values, panel_markup
from shedproxy.cli.observed_views import observed_chart
from shedproxy.cli.signal_views import signals_chart
from shedproxy.core import NS_PER_MS, NS_PER_S

__all__ = ["CHARTS", "band_lines", "between"]

_MEASURED, _FIT, _LIMIT, _SLO = "measured", "fitted curve", "chosen limit", "objective"
_PAST = "past the best"
_NINES_STEP = 0.1
_Read = Callable[[Percentiles], int]
_PERCENTILES: Mapping[str, _Read] = {
    "p50": lambda latency: latency.p50_ns,
    "p90": lambda latency: latency.p90_ns,
    "p99": lambda latency: latency.p99_ns,
    "p99.9": lambda latency: latency.p999_ns,
}


def _steps(calibration: Calibration, phase: Phase) -> list[Step]:
    return [
        step
        for step in calibration.steps
        if step.phase is phase and step.state in {StepState.STEADY, StepState.OVERLOADED}
    ]


def _dots(
    steps: Sequence[Step],
    x: Sequence[float],
    at: Callable[[Step], float],
    value: Callable[[Step], float | None],
    key: str = _MEASURED,
) -> list[Line]:
    """A line of dots for each pass, as several may have been measured at one place."""
    lines = []
    for number in sorted({step.pass_number for step in steps}):
        values: list[float | None] = [None] * len(x)
        for step in steps:
            if step.pass_number == number:
                values[bisect_left(x, at(step))] = value(step)
        lines.append(Line(key=key, label=f"pass {number}", shape="points", values=values))
    return lines


def _mark(x: Sequence[float], at: float | None, top: float, key: str) -> list[Line]:
    """A stroke from the axis up at `at`: two points a hair apart."""
    if at is None:
        return []
    place = bisect_left(x, at)
    values: list[float | None] = [None] * len(x)
    values[place], values[place + 1] = 0.0, top
    return [Line(key=key, values=values, shape="line")]


def _hair(at: float | None) -> list[float]:
    return [] if at is None else [at, at * 1.000_001]


# --- throughput by concurrency -----------------------------------------------------------------


def _concurrency(calibration: Calibration) -> Html:
    steps = _steps(calibration, Phase.CLOSED)
    usl = calibration.findings.usl
    if not steps:
        return Html("")
    limit = calibration.verdict.limit
    chosen = None if limit is None else float(limit)
    band = usl.band if usl is not None else ()
    x = sorted(
        {float(step.concurrency or 0) for step in steps}
        | {row[0] for row in band}
        | set(_hair(chosen))
    )
    top = max(step.throughput_rps for step in steps)
    throughput = [
        *_past_the_best(usl, x, top),
        *band_lines(band, x),
        *_dots(steps, x, lambda step: float(step.concurrency or 0), lambda s: s.throughput_rps),
        *_mark(x, chosen, top, _LIMIT),
    ]
    mean_ms = _dots(
        steps,
        x,
        lambda step: float(step.concurrency or 0),
        lambda step: step.latency.mean_ns / NS_PER_MS if step.latency else None,
    )
    highest = max((step.latency.mean_ns / NS_PER_MS for step in steps if step.latency), default=0.0)
    latency = [
        *mean_ms,
        *_fitted_latency(usl, x),
        *_mark(x, chosen, highest, _LIMIT),
    ]
    return panel_markup(
        Panel(
            x_label="in flight",
            x_unit="",
            x=x,
            keys=[
                Key(name=_MEASURED, hue=0),
                Key(name=_FIT, hue=1),
                Key(name=_LIMIT, hue=2),
                Key(name=_PAST),
            ],
            charts=[
                Chart(title="Throughput", unit="answers/s", lines=throughput, has_log_axis=False),
                Chart(title="Mean latency", unit="ms", lines=latency, has_log_axis=False),
            ],
        )
    )


def band_lines(band: Sequence[tuple[float, float, float, float]], x: Sequence[float]) -> list[Line]:
    """The fitted curve within its band, of rows (in flight, value, low, high)."""
    if not band:
        return []
    places = [row[0] for row in band]
    columns = [[between(places, [row[i] for row in band], at) for at in x] for i in (1, 2, 3)]
    value, low, high = columns
    return [
        Line(key=_FIT, label="low", values=low, shape="edge"),
        Line(key=_FIT, label="high", values=high, shape="edge"),
        Line(key=_FIT, values=value),
    ]


def _past_the_best(usl: UslFit | None, x: Sequence[float], top: float) -> list[Line]:
    """Where more at a time means fewer answers."""
    if usl is None or usl.peak_in_flight is None:
        return []
    best = usl.peak_in_flight.value
    return [Line(key=_PAST, values=[top if at >= best else None for at in x], shape="area")]


def between(places: Sequence[float], values: Sequence[float], at: float) -> float | None:
    """Straight between the points; None outside of them."""
    if not places[0] <= at <= places[-1]:
        return None
    i = bisect_left(places, at)
    if places[i] == at:
        return values[i]
    share = (at - places[i - 1]) / (places[i] - places[i - 1])
    return values[i - 1] + share * (values[i] - values[i - 1])


def _fitted_latency(usl: UslFit | None, x: Sequence[float]) -> list[Line]:
    """Little's law on the fitted curve: R = N / X."""
    if usl is None:
        return []
    places = [row[0] for row in usl.band]
    values = [1000 * row[0] / row[1] for row in usl.band]
    return [Line(key=_FIT, values=[between(places, values, at) for at in x])]


# --- latency by rate ---------------------------------------------------------------------------


def _rates(calibration: Calibration) -> Html:
    steps = _steps(calibration, Phase.OPEN)
    if not steps:
        return Html("")

    def rate(step: Step) -> float:
        return step.planned_rps or step.offered_rps

    slo_rps = calibration.findings.slo_rps
    chosen = slo_rps.value if slo_rps is not None else None
    x = sorted({rate(step) for step in steps} | set(_hair(chosen)))
    levels = open_levels(steps)
    lines = [Line(key=name, values=_pooled(levels, x, read)) for name, read in _PERCENTILES.items()]
    worst = max((step.latency.p999_ns / NS_PER_MS for step in steps if step.latency), default=1.0)
    slo = calibration.plan.slo
    bound = Line(
        key=_SLO, shape="reference", values=[slo.latency_ns / NS_PER_MS for _ in x],
        label=f"p{100 * slo.percentile:g}",
    )  # fmt: skip
    flow = [
        *_dots(steps, x, rate, lambda step: step.goodput_rps, "good answers"),
        Line(key="offered", values=x, shape="reference"),
        *_mark(x, chosen, max(map(rate, steps)), "rate that keeps it"),
    ]
    return panel_markup(
        Panel(
            x_label="offered rate",
            x_unit="/s",
            x=x,
            keys=[
                *(Key(name=name, hue=hue) for hue, name in enumerate(_PERCENTILES)),
                Key(name=_SLO),
                Key(name="rate that keeps it", hue=5),
                Key(name="good answers", hue=4),
                Key(name="offered"),
            ],
            charts=[
                Chart(
                    title="Latency from the intended send time",
                    unit="ms",
                    lines=[*lines, bound, *_mark(x, chosen, worst, "rate that keeps it")],
                    has_log_axis=False,
                ),
                Chart(title="Goodput", unit="answers/s", lines=flow, has_log_axis=False),
            ],
        )
    )


def _pooled(levels: Sequence[Level], x: Sequence[float], read: _Read) -> Values:
    """Of all passes together at each level, and straight between levels."""
    known = [
        (level.steps[0].planned_rps or level.rate_rps, read(level.latency) / NS_PER_MS)
        for level in levels
        if level.latency is not None
    ]
    if not known:
        return [None for _ in x]
    places, heights = [at for at, _ in known], [value for _, value in known]
    return [between(places, heights, at) for at in x]


# --- shedding off and on -----------------------------------------------------------------------


def _verification(calibration: Calibration) -> Html:
    runs = [run for run in calibration.verification if not run.is_void]
    x = sorted({run.load_ratio for run in runs})
    if len(x) < 2:
        return Html("")
    names = {False: "shedding off", True: "shedding on"}

    def values(is_on: bool, read: Callable[[VerificationRun], float | None]) -> Values:
        by_load = {run.load_ratio: read(run) for run in runs if run.is_shedding is is_on}
        return [by_load.get(load) for load in x]

    def lines(read: Callable[[VerificationRun], float | None]) -> list[Line]:
        return [Line(key=name, values=values(is_on, read)) for is_on, name in names.items()]

    capacity = calibration.findings.capacity_rps
    best = [Line(key="capacity", shape="reference",
                 values=[min(capacity.value, load * capacity.value) for load in x])] if (
        capacity is not None) else []  # fmt: skip
    return panel_markup(
        Panel(
            x_label="load",
            x_unit="x",
            x=x,
            keys=[
                Key(name=names[True], hue=0),
                Key(name=names[False], hue=1),
                Key(name="capacity"),
            ],
            charts=[
                Chart(
                    title="Goodput",
                    unit="answers/s",
                    lines=[*lines(lambda run: run.goodput_rps), *best],
                    has_log_axis=False,
                ),
                Chart(
                    title="p99 of what was served",
                    unit="ms",
                    lines=lines(
                        lambda run: run.latency.p99_ns / NS_PER_MS if run.latency else None
                    ),
                ),
            ],
        )
    )


# --- distribution ------------------------------------------------------------------------------


def _distribution(calibration: Calibration) -> Html:
    found = calibration.findings
    idle = next((route.latency for route in found.routes if route.name == "*"), None)
    kinds = {"without load": idle, "at the rate that keeps the objective": found.slo_latency}
    loaded = [run for run in calibration.verification if run.is_shedding and run.load_ratio > 1]
    if loaded:
        most = max(loaded, key=lambda run: run.load_ratio)
        kinds[f"at {most.load_ratio:g} x, shedding on"] = most.latency
    known = {name: each for name, each in kinds.items() if each is not None and each.histogram}
    if not known:
        return Html("")
    deepest = max(math.log10(max(2, latency.count)) for latency in known.values())
    x = [round(i * _NINES_STEP, 4) for i in range(int(deepest / _NINES_STEP) + 1)]
    lines = [
        Line(key=name, values=[_at_nines(latency, nines) for nines in x], shape="step")
        for name, latency in known.items()
    ]
    return panel_markup(
        Panel(
            x_label="share of requests",
            x_unit="nines",
            x=x,
            keys=[Key(name=name, hue=hue) for hue, name in enumerate(known)],
            charts=[Chart(title="Latency by percentile", unit="ms", lines=lines)],
        )
    )


def _at_nines(latency: Percentiles, nines: float) -> float | None:
    """The percentile 1 - 10^-nines; None where it would rest on less than one request."""
    left = (1 - 10**-nines) * latency.count
    if latency.count * 10**-nines < 1:
        return None
    for bound_ns, count in latency.histogram:
        left -= count
        if left <= 0:
            return bound_ns / NS_PER_MS
    return latency.max_ns / NS_PER_MS


# --- steadiness --------------------------------------------------------------------------------


def _steadiness(calibration: Calibration) -> Html:
    found: dict[float, tuple[float, float | None]] = {}
    for step in calibration.steps:
        for window in step.windows:
            at = window.started_at_ns / NS_PER_S
            p99_ms = None if window.p99_ns is None else window.p99_ns / NS_PER_MS
            found[at] = (window.in_flight, p99_ms)
        end = (step.started_at_ns + step.length_ns) / NS_PER_S
        found.setdefault(end, (math.nan, None))
    x = sorted(found)
    if len(x) < 2 or all(math.isnan(value) for value, _ in found.values()):
        return Html("")
    in_flight: Values = [found[at][0] for at in x]
    return panel_markup(
        Panel(
            x_label="time",
            x_unit="s",
            x=x,
            keys=[Key(name="in flight", hue=0), Key(name="p99", hue=1)],
            charts=[
                Chart(title="In flight", unit="requests",
                      lines=[Line(key="in flight", values=in_flight)], has_log_axis=False),
                Chart(title="p99 by window", unit="ms",
                      lines=[Line(key="p99", values=[found[at][1] for at in x])],
                      has_log_axis=True),
            ],
        )
    )  # fmt: skip


CHARTS: Mapping[str, Callable[[Calibration], Html]] = {
    "concurrency": _concurrency,
    "observed": observed_chart,
    "rates": _rates,
    "verification": _verification,
    "signals": signals_chart,
    "distribution": _distribution,
    "steadiness": _steadiness,
}
"""By name; markup without anything in it where there is nothing to draw."""
