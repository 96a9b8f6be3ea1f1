"""Drift of a service from its profile, in virtual time: an alarm when there is one, else none."""

from __future__ import annotations

import pytest

from loadtests.drift import alarms
from shedproxy.core import Instant, seconds
from shedproxy.observability.drift import Counts, DriftWatch, slowdown
from shedproxy.snapshot import CellProfile

PROFILE = CellProfile(
    id="x", capacity_rps=40.0, knee_in_flight=4.0, cv=1.0, fitted_at_s=1_000_000.0
)
EVERY_NS = seconds(10)


@pytest.mark.parametrize("load", ["0.3", "0.6", "0.72"])
def test_a_service_slowed_by_a_third_is_told_within_five_minutes(load: str) -> None:
    found = alarms(load, hours=0.35, slower_at_s=600)
    assert found
    assert 600 < found[0] <= 900


@pytest.mark.parametrize("load", ["0.6", "0.65"])
def test_a_limit_just_above_the_knee_does_not_hide_it(load: str) -> None:
    """A third to nine tenths of the requests of the slower service wait before the limit."""
    found = alarms(load, hours=0.25, slower_at_s=600, limit=5)
    assert found
    assert 600 < found[0] <= 900
    assert alarms("0.75", hours=1, limit=5) == []


@pytest.mark.parametrize("load", ["0.3", "0.6", "0.85"])
def test_ordinary_noise_is_no_alarm(load: str) -> None:
    assert alarms(load, hours=1.5) == []


def test_scattered_service_times_are_no_alarm_either() -> None:
    assert alarms("0.7", hours=1, law="lognormal") == []
    assert alarms("0.7", hours=1, law="constant") == []


def test_a_point_tells_the_slowdown_at_any_load() -> None:
    # Two slots at half load have 4/3 in flight (Erlang): no slowdown there.
    profile = CellProfile(capacity_rps=20.0, knee_in_flight=2.0)
    assert slowdown(4 / 3, 10.0, profile) == pytest.approx(1.0, rel=1e-6)
    assert slowdown(4 / 3, 8.0, profile) == pytest.approx(1.25, rel=1e-6)


def test_a_service_that_is_never_idle_is_read_by_its_throughput() -> None:
    watch = DriftWatch(PROFILE)
    for n in range(40):
        state = watch.feed(Instant(n * EVERY_NS), Counts(300 * n, n * seconds(60), 300 * n))
    assert state.is_alarm
    assert state.ratio == pytest.approx(40 / 30)
    text = watch.words(1_000_000.0 + 18.5 * 86_400)
    assert text == "profile 18 days old, capacity now about 30 +- 0/s instead of 40/s: recalibrate"
    for n in range(40, 80):
        state = watch.feed(Instant(n * EVERY_NS), Counts(400 * n, n * seconds(60), 400 * n))
    assert not state.is_alarm
    assert watch.words(2e6) == ""


def test_half_of_the_upstreams_do_half() -> None:
    watch = DriftWatch(PROFILE)
    for n in range(40):
        state = watch.feed(Instant(n * EVERY_NS), Counts(200 * n, n, 200 * n), healthy_ratio=0.5)
    assert state.ratio == pytest.approx(1)


def test_counts_that_begin_again_and_few_requests_are_no_points() -> None:
    watch = DriftWatch(PROFILE)
    for n in range(60):
        state = watch.feed(Instant(n * EVERY_NS), Counts(5 * n, n * seconds(60), 0))
    assert state.ratio is None
    assert not watch.feed(Instant(61 * EVERY_NS), Counts(0, 0, 0)).is_alarm
