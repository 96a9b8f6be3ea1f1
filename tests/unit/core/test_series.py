"""Running means forget at the stated rate and know how much their samples scatter."""

from __future__ import annotations

import random
import statistics

import pytest

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant
from shedproxy.core.series import DecayedMean, SampleMean


def test_the_first_sample_is_the_mean() -> None:
    mean = DecayedMean()
    mean.add(7, now=Instant(5))
    assert mean.value_ns == 7


def test_in_a_dense_series_a_sample_weighs_a_sixteenth() -> None:
    mean = DecayedMean()
    mean.add(1600, now=Instant(0))
    mean.add(3200, now=Instant(1))
    assert mean.value_ns == 1700


def test_a_sample_after_silence_replaces_the_mean() -> None:
    """And after half of that silence it weighs half."""
    mean = DecayedMean()
    mean.add(1000, now=Instant(0))
    mean.add(2000, now=Instant(NS_PER_S // 2))
    assert mean.value_ns == 1500
    mean.add(9000, now=Instant(2 * NS_PER_S))
    assert mean.value_ns == 9000


def test_what_nothing_was_measured_of_for_long_is_due_once() -> None:
    """For a second, or for as long as the mean."""
    mean = DecayedMean()
    mean.add(3 * NS_PER_S, now=Instant(0))
    assert not mean.is_due(Instant(3 * NS_PER_S - 1), is_tried=True)
    assert mean.is_due(Instant(3 * NS_PER_S), is_tried=False)
    assert mean.is_due(Instant(3 * NS_PER_S), is_tried=True)
    assert not mean.is_due(Instant(6 * NS_PER_S - 1), is_tried=True)
    mean.add(5, now=Instant(4 * NS_PER_S))
    assert not mean.is_due(Instant(5 * NS_PER_S - 1), is_tried=True)
    assert mean.is_due(Instant(5 * NS_PER_S), is_tried=True)


def test_sample_mean_is_the_mean_with_the_variance_of_its_samples() -> None:
    rng = random.Random(1)
    samples = [round(rng.expovariate(1 / NS_PER_MS)) for _ in range(100)]
    mean = SampleMean()
    for sample in samples:
        mean.add(sample)
    assert mean.value_ns == pytest.approx(statistics.mean(samples), rel=1e-3)
    assert mean.variance == pytest.approx(statistics.pvariance(samples), rel=0.02)


def test_scatter_is_one_for_exponential_samples_and_none_for_equal_ones() -> None:
    rng = random.Random(2)
    scattered, equal = SampleMean(), SampleMean()
    assert equal.scatter() == 0.0
    for _ in range(2000):
        scattered.add(round(rng.expovariate(1 / NS_PER_MS)))
        equal.add(NS_PER_MS)
    assert scattered.scatter() == pytest.approx(1.0, abs=0.2)
    assert equal.scatter() == 0.0


def test_a_mean_rests_on_its_memory_at_most() -> None:
    mean = SampleMean(memory=16)
    weights = []
    for sample in range(20):
        mean.add(sample)
        weights.append(mean.weight)
    assert weights == [*range(1, 17), 16, 16, 16, 16]
    assert mean.count == 20


def test_a_mean_can_be_made_from_what_another_says() -> None:
    """And goes on from there."""
    one = SampleMean()
    for sample in (10_000, 20_000, 60_000):
        one.add(sample)
    other = SampleMean.of(one.value_ns, one.count, one.variance)
    one.add(90_000)
    other.add(90_000)
    assert (other.value_ns, other.count, other.variance) == (
        one.value_ns,
        one.count,
        one.variance,
    )


def test_sample_mean_follows_a_change_within_its_memory() -> None:
    mean = SampleMean(memory=16)
    for _ in range(1000):
        mean.add(1000)
    for _ in range(64):
        mean.add(2000)
    assert mean.value_ns == pytest.approx(2000, rel=0.05)


def test_merged_means_are_the_mean_of_all() -> None:
    left, right, both = SampleMean(), SampleMean(), SampleMean()
    for sample in (10_000, 20_000, 60_000):
        left.add(sample)
        both.add(sample)
    for sample in (40_000, 70_000):
        right.add(sample)
        both.add(sample)
    left.merge(right)
    assert left.count == 5
    assert left.value_ns == pytest.approx(both.value_ns, abs=5)
    assert left.variance == pytest.approx(both.variance, rel=0.01)


def test_a_mean_that_fades_is_as_it_was_and_counts_for_less() -> None:
    old, new = SampleMean.of(10_000, 900, 25.0), SampleMean.of(40_000, 50, 25.0)
    old.fade(2_000)
    assert old.count == 900
    old.fade(100)
    assert (old.value_ns, old.count, old.variance) == (10_000, 100, 25.0)
    old.merge(new)
    assert old.value_ns == 20_000


def test_merging_nothing_changes_nothing() -> None:
    mean = SampleMean()
    mean.merge(SampleMean())
    assert (mean.count, mean.value_ns) == (0, 0)
