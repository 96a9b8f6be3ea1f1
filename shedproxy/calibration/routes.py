"""Routes with nothing else in flight: latency with its interval, and the law of service times."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shedproxy.calibration.digest import percentiles_of
from shedproxy.calibration.estimates import mean_interval, quantile_interval
from shedproxy.calibration.orders import Played, Sent
from shedproxy.calibration.results import LawFit, RouteFit
from shedproxy.core import Instant

__all__ = ["fit_law", "fit_routes"]

_SAMPLES_MIN = 10
_LAW_SAMPLES_MIN = 50
_CV_MIN = 0.02


def fit_routes(played: Played, names: Sequence[str], *, from_at: Instant) -> tuple[RouteFit, ...]:
    """One fit a route with enough answers, and "*" for all together; from an idle step."""
    rows = [row for row in played.rows if row.done_at >= from_at and 200 <= row.status < 400]
    groups: list[tuple[str, list[Sent]]] = [("*", rows)]
    if len(names) > 1:
        groups += [
            (name, [row for row in rows if row.route == place]) for place, name in enumerate(names)
        ]
    return tuple(fit for name, group in groups if (fit := _fit(name, group)) is not None)


def _fit(name: str, rows: Sequence[Sent]) -> RouteFit | None:
    ordered = sorted(row.done_at - row.sent_at for row in rows)
    if len(ordered) < _SAMPLES_MIN:
        return None
    latency = percentiles_of(ordered)
    mean, median = mean_interval(ordered), quantile_interval(ordered, 0.5)
    if latency is None or mean is None or median is None:
        return None
    return RouteFit(name=name, baseline=median, mean=mean, latency=latency, law=fit_law(ordered))


def fit_law(ordered: Sequence[int]) -> LawFit | None:
    """The named law whose distribution comes closest to sorted lengths; None of too few."""
    count = len(ordered)
    if count < _LAW_SAMPLES_MIN:
        return None
    mean = sum(ordered) / count
    cv = math.sqrt(math.fsum((one - mean) ** 2 for one in ordered) / (count - 1)) / mean
    if cv < _CV_MIN:
        return LawFit(name="constant", cv=cv, distance=0.0)
    distances = {
        name: _distance(ordered, mean, cv, name)
        for name in ("constant", "exponential", "lognormal", "bimodal", "uniform")
    }
    name = min(distances, key=lambda name: distances[name])
    return LawFit(name=name, cv=cv, distance=distances[name])


def _distance(ordered: Sequence[int], mean: float, cv: float, law: str) -> float:
    """Kolmogorov and Smirnov's, both sides of each step."""
    count = len(ordered)
    worst = 0.0
    # A law that jumps is not to be blamed for a network's delay, nor for the error of the mean.
    slack = 0.02 + 2 * cv / math.sqrt(count)
    for place, length in enumerate(ordered):
        below = _share(length * (1 - slack), mean, cv, law)
        above = _share(length * (1 + slack), mean, cv, law)
        worst = max(worst, below - (place + 1) / count, place / count - above)
    return worst


def _share(length: float, mean: float, cv: float, law: str) -> float:
    """Of the law with this mean: the share that is shorter."""
    x = length / mean
    if law == "constant":
        return float(x >= 1)
    if law == "exponential":
        return -math.expm1(-x)
    if law == "uniform":
        return min(1.0, max(0.0, x - 0.5))
    if law == "bimodal":
        return 0.0 if x < 0.5 else (0.9 if x < 5.5 else 1.0)
    variance = math.log(1 + cv * cv)
    return math.erfc(-(math.log(max(x, 1e-12)) + variance / 2) / math.sqrt(2 * variance)) / 2
