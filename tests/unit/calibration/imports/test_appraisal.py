"""What a file of another tool supports is concluded, and what it does not is said."""

from __future__ import annotations

import random

import pytest
from harness.load_files import load_file

from shedproxy.calibration.imports.appraisal import Appraisal, appraise
from shedproxy.calibration.imports.load_record import (
    LatencyFigures,
    LoadRecord,
    Loop,
    Point,
    RouteRecord,
)
from shedproxy.calibration.imports.reading import read_records
from shedproxy.core import Nanos


def of_files(*names: str) -> Appraisal:
    (record,) = read_records([load_file(name) for name in names])
    return appraise(record, rng=random.Random(1))


def of_levels(levels: list[tuple[float, float]]) -> Appraisal:
    """(in flight, throughput) of each."""
    points = tuple(
        Point(
            users=n,
            started_at_ns=Nanos(0),
            length_ns=Nanos(10**10),
            request_count=round(10 * x),
            failed_count=0,
            throughput_rps=x,
            latency=LatencyFigures(mean_ns=Nanos(round(n / x * 1e9))),
        )
        for n, x in levels
    )
    total = RouteRecord(
        name="all", request_count=1000, failed_count=0, rate_rps=None, latency=LatencyFigures()
    )
    record = LoadRecord(
        tool="t", files=(), loop=Loop.CLOSED, length_ns=None, total=total, points=points
    )
    return appraise(record, rng=random.Random(1))


def answers(appraisal: Appraisal) -> dict[str, bool]:
    return {each.question: each.is_supported for each in appraisal.conclusions}


def test_a_staircase_of_locust_gives_capacity_and_knee() -> None:
    """A station of 4 slots of 20 ms: 200 answers/s, busy from 4 in flight on."""
    found = of_files("locust_stats.csv", "locust_stats_history.csv")
    assert found.capacity_rps == pytest.approx(200, rel=0.01)
    assert found.knee_in_flight == pytest.approx(4, rel=0.05)
    assert found.usl is None, "three levels are not enough"
    assert answers(found)["Capacity"]


@pytest.mark.parametrize(
    ("name", "is_supported"), [("wrk2.txt", True), ("wrk.txt", False), ("spectrum.hgrm", False)]
)
def test_only_a_schedule_supports_percentiles(name: str, is_supported: bool) -> None:
    found = of_files(name)
    assert answers(found)["Latency that users would have seen"] is is_supported
    lower = any("lower bounds" in each.text for each in found.conclusions)
    assert lower is not is_supported


def test_a_percentile_needs_a_hundred_requests_beyond_it() -> None:
    tails = [each.text for each in of_files("spectrum.hgrm").conclusions if "p9" in each.text]
    assert tails == ["p99: 100 of 10000 requests lie beyond it"]
    assert not answers(of_levels([]))["Highest percentile that rests on enough"]


def test_six_levels_give_a_curve() -> None:
    def at(n: float) -> float:
        return 50 * n / (1 + 0.06 * (n - 1) + 0.006 * n * (n - 1))

    found = of_levels([(n, at(n)) for n in (1, 2, 4, 8, 12, 16, 24)])
    assert found.usl is not None
    assert found.usl.sigma.value == pytest.approx(0.06, rel=0.01)
    assert found.capacity_rps == at(12)


def test_throughput_that_still_rises_is_no_capacity() -> None:
    found = of_levels([(1.0, 50.0), (2.0, 100.0), (4.0, 200.0)])
    assert found.capacity_rps is None
    assert found.knee_in_flight is None
    assert "still rising" in " ".join(each.text for each in found.conclusions)


def test_a_knee_needs_a_light_level() -> None:
    found = of_levels([(4.0, 195.0), (8.0, 200.0), (16.0, 200.0)])
    assert found.capacity_rps == 200
    assert found.knee_in_flight is None
    assert "the lightest had 4.0" in " ".join(each.text for each in found.conclusions)


def test_failures_are_pointed_out() -> None:
    assert "Are failures among it" in answers(of_files("wrk.txt"))
    assert "Are failures among it" not in answers(of_files("locust_stats.csv"))
