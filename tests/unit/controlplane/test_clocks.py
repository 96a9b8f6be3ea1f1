"""Clocks that differ are found by what they write, and those that may agree are not accused."""

from __future__ import annotations

from typing import Any

import pytest

from shedproxy.controlplane.clocks import CONTROL_PLANE, ClockWatch
from shedproxy.snapshot import StatusReport


class Bench:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.before: dict[str, StatusReport] = {}
        self.clocks = ClockWatch(
            2.0, lambda event, facts: self.events.append((event, facts)), lambda: self.now_s
        )

    def look(self, *, ahead_s: float, heartbeat: int, boot: str = "b") -> dict[str, float]:
        """Five seconds later a host has reported a second ago, by a clock that is so far ahead."""
        self.now_s += 5
        sent_at_s = self.now_s - 1 + ahead_s
        said = StatusReport(instance="e1", boot_id=boot, heartbeat=heartbeat, sent_at_s=sent_at_s)
        self.clocks.look({"e1": said}, self.before)
        self.before = {"e1": said}
        return self.clocks.apart


@pytest.fixture
def bench():
    return Bench()


def test_a_host_that_is_ahead_is_told_of_once_and_when_it_agrees_again(bench):
    assert bench.look(ahead_s=0.5, heartbeat=1) == {}
    assert bench.look(ahead_s=30, heartbeat=2) == {"host e1": 29.0}
    assert bench.look(ahead_s=31, heartbeat=3) == {"host e1": 30.0}
    assert bench.look(ahead_s=1, heartbeat=4) == {}
    assert [event for event, _ in bench.events] == ["clock differs", "clock agrees"]
    assert bench.events[0][1] == {"whose": "host e1", "ahead_s": 29.0}


def test_a_host_that_is_behind_is_told_of_when_its_report_is_known_to_be_new(bench):
    assert bench.look(ahead_s=-60, heartbeat=1) == {}, "it may be an old report"
    assert bench.look(ahead_s=-60, heartbeat=1) == {}, "the same one says nothing"
    assert bench.look(ahead_s=-60, heartbeat=2)["host e1"] < -40


def test_a_slow_store_is_no_clock(bench):
    bench.look(ahead_s=0, heartbeat=1)
    assert bench.look(ahead_s=-9, heartbeat=2) == {}


def test_a_host_that_is_gone_or_says_no_time_is_not_told_of(bench):
    assert bench.look(ahead_s=30, heartbeat=1) == {"host e1": 29.0}
    bench.clocks.look({}, bench.before)
    assert bench.clocks.apart == {}
    silent = StatusReport(instance="e1", boot_id="b", heartbeat=2)
    bench.clocks.look({"e1": silent}, {})
    assert bench.clocks.apart == {}


def test_an_entry_of_the_future_is_of_a_clock_that_is_ahead(bench):
    bench.clocks.saw(CONTROL_PLANE, bench.now_s - 3600)
    assert bench.clocks.apart == {}, "it may be an old one"
    bench.clocks.saw(CONTROL_PLANE, bench.now_s + 10)
    assert bench.clocks.apart == {CONTROL_PLANE: 10.0}
