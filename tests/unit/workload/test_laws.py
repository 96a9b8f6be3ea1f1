"""Laws have the mean and the spread that they say."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from shedproxy.core import milliseconds
from shedproxy.workload.laws import LAWS, coefficient_of_variation, service_law

MEAN_NS = milliseconds(20)
COUNT = 40_000
RECORDED_NS = (1, 2, 3, 10, 84)


def drawn(
    name: str, *, seed: int = 1, mean_ns: int = MEAN_NS, cv: float | None = None
) -> list[int]:
    law = service_law(
        name, mean_ns=mean_ns, rng=random.Random(seed), cv=cv, recorded_ns=RECORDED_NS
    )
    return [law() for _ in range(COUNT)]


@pytest.mark.parametrize("name", LAWS)
def test_the_mean_is_as_given(name: str) -> None:
    """Within four standard errors."""
    cv = 1.7 if name == "recorded" else coefficient_of_variation(name)
    error = 4 * cv / math.sqrt(COUNT)
    assert statistics.fmean(drawn(name)) == pytest.approx(MEAN_NS, rel=error + 1e-9)


@pytest.mark.parametrize(
    ("name", "error"),
    [("constant", 0), ("exponential", 0.03), ("bimodal", 0.02), ("uniform", 0.01)],
)
def test_the_spread_is_the_one_of_the_law(name: str, error: float) -> None:
    """Standard deviation over mean."""
    lengths = drawn(name)
    cv = statistics.pstdev(lengths) / statistics.fmean(lengths)
    assert cv == pytest.approx(coefficient_of_variation(name), rel=error)


@pytest.mark.parametrize("cv", [None, 0.5, 4.0])
def test_logarithms_of_lognormal_lengths_are_normal(cv: float | None) -> None:
    """Their mean and deviation follow from mean and cv; a sample's own cv would tell little."""
    asked = coefficient_of_variation("lognormal", cv)
    variance = math.log(1 + asked**2)
    logs = [math.log(length) for length in drawn("lognormal", cv=cv)]
    assert statistics.fmean(logs) == pytest.approx(math.log(MEAN_NS) - variance / 2, abs=0.03)
    assert statistics.pvariance(logs) == pytest.approx(variance, rel=0.03)
    deviation = math.sqrt(variance)
    middle = math.log(MEAN_NS) - variance / 2
    within = sum(abs(log - middle) < deviation for log in logs) / COUNT
    assert within == pytest.approx(0.6827, abs=0.01)


def test_an_exponential_half_life_is_the_mean_times_ln_2() -> None:
    """The whole curve, not only its moments."""
    lengths = drawn("exponential")
    for share in (0.1, 0.5, 0.9, 0.99):
        below = sum(length < -math.log(1 - share) * MEAN_NS for length in lengths) / COUNT
        assert below == pytest.approx(share, abs=0.01)


def test_bimodal_is_nine_short_ones_and_a_long_one() -> None:
    """Half of the mean, or eleven times that."""
    lengths = drawn("bimodal")
    assert set(lengths) == {MEAN_NS // 2, MEAN_NS * 11 // 2}
    assert lengths.count(MEAN_NS // 2) / COUNT == pytest.approx(0.9, abs=0.01)


def test_uniform_lies_within_half_of_the_mean() -> None:
    """And reaches both ends."""
    lengths = drawn("uniform")
    assert MEAN_NS * 0.5 <= min(lengths) < MEAN_NS * 0.501
    assert MEAN_NS * 1.499 < max(lengths) <= MEAN_NS * 1.5


def test_recorded_lengths_are_scaled_and_all_drawn() -> None:
    """Their mean becomes the mean asked for."""
    assert set(drawn("recorded")) == {MEAN_NS * length // 20 for length in RECORDED_NS}


@pytest.mark.parametrize("name", LAWS)
def test_equal_seeds_give_equal_lengths(name: str) -> None:
    """Integers of at least 1, even where the mean is a nanosecond."""
    assert drawn(name) == drawn(name)
    assert name == "constant" or drawn(name) != drawn(name, seed=2)
    tiny = drawn(name, mean_ns=1)
    assert min(tiny) >= 1
    assert {type(length) for length in tiny} == {int}


@pytest.mark.parametrize(
    ("name", "recorded_ns", "message"),
    [
        ("gamma", (), "no service law is called 'gamma'; there are: constant, "),
        ("recorded", (), "lengths above 0"),
        ("recorded", (0, 0), "lengths above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    name: str, recorded_ns: tuple[int, ...], message: str
) -> None:
    """When the law is made, not at the first request."""
    with pytest.raises(ValueError, match=message):
        service_law(name, mean_ns=MEAN_NS, rng=random.Random(1), recorded_ns=recorded_ns)
