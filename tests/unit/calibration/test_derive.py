"""From findings to thresholds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.calibrations import a_plan, latency

from shedproxy.calibration.derive import derive_thresholds
from shedproxy.calibration.measurement import Interval
from shedproxy.calibration.results import CellThresholds, Findings, RouteFit, UslFit
from shedproxy.core import milliseconds

ONE = Interval(value=1, low=0.9, high=1.1)


def route(name: str, ms: float) -> RouteFit:
    mean = Interval(value=ms * 1e6, low=ms * 9e5, high=ms * 1.1e6)
    return RouteFit(name=name, baseline=mean, mean=mean, latency=latency(ms))


FOUND = Findings(
    capacity_rps=Interval(value=200, low=195, high=205),
    capacity_in_flight=8,
    knee_in_flight=Interval(value=4.1, low=4.0, high=4.2),
    routes=(route("*", 20.512),),
)


def cell(findings: Findings) -> CellThresholds:
    thresholds = derive_thresholds(findings, a_plan())
    assert thresholds is not None
    return thresholds.cells[0]


def test_the_limit_starts_above_the_knee_and_stays_between_it_and_saturation() -> None:
    found = cell(FOUND)
    assert (found.floor, found.start, found.ceiling) == (5, 6, 9)
    assert found.baseline_ns == milliseconds(20.5)
    # Six of 200/s are 30 ms inside the service.
    assert found.queue_wait_ns == milliseconds(220)


def test_a_peak_that_was_seen_bounds_all() -> None:
    usl = UslFit(
        lambda_rps=ONE, sigma=ONE, kappa=ONE, r_squared=1, point_count=9,
        peak_in_flight=Interval(value=5.5, low=5, high=6), peak_rps=ONE, ceiling_rps=None,
    )  # fmt: skip
    found = cell(replace(FOUND, usl=usl))
    assert (found.start, found.ceiling) == (5, 5)
    assert found.floor <= found.start


def test_routes_that_differ_share_no_baseline() -> None:
    alike = (route("*", 20), route("a", 18), route("b", 22))
    apart = (route("*", 20), route("a", 5), route("b", 80))
    assert cell(replace(FOUND, routes=alike)).baseline_ns == milliseconds(20)
    assert cell(replace(FOUND, routes=apart)).baseline_ns is None


@pytest.mark.parametrize("lacking", ["capacity_rps", "knee_in_flight", "capacity_in_flight"])
def test_without_its_grounds_nothing_is_derived(lacking: str) -> None:
    assert derive_thresholds(replace(FOUND, **{lacking: None}), a_plan()) is None
