"""Calibrated cells against their profiles: log, status and metrics say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shedproxy.core import Instant, seconds
from shedproxy.observability.drift import Counts
from shedproxy.observability.reading import HistogramValue, sample_of
from shedproxy.snapshot import CellProfile, Document
from shedproxy.supervisor.drift_monitor import DriftMonitor, counts_of

DAY = 86_400.0
PROFILE = CellProfile(id="x", capacity_rps=40.0, knee_in_flight=4.0, fitted_at_s=DAY)
DOCUMENT = Document(profiles=(PROFILE,))


def fed(per_turn: int, *, turns: int = 40, healthy: int = 1):
    told: list[tuple[str, dict[str, Any]]] = []
    monitor = DriftMonitor(
        lambda event, values: told.append((event, dict(values))), wall=lambda: 19 * DAY
    )
    for n in range(turns):
        count = Counts(per_turn * n, n * seconds(60), per_turn * n)
        monitor.feed(
            Instant(n * seconds(10)), DOCUMENT, lambda c=count: {"default": c}, {"default": healthy}
        )
    return monitor, told


def test_a_slower_service_is_told_once_everywhere() -> None:
    monitor, told = fed(300)
    text = "profile 18 days old, capacity now about 30 +- 0/s instead of 40/s: recalibrate"
    assert told == [("profile drift", {"cell": "default", "message": text})]
    view = monitor.view("default")
    assert view is not None
    assert (view["alarm"], view["age_days"], view["is_expired"]) == (text, 18, False)
    values = {sample.metric.name: sample.value for sample in monitor.samples()}
    assert values["shedproxy.calibration.alarm"] == 1
    assert values["shedproxy.calibration.drift"] == pytest.approx(4 / 3)
    assert values["shedproxy.calibration.age"] == 18 * DAY


def test_the_same_service_is_not_told() -> None:
    monitor, told = fed(400)
    assert told == []
    view = monitor.view("default")
    assert view is not None
    assert view["alarm"] is None


def test_a_profile_that_has_expired_is_told_once() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    monitor = DriftMonitor(
        lambda event, values: told.append((event, dict(values))), wall=lambda: 40 * DAY
    )
    for n in range(3):
        monitor.feed(Instant(n), DOCUMENT, lambda: {"default": Counts(0, 0, 0)}, {})
    facts = {"cell": "default", "profile": "x", "age_days": 39}
    assert told == [("profile expired", facts)]
    view = monitor.view("default")
    assert view is not None
    assert view["is_expired"]


def test_a_profile_without_a_curve_has_an_age_and_no_drift() -> None:
    """Nothing ended yet, and nothing could be said of it: it expires all the same."""
    told: list[tuple[str, dict[str, Any]]] = []
    monitor = DriftMonitor(
        lambda event, values: told.append((event, dict(values))), wall=lambda: 40 * DAY
    )
    floor = CellProfile(id="f", fitted_at_s=DAY)
    for n in range(3):
        monitor.feed(Instant(n), Document(profiles=(floor,)), dict, {})
    assert told == [("profile expired", {"cell": "default", "profile": "f", "age_days": 39})]
    view = monitor.view("default")
    assert view is not None
    assert (view["is_expired"], view["capacity_per_second"]) == (True, None)
    assert (view["slowdown"], view["alarm"]) == (None, None)
    [age] = monitor.samples()
    assert (age.metric.name, age.value) == ("shedproxy.calibration.age", 39 * DAY)
    # One that does not say when it was made has no age.
    monitor.feed(Instant(3), Document(profiles=(CellProfile(id="g"),)), dict, {})
    view = monitor.view("default")
    assert view is not None
    assert not view["is_expired"]
    assert len(told) == 1
    assert list(monitor.samples()) == []


def test_a_new_profile_begins_anew_and_none_is_no_view() -> None:
    monitor, _ = fed(300)
    other = replace(PROFILE, id="y", capacity_rps=30.0)
    monitor.feed(Instant(seconds(500)), Document(profiles=(other,)), dict, {})
    view = monitor.view("default")
    assert view is not None
    assert view["slowdown"] is None
    monitor.feed(Instant(seconds(501)), Document(), dict, {})
    assert monitor.view("default") is None
    assert list(monitor.samples()) == []


def test_counts_are_of_admitted_requests_less_their_wait() -> None:
    def of(name: str, count: int, total: float, *labels: str):
        return sample_of(name, 0.0, *labels)._replace(value=HistogramValue((count, 0), total))

    found = counts_of(
        iter([
            of("http.server.request.duration", 10, 5.0, "default", "critical", "success"),
            of("http.server.request.duration", 9, 9.0, "default", "critical", "rejected"),
            of("shedproxy.queue.wait.duration", 4, 1.0, "default", "critical", "admitted"),
            of("shedproxy.queue.wait.duration", 3, 3.0, "default", "critical", "rejected"),
            sample_of("shedproxy.worker.restarts", 1.0),
        ])
    )  # fmt: skip
    assert found == {"default": Counts(10, seconds(4), 4, seconds(1))}
