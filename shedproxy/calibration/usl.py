"""The Universal Scalability Law, fitted by least squares; intervals by bootstrap over runs.

Gunther 2007: X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1)), 0 <= sigma, kappa. The fit is
Levenberg's and Marquardt's with the exact derivatives, brought back to the bounds after each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from shedproxy.calibration.estimates import t_quantile
from shedproxy.calibration.measurement import Interval
from shedproxy.calibration.results import UslFit
from shedproxy.workload import RandomSource

__all__ = ["LEVELS_MIN", "UslCurve", "fit_usl", "solve_usl", "standard_errors"]

LEVELS_MIN = 6
"""Distinct concurrencies below which nothing is fitted."""
_STEPS_MAX = 200
_RESAMPLES = 200
_BAND_POINTS = 40

Point = tuple[float, float]
"""(in flight, throughput per second)"""


class UslCurve(NamedTuple):
    """A curve. `lambda_rps` is the throughput of one at a time."""

    lambda_rps: float
    sigma: float
    kappa: float

    def at(self, in_flight: float) -> float:
        """Throughput per second."""
        n = in_flight
        return self.lambda_rps * n / (1 + self.sigma * (n - 1) + self.kappa * n * (n - 1))

    @property
    def peak_in_flight(self) -> float | None:
        """Where throughput is highest; None where it never falls."""
        if self.kappa <= 0:
            return None
        return math.sqrt(max(0.0, 1 - self.sigma) / self.kappa)


def solve_usl(points: Sequence[Point]) -> UslCurve:
    """The curve of least squares. At least three points, in flight from 1, throughput above 0."""
    curve = UslCurve(max(x / n for n, x in points), 0.01, 1e-4)
    rest, damping = _rest(curve, points), 1e-3
    for _ in range(_STEPS_MAX):
        matrix, vector = _normal_equations(curve, points)
        for place in range(3):
            matrix[place][place] *= 1 + damping
        step = _solve3(matrix, vector)
        if step is None:
            break
        tried = UslCurve(
            max(1e-12, curve.lambda_rps + step[0]),
            max(0.0, curve.sigma + step[1]),
            max(0.0, curve.kappa + step[2]),
        )
        tried_rest = _rest(tried, points)
        if tried_rest < rest:
            gained = rest - tried_rest
            curve, rest, damping = tried, tried_rest, damping / 5
            if gained <= 1e-14 * rest:
                break
        else:
            damping *= 4
            if damping > 1e12:
                break
    return curve


def standard_errors(curve: UslCurve, points: Sequence[Point]) -> tuple[float, float, float] | None:
    """sqrt(diag((J'J)^-1) RSS / (n - 3)); None of three points or less."""
    if len(points) <= 3:
        return None
    matrix, _ = _normal_equations(curve, points)
    variance = _rest(curve, points) / (len(points) - 3)
    errors = []
    for place in range(3):
        column = _solve3(matrix, [float(row == place) for row in range(3)])
        if column is None:
            return None
        errors.append(math.sqrt(max(0.0, column[place]) * variance))
    return errors[0], errors[1], errors[2]


def fit_usl(points: Sequence[Point], *, rng: RandomSource) -> UslFit | None:
    """The law and its intervals; None of less than `LEVELS_MIN` distinct concurrencies.

    With repeats at every concurrency runs are drawn anew, else the fit's own errors are taken.
    """
    levels: dict[float, list[Point]] = {}
    for point in points:
        levels.setdefault(point[0], []).append(point)
    if len(levels) < LEVELS_MIN:
        return None
    curve = solve_usl(points)
    drawn: list[UslCurve] = []
    if sum(len(runs) > 1 for runs in levels.values()) >= LEVELS_MIN - 1:
        for _ in range(_RESAMPLES):
            again = [runs[int(rng.random() * len(runs))] for runs in levels.values() for _ in runs]
            drawn.append(solve_usl(again))
    parameters = [
        _parameter_interval(curve[place], [one[place] for one in drawn]) for place in range(3)
    ]
    if not drawn:
        errors = standard_errors(curve, points) or (math.inf,) * 3
        half = t_quantile(0.95, len(points) - 3)
        parameters = [
            Interval(
                value=value,
                low=max(0.0, value - half * error),
                high=min(1e300, value + half * error),
            )
            for value, error in zip(curve, errors, strict=True)
        ]
    return _described(curve, parameters, drawn, points)


def _described(
    curve: UslCurve,
    parameters: Sequence[Interval],
    drawn: Sequence[UslCurve],
    points: Sequence[Point],
) -> UslFit:
    lambda_rps, sigma, kappa = parameters
    notes: list[str] = []
    peak = peak_rps = ceiling = None
    # Zero at the bound is part of the interval however few of the draws came to lie on it.
    if kappa.low <= 0 or curve.peak_in_flight is None:
        notes.append("no retrograde term detected: kappa's interval includes zero")
    elif drawn and not _falls(points):
        notes.append("no retrograde term detected: throughput was not seen to fall")
    elif drawn:
        peaks = [at for at in (one.peak_in_flight for one in drawn) if at is not None]
        peak = _parameter_interval(curve.peak_in_flight, peaks)
        peak_rps = _parameter_interval(
            curve.at(curve.peak_in_flight),
            [one.at(one.peak_in_flight) for one in drawn if one.peak_in_flight is not None],
        )
    if sigma.low > 0:
        ceiling = Interval(
            value=curve.lambda_rps / curve.sigma,
            low=lambda_rps.low / sigma.high,
            high=lambda_rps.high / sigma.low,
        )
    mean = math.fsum(x for _, x in points) / len(points)
    total = math.fsum((x - mean) ** 2 for _, x in points)
    r_squared = max(0.0, 1 - _rest(curve, points) / total) if total else 1.0
    if any(x > 1.02 * lambda_rps.high * n for n, x in points):
        notes.append("more than linear speed-up at some level: a measurement error, or a cache")
    return UslFit(
        lambda_rps=lambda_rps,
        sigma=sigma,
        kappa=kappa,
        r_squared=r_squared,
        point_count=len(points),
        peak_in_flight=peak,
        peak_rps=peak_rps,
        ceiling_rps=ceiling,
        band=_band(curve, drawn, max(n for n, _ in points)),
        notes=tuple(notes),
    )


def _falls(points: Sequence[Point]) -> bool:
    """Whether the highest concurrency is slower than the best, beyond the scatter of its runs.

    A service with so many slots and no contention has a corner, which the law takes for a fall.
    """
    levels: dict[float, list[float]] = {}
    for n, x in points:
        levels.setdefault(n, []).append(x)
    last = levels.pop(max(levels))
    best = max((runs for runs in levels.values() if len(runs) > 1), key=_mean, default=None)
    if best is None or len(last) < 2:
        return False
    errors = [
        math.fsum((x - _mean(runs)) ** 2 for x in runs) / (len(runs) - 1) / len(runs)
        for runs in (last, best)
    ]
    gap = _mean(best) - _mean(last)
    return gap > max(0.03 * _mean(best), 4 * math.sqrt(sum(errors)))


def _mean(runs: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(runs) / len(runs)


def _parameter_interval(value: float, drawn: Sequence[float]) -> Interval:
    if not drawn:
        return Interval(value=value, low=value, high=value)
    ordered = sorted(drawn)
    last = len(ordered) - 1
    return Interval(
        value=value,
        low=min(value, ordered[round(0.025 * last)]),
        high=max(value, ordered[round(0.975 * last)]),
    )


def _band(
    curve: UslCurve, drawn: Sequence[UslCurve], highest: float
) -> tuple[tuple[float, float, float, float], ...]:
    rows = []
    for index in range(_BAND_POINTS + 1):
        n = 1 + (1.25 * highest - 1) * index / _BAND_POINTS
        value = curve.at(n)
        band = _parameter_interval(value, [one.at(n) for one in drawn])
        rows.append((n, value, band.low, band.high))
    return tuple(rows)


def _rest(curve: UslCurve, points: Sequence[Point]) -> float:
    return math.fsum((x - curve.at(n)) ** 2 for n, x in points)


def _normal_equations(
    curve: UslCurve, points: Sequence[Point]
) -> tuple[list[list[float]], list[float]]:
    matrix = [[0.0] * 3 for _ in range(3)]
    vector = [0.0] * 3
    for n, x in points:
        divisor = 1 + curve.sigma * (n - 1) + curve.kappa * n * (n - 1)
        by_lambda = n / divisor
        by_sigma = -curve.lambda_rps * n * (n - 1) / divisor**2
        row = (by_lambda, by_sigma, by_sigma * n)
        off = x - curve.lambda_rps * by_lambda
        for i in range(3):
            vector[i] += row[i] * off
            for j in range(3):
                matrix[i][j] += row[i] * row[j]
    return matrix, vector


def _solve3(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float] | None:
    """Gauss with the largest pivot; the columns differ by orders of magnitude."""
    rows = [[*row, right] for row, right in zip(matrix, vector, strict=True)]
    for column in range(3):
        pivot = max(range(column, 3), key=lambda place: abs(rows[place][column]))
        if rows[pivot][column] == 0:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for place in range(3):
            if place != column:
                ratio = rows[place][column] / rows[column][column]
                rows[place] = [
                    a - ratio * b for a, b in zip(rows[place], rows[column], strict=True)
                ]
    return [rows[place][3] / rows[place][place] for place in range(3)]
