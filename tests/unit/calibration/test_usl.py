"""The fit of the Universal Scalability Law against published data and fits."""

from __future__ import annotations

import random

import pytest

from shedproxy.calibration.estimates import t_quantile
from shedproxy.calibration.usl import fit_usl, solve_usl, standard_errors

# Cisco's benchmark, from Schwartz, "Practical Scalability Analysis with the USL" (2015).
CISCO = [
    955.16, 1878.91, 2688.01, 3548.68, 4315.54, 5130.43, 5931.37, 6531.08, 7219.8, 7867.61,
    8278.71, 8646.7, 9047.84, 9426.55, 9645.37, 9897.24, 10097.6, 10240.5, 10532.39, 10798.52,
    11151.43, 11518.63, 11806, 12089.37, 12075.41, 12177.29, 12211.41, 12158.93, 12155.27,
    12118.04, 12140.4, 12074.39,
]  # fmt: skip
CISCO_POINTS = [(float(n), x) for n, x in enumerate(CISCO, start=1)]
# Ray tracer, from Gunther's book; fit and intervals as R's package usl prints them.
RAYTRACER = [(1.0, 20.0), (4.0, 78.0), (8.0, 130.0), (12.0, 170.0), (16.0, 190.0), (20.0, 200.0)]


def test_the_fit_of_ciscos_data_is_that_of_the_book_within_two_in_ten_thousand() -> None:
    curve = solve_usl(CISCO_POINTS)
    assert curve.sigma == pytest.approx(0.02671591, rel=2e-4)
    assert curve.kappa == pytest.approx(7.690945e-4, rel=2e-4)
    assert curve.lambda_rps == pytest.approx(995.6486, rel=2e-4)
    assert curve.peak_in_flight is not None
    assert int(curve.peak_in_flight) == 35
    assert curve.at(35) == pytest.approx(12341, rel=2e-4)
    latencies = [n / curve.at(n) for n in (1, 20, 35)]
    assert latencies == pytest.approx([0.0010044, 0.0018077, 0.0028359], abs=1e-6)


def test_errors_of_the_ray_tracer_are_those_of_r() -> None:
    curve = solve_usl(RAYTRACER)
    errors = standard_errors(curve, RAYTRACER)
    assert errors is not None
    # R's package takes a quantile of 0.95 with n - 1 degrees of freedom.
    half = t_quantile(0.90, 5)
    bounds = [
        (value - half * error, value + half * error)
        for value, error in zip(curve, errors, strict=True)
    ]
    assert bounds[0] == pytest.approx((19.267, 22.445), abs=2e-3)
    assert bounds[1] == pytest.approx((0.00754, 0.04135), abs=2e-5)
    assert bounds[2] == pytest.approx((0.00110, 0.00215), abs=6e-6)


def test_an_exact_curve_is_found_exactly() -> None:
    xs = [1.0, 1.8868, 3.0769, 3.5294, 3.5398, 3.3557]
    points = list(zip([1.0, 2.0, 4.0, 6.0, 8.0, 10.0], xs, strict=True))
    assert list(solve_usl(points)) == pytest.approx([1, 0.02, 0.02], abs=1e-4)


def test_a_service_with_slots_and_no_contention_has_no_peak() -> None:
    rng = random.Random(1)
    points = [
        (float(n), min(n, 4) * 50 * (1 + rng.gauss(0, 0.01)))
        for n in (1, 2, 3, 4, 6, 8, 16)
        for _ in range(5)
    ]
    fit = fit_usl(points, rng=rng)
    assert fit is not None
    assert fit.peak_in_flight is None
    assert fit.notes[0].startswith("no retrograde term detected")


def test_a_peak_that_was_seen_has_an_interval_that_holds_it() -> None:
    rng = random.Random(2)
    truth = solve_usl(CISCO_POINTS)._replace(kappa=3e-3)
    points = [
        (float(n), truth.at(n) * (1 + rng.gauss(0, 0.01)))
        for n in (1, 2, 4, 8, 16, 24, 48)
        for _ in range(5)
    ]
    fit = fit_usl(points, rng=rng)
    assert fit is not None
    assert fit.peak_in_flight is not None
    assert truth.peak_in_flight is not None
    assert fit.peak_in_flight.low <= truth.peak_in_flight <= fit.peak_in_flight.high
    assert fit.peak_in_flight.high < 1.5 * fit.peak_in_flight.low
    assert fit.kappa.low <= truth.kappa <= fit.kappa.high
    assert fit.r_squared > 0.98


def test_few_levels_are_not_fitted() -> None:
    assert fit_usl([(1.0, 1.0), (2.0, 2.0)] * 9, rng=random.Random(1)) is None


def test_a_kappa_of_zero_has_no_peak() -> None:
    assert (
        solve_usl([(float(n), 10.0 * n) for n in range(1, 9)])._replace(kappa=0.0).peak_in_flight
        is None
    )
