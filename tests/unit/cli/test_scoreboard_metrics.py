"""Values are written so that they can be compared at a glance and nothing is rounded away."""

from __future__ import annotations

import pytest

from shedproxy.cli.scoreboard_metrics import (
    METRICS,
    OVERALL,
    SCORE,
    Metric,
    show_count,
    show_percent,
    show_plain,
    show_score,
)


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (show_score, 0.9734, "0.973"),
        (show_percent, 0.9734, "97.3%"),
        (show_percent, 0.0, "0%"),
        (show_percent, 1.0, "100%"),
        (show_percent, 0.0001, "0.01%"),
        (show_percent, 0.00000123, "0.00012%"),
        (show_percent, -0.02, "-2.0%"),
        (show_plain, 0.4, "0.40"),
        (show_plain, 31.24, "31.2"),
        (show_plain, 12345.6, "12,346"),
        (show_count, 47438.0, "47,438"),
    ],
)
def test_a_value_is_written_in_the_way_of_its_metric(show, value, text):
    assert show(value) == text


@pytest.mark.parametrize("metric", [SCORE, *METRICS], ids=lambda metric: metric.key)
def test_a_missing_value_is_a_dash_and_not_a_zero(metric):
    assert metric.show(None) == "-"


def test_a_heading_says_what_is_better():
    high = Metric(key="x", label="Goodput", better="high")
    low = Metric(key="x", label="p99", unit="ms", better="low")
    neither = Metric(key="x", label="Refused")
    headings = [
        metric.heading.replace("\N{NO-BREAK SPACE}", " ") for metric in (high, low, neither)
    ]
    assert headings == ["Goodput ↑", "p99, ms ↓", "Refused"]
    assert low.name == "p99, ms"


def test_the_best_is_the_highest_or_the_lowest():
    values = {"a": 1.0, "b": 2.0, "c": None}
    assert Metric(key="x", label="", better="high").best(values) == {"b"}
    assert Metric(key="x", label="", better="low").best(values) == {"a"}
    assert Metric(key="x", label="").best(values) == frozenset()


def test_all_that_are_level_are_best():
    assert SCORE.best({"a": 2.0, "b": 2.0, "c": 1.0}) == {"a", "b"}


def test_who_is_apart_is_not_compared():
    assert SCORE.best({"a": 3.0, "b": 2.0, "c": 1.0}, apart={"a"}) == {"b"}


def test_one_alone_is_not_best():
    assert SCORE.best({"a": 1.0, "b": None}) == frozenset()


def test_the_overall_metrics_are_some_of_all_in_the_same_order():
    assert list(OVERALL) == [metric for metric in METRICS if metric in OVERALL]
    assert {metric.key for metric in METRICS} - {metric.key for metric in OVERALL} == {
        "p99_ms",
        "refused_ratio",
        "completions",
    }
