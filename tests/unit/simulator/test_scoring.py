"""A score is what its rules say."""

from __future__ import annotations

import pytest

from shedproxy.simulator.scoring import (
    RULES,
    WEIGHTS,
    check_expectation,
    score_of,
    score_parts,
    spread,
)
from shedproxy.workload.scenario import Expectation

PERFECT = {
    "goodput_ratio": 1.0,
    "p99_ms": 50.0,
    "p99_ratio": 0.8,
    "false_refusal_ratio": 0.0,
    "recovery_s": 0.0,
    "inversion_ratio": 0.0,
    "fairness": 1.0,
}


def parts(refused: float = 0.0, **changed: float | None) -> dict[str, float]:
    figures = {name: value for name, value in (PERFECT | changed).items() if value is not None}
    return score_parts(figures, queue_oracle_refused_ratio=refused)


def test_weights_are_a_whole_and_were_fixed_beforehand() -> None:
    assert dict(WEIGHTS) == {
        "goodput": 0.50,
        "p99": 0.15,
        "false refusals": 0.15,
        "recovery": 0.10,
        "inversions": 0.05,
        "fairness": 0.05,
    }
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_every_part_is_explained() -> None:
    text = " ".join(RULES).lower()
    assert all(part.split()[0] in text for part in WEIGHTS)


def test_all_well_is_1_and_better_than_the_oracle_is_no_more() -> None:
    assert parts().keys() == WEIGHTS.keys()
    assert score_of(parts()) == pytest.approx(1)
    assert score_of(parts(goodput_ratio=1.1)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("figure", "value", "part", "expected"),
    [
        ("goodput_ratio", 0.7, "goodput", 0.7),
        ("p99_ratio", 4.0, "p99", 0.25),
        ("false_refusal_ratio", 0.03, "false refusals", 0.7),
        ("false_refusal_ratio", 0.5, "false refusals", 0.0),
        ("recovery_s", 2.5, "recovery", 0.75),
        ("recovery_s", 60.0, "recovery", 0.0),
        ("inversion_ratio", 0.02, "inversions", 0.8),
        ("fairness", 0.9, "fairness", 0.9),
    ],
)
def test_each_part_falls_by_its_rule(figure: str, value: float, part: str, expected: float) -> None:
    found = parts(**{figure: value})
    assert found[part] == pytest.approx(expected)
    assert score_of(found) == pytest.approx(1 - WEIGHTS[part] * (1 - expected))


@pytest.mark.parametrize(
    ("figure", "part"),
    [("recovery_s", "recovery"), ("inversion_ratio", "inversions"), ("fairness", "fairness")],
)
def test_what_does_not_apply_has_no_weight(figure: str, part: str) -> None:
    found = parts(**{figure: None}, goodput_ratio=0.5)
    assert part not in found
    assert score_of(found) == pytest.approx(1 - 0.25 / (1 - WEIGHTS[part]))


def test_false_refusals_apply_where_hardly_any_are_needed() -> None:
    assert "false refusals" in parts(refused=0.009)
    assert "false refusals" not in parts(refused=0.011)


def test_too_little_served_to_know_the_latency_is_the_worst_latency() -> None:
    assert parts(p99_ratio=None, p99_ms=None)["p99"] == 0
    assert "p99" not in parts(p99_ratio=None), "no calm latency to compare with"


def test_without_goodput_there_is_no_score() -> None:
    assert parts(goodput_ratio=None) == {}
    assert score_of({}) is None


@pytest.mark.parametrize(
    ("name", "worst"),
    [
        ("goodput_ratio", 1.0),
        ("client_served_ratio.quiet", 1.0),
        ("p99_ms", 4.0),
        ("false_refusal_ratio", 4.0),
        ("completions", 1.0),
    ],
)
def test_the_worst_is_on_the_side_that_is_bad(name: str, worst: float) -> None:
    assert spread(name, [4.0, 1.0, 2.0])[:2] == (2.0, worst)


def test_drift_is_bad_both_ways() -> None:
    assert spread("drift_ratio", [0.1, -0.5, 0.2])[:2] == (0.1, -0.5)


def test_a_figure_has_an_interval_over_the_seeds_and_none_at_one() -> None:
    assert spread("p99_ms", [4.0, 1.0, 2.0]) == (2.0, 4.0, 1.0, 4.0)
    assert spread("p99_ms", [4.0]) == (4.0, 4.0, None, None)


@pytest.mark.parametrize(
    ("low", "high", "values", "text", "actual", "is_met"),
    [
        (0.9, None, [0.95, 0.91], "m >= 0.9", 0.91, True),
        (0.9, None, [0.95, 0.89], "m >= 0.9", 0.89, False),
        (None, 5.0, [1.0, 5.0], "m <= 5", 5.0, True),
        (1.0, 5.0, [2.0, 6.0], "m >= 1 and <= 5", 6.0, False),
        (1.0, 5.0, [0.5, 4.0], "m >= 1 and <= 5", 0.5, False),
        (1.0, None, [], "m >= 1", None, False),
    ],
)
def test_an_expectation_is_checked_on_the_worst_seed(
    low: float | None, high: float | None, values: list[float], text: str, actual: float | None,
    is_met: bool,
) -> None:  # fmt: skip
    met = check_expectation(Expectation(metric="m", at_least=low, at_most=high), values)
    assert met == (text, actual, is_met)
