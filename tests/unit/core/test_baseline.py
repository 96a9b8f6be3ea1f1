"""Baselines come from low in-flight only, are bounded in number, and give way to evidence."""

from __future__ import annotations

import random

import pytest

from shedproxy.core import NS_PER_MS, Instant
from shedproxy.core.baseline import ROUTES_MAX, BaselineTable, low_in_flight

MS = NS_PER_MS
NOW = Instant(0)


def learn(table: BaselineTable, rtt_ns: int, count: int = 10, route: str = "r") -> None:
    for _ in range(count):
        table.observe(route, rtt_ns, low_in_flight=1, now=NOW)


def test_two_in_flight_are_low_whatever_the_limit() -> None:
    assert [low_in_flight(limit) for limit in (1, 6, 10, 100)] == [2, 2, 3, 30]


def test_ten_equal_samples_at_low_in_flight_are_trusted() -> None:
    table = BaselineTable()
    learn(table, 20 * MS, 9)
    assert table.baseline_ns("r") == 0
    assert table.judge("r") == -20 * MS
    learn(table, 20 * MS, 1)
    assert table.baseline_ns("r") == table.judge("r") == table.typical_ns() == 20 * MS


@pytest.mark.parametrize(("in_flight", "wanted"), [(1, 64), (2, 64), (9, 90)])
def test_scattered_samples_need_more_of_them(in_flight: int, wanted: int) -> None:
    """Ten turns of what is in flight: the long ones end last."""
    table = BaselineTable()
    for index in range(wanted):
        assert table.baseline_ns("r") == 0, index
        rtt_ns = 200 * MS if index % 8 == 7 else MS
        table.observe("r", rtt_ns, low_in_flight=in_flight, now=NOW)
    assert table.baseline_ns("r") > 0


def test_samples_under_load_move_only_the_recent_mean() -> None:
    table = BaselineTable()
    learn(table, 20 * MS)
    for _ in range(10_000):
        table.observe("r", 90 * MS, low_in_flight=0, now=NOW)
    assert table.baseline_ns("r") == 20 * MS
    assert table.expected_ns("r") == pytest.approx(90 * MS, rel=0.01)


def test_routes_are_apart() -> None:
    table = BaselineTable()
    learn(table, 5 * MS, route="fast")
    learn(table, 500 * MS, 20, route="slow")
    assert (table.baseline_ns("fast"), table.baseline_ns("slow")) == (5 * MS, 500 * MS)
    assert table.typical_ns() == 500 * MS
    assert table.baseline_ns("unseen") == table.expected_ns("unseen") == 0


def test_the_number_of_routes_is_bounded() -> None:
    """The ones after the bound share an entry."""
    table = BaselineTable()
    for index in range(ROUTES_MAX + 20):
        learn(table, MS * (1 if index < ROUTES_MAX else 7), route=f"r{index}")
    assert len(table) == ROUTES_MAX
    assert table.baseline_ns("r3") == MS
    assert table.baseline_ns("another") == table.expected_ns("another") == 7 * MS


def test_a_calibrated_baseline_wins_over_what_is_learnt() -> None:
    table = BaselineTable(30 * MS)
    learn(table, 20 * MS, 100)
    assert table.baseline_ns("r") == table.baseline_ns("other") == table.typical_ns() == 30 * MS


def test_until_the_service_is_seen_to_have_changed() -> None:
    table = BaselineTable(30 * MS)
    table.distrust()
    assert table.judge("r") == -30 * MS
    learn(table, 90 * MS)
    assert table.baseline_ns("r") == 90 * MS
    table.calibrate(30 * MS)
    assert table.baseline_ns("r") == 90 * MS, "the same calibration is no news"
    table.calibrate(80 * MS)
    assert table.baseline_ns("r") == 80 * MS
    table.calibrate(None)
    assert table.baseline_ns("r") == 90 * MS


def test_a_distrusted_baseline_serves_until_there_are_new_samples() -> None:
    table = BaselineTable()
    learn(table, 20 * MS, 100)
    table.distrust()
    assert table.judge("r") == -20 * MS
    assert table.baseline_ns("r") == table.typical_ns() == 20 * MS, "shown until replaced"
    learn(table, 60 * MS)
    assert table.baseline_ns("r") == 60 * MS


def test_a_baseline_confirmed_keeps_the_samples_of_before() -> None:
    rng = random.Random(4)
    table = BaselineTable()
    for _ in range(100):
        table.observe("r", round(rng.expovariate(1 / 20) * MS), low_in_flight=1, now=NOW)
    before = table.baseline_ns("r")
    table.distrust()
    fresh = []
    while table.judge("r") < 0:
        fresh.append(round(rng.expovariate(1 / 20) * MS))
        table.observe("r", fresh[-1], low_in_flight=1, now=NOW)
    mean = sum(fresh) / len(fresh)
    assert abs(table.baseline_ns("r") - before) < abs(mean - before)
