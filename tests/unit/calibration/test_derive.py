"""From findings to thresholds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.calibrations import a_plan, latency

from shedproxy.calibration.derive import derive_thresholds
from shedproxy.calibration.measurement import Interval
from shedproxy.calibration.results import CellThresholds, Findings, LawFit, RouteFit, UslFit
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


def test_a_wait_is_what_the_slo_leaves_or_what_bursts_below_capacity_need() -> None:
    quick = replace(FOUND, capacity_rps=Interval(value=2000, low=1990, high=2010))
    # Six of 2000/s are 3 ms inside the service, and bursts of 0.8 x are over long before.
    assert cell(quick).queue_wait_ns == milliseconds(247)
    # Of 200/s, one in a million waits longer than 345 ms; the proxy acts at three quarters.
    assert cell(FOUND).queue_wait_ns == milliseconds(461)
    scattered = replace(route("*", 20), law=LawFit(name="lognormal", cv=2, distance=0.1))
    assert cell(replace(FOUND, routes=(scattered,))).queue_wait_ns == milliseconds(1000)
    slow = replace(FOUND, capacity_rps=Interval(value=2, low=1.9, high=2.1))
    assert cell(slow).queue_wait_ns == milliseconds(1000)


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
