"""Intervals are drawn to scale on one axis."""

from __future__ import annotations

import pytest
from harness.pages import Page

from shedproxy.cli.charts.interval import IntervalAxis


def drawn(axis: IntervalAxis, *values) -> list[tuple[str, dict]]:
    parts = Page(axis.mark(*values)).elements
    return [(name, a) for name, a in parts if a.get("class") in {"range", "value"}]


@pytest.mark.parametrize(
    ("values", "axis"),
    [
        ([0.968, 0.978, 0.835], (0.8, 1.0, 0.05)),
        ([0.1, 0.99], (0.0, 1.0, 0.5)),
        ([0.9731, 0.9734], (0.973, 0.974, 0.001)),
        ([1.0], (1.0, 1.001, 0.001)),
        ([], (0.0, 0.001, 0.001)),
    ],
)
def test_the_axis_is_the_narrowest_with_round_ends(values, axis):
    made = IntervalAxis.around(values)
    assert (made.low, made.high, made.step) == pytest.approx(axis)
    assert all(made.low <= value <= made.high for value in values)


def test_values_far_from_any_score_are_refused():
    with pytest.raises(ValueError, match="no scores"):
        IntervalAxis.around([0.0, 1000.0])


def test_ticks_have_the_digits_that_tell_them_apart():
    assert Page(IntervalAxis(0.8, 1.0, 0.05).head()).text == "0.800.850.900.951.00"
    assert Page(IntervalAxis(0.973, 0.975, 0.001).head()).text == "0.9730.9740.975"


def test_positions_are_proportional_to_values():
    axis = IntervalAxis(0.0, 1.0, 0.5)
    (_, bar), (_, stroke) = drawn(axis, 0.5, 0.25, 1.0)
    (_, at_zero), (_, at_one) = drawn(axis, 0.0, None, None) + drawn(axis, 1.0, None, None)
    left, width = float(at_zero["x1"]), float(at_one["x1"]) - float(at_zero["x1"])
    assert (float(bar["x1"]) - left) / width == pytest.approx(0.25, abs=0.01)
    assert float(bar["x2"]) == float(at_one["x1"])
    assert (float(stroke["x1"]) - left) / width == pytest.approx(0.5, abs=0.01)


def test_a_value_left_of_the_axis_is_an_arrow_and_its_bar_is_cut():
    axis = IntervalAxis(0.8, 1.0, 0.05)
    parts = Page(axis.mark(0.79, 0.7, 0.85)).elements
    classes = [a.get("class") for _, a in parts]
    assert "beyond" in classes
    assert "value" not in classes
    (bar,) = [a for _, a in parts if a.get("class") == "range"]
    (edge, *_) = [a for _, a in parts if a.get("class") == "axis"]
    assert bar["x1"] == edge["x1"]
    assert float(bar["x2"]) > float(bar["x1"])
