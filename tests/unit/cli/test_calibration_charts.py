"""Charts hold what was measured, at the places where it was."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from harness.pages import Page
from harness.sample_report import sample_calibration

from shedproxy.calibration.results import Calibration, Phase, StepState
from shedproxy.cli.calibration_charts import CHARTS, between


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return sample_calibration()


def drawn(calibration: Calibration, name: str) -> dict[str, Any]:
    return json.loads(Page(CHARTS[name](calibration)).data[0])


@pytest.mark.parametrize("name", sorted(CHARTS.keys() - {"observed"}))
def test_places_rise_and_every_line_has_a_value_a_place(
    calibration: Calibration, name: str
) -> None:
    data = drawn(calibration, name)
    x = data["x"]["values"]
    assert x == sorted(set(x))
    for chart in data["charts"]:
        assert chart["lines"]
        assert {len(line["values"]) for line in chart["lines"]} == {len(x)}


def test_every_measured_throughput_is_a_dot(calibration: Calibration) -> None:
    data = drawn(calibration, "concurrency")
    dots = [line for line in data["charts"][0]["lines"] if line["shape"] == "points"]
    assert [line["label"] for line in dots] == ["pass 1", "pass 2", "pass 3"]
    found = sorted(v for line in dots for v in line["values"] if v is not None)
    steps = [step for step in calibration.steps if step.phase is Phase.CLOSED]
    assert found == pytest.approx(sorted(step.throughput_rps for step in steps), rel=1e-3)


def test_the_band_is_around_the_curve_and_falls_past_the_best(calibration: Calibration) -> None:
    lines = drawn(calibration, "concurrency")["charts"][0]["lines"]
    low, high, curve = (line["values"] for line in lines if line["key"] == "fitted curve")
    known = [row for row in zip(low, curve, high, strict=True) if row[1] is not None]
    assert all(a < b < c for a, b, c in known)
    past = next(line["values"] for line in lines if line["key"] == "past the best")
    best = calibration.findings.usl
    assert best is not None and best.peak_in_flight is not None
    x = drawn(calibration, "concurrency")["x"]["values"]
    assert [at for at, v in zip(x, past, strict=True) if v is not None][
        0
    ] >= best.peak_in_flight.value


def test_void_steps_are_not_drawn(calibration: Calibration) -> None:
    steps = tuple(replace(step, state=StepState.VOID) for step in calibration.steps)
    void = replace(calibration, steps=steps)
    assert [name for name in CHARTS if not CHARTS[name](void)] == [
        "concurrency",
        "observed",
        "rates",
    ]


def test_percentiles_lie_over_each_other(calibration: Calibration) -> None:
    lines = {
        line["key"]: line["values"]
        for line in drawn(calibration, "rates")["charts"][0]["lines"]
        if line["shape"] == "line"
    }
    for at, values in enumerate(zip(*(lines[key] for key in ("p50", "p90", "p99")), strict=True)):
        assert list(values) == sorted(values), at


def test_shedding_off_and_on_are_held_against_capacity(calibration: Calibration) -> None:
    data = drawn(calibration, "verification")
    assert data["x"]["values"] == [0.8, 1.5, 3]
    lines = {line["key"]: line["values"] for line in data["charts"][0]["lines"]}
    assert lines["shedding on"][2] > 5 * lines["shedding off"][2]
    assert lines["capacity"][1] == lines["capacity"][2]


def test_a_percentile_that_rests_on_nobody_is_not_drawn(calibration: Calibration) -> None:
    lines = drawn(calibration, "distribution")["charts"][0]["lines"]
    x = drawn(calibration, "distribution")["x"]["values"]
    idle = next(line["values"] for line in lines if line["key"] == "without load")
    count = calibration.findings.routes[0].latency.count
    assert [v is None for v in idle] == [count * 10**-at < 1 for at in x]


def test_steps_lie_in_time_where_they_were_played(calibration: Calibration) -> None:
    data, (first, second, *_) = drawn(calibration, "steadiness"), calibration.steps
    in_flight = dict(zip(data["x"]["values"], data["charts"][0]["lines"][0]["values"], strict=True))
    ends = [(step.started_at_ns + step.length_ns) / 1e9 for step in (first, second)]
    parts = [[v for at, v in in_flight.items() if at < ends[0]]]
    parts.append([v for at, v in in_flight.items() if ends[0] < at < ends[1]])
    for step, part in zip((first, second), parts, strict=True):
        assert part == pytest.approx([window.in_flight for window in step.windows], rel=1e-3)
    assert [in_flight[end] for end in ends] == [None, None], "a line ends with its step"


def test_between_points_it_is_straight_and_beyond_them_nothing() -> None:
    assert [between([1, 3], [10, 20], at) for at in (0.5, 1, 2, 3, 4)] == [None, 10, 15, 20, None]
