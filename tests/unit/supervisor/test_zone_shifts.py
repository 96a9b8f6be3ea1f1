"""A zone is weighed away for a while, and never all of them."""

from __future__ import annotations

import pytest

from shedproxy.core import Instant, seconds
from shedproxy.snapshot import Document, ProxyDocument, UpstreamDocument
from shedproxy.supervisor.orders import OrderInvalidError
from shedproxy.supervisor.zone_shifts import ZoneShifts


def document(*zones_by_cell):
    upstreams = tuple(
        UpstreamDocument(cell=str(index), urls=tuple(f"http://h:{n}" for n in range(1, 4)), zones=z)
        for index, z in enumerate(zones_by_cell)
    )
    return Document(proxy=ProxyDocument(upstreams=upstreams))


class Time:
    def __init__(self):
        self.now = Instant(0)

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def shifts(time):
    return ZoneShifts(time)


THREE = document(("a", "b", "c"))


def test_a_shift_ends_by_itself(shifts, time):
    shifts.begin("b", seconds(10), THREE)
    shifts.begin("a", seconds(20), THREE)
    assert (shifts.away, shifts.next_end_at()) == (("a", "b"), seconds(10))
    assert shifts.expire() == ()
    time.now = Instant(seconds(10))
    assert shifts.expire() == ("b",)
    assert (shifts.away, shifts.view()) == (("a",), {"a": 10.0})


def test_a_shift_can_be_made_longer_and_ended(shifts):
    shifts.begin("b", seconds(10), THREE)
    shifts.begin("b", seconds(30), THREE)
    assert shifts.view() == {"b": 30.0}
    assert shifts.end("b")
    assert not shifts.end("b")
    assert (shifts.away, shifts.next_end_at()) == ((), None)


def test_the_last_zone_of_a_cell_stays(shifts):
    shifts.begin("a", seconds(1), THREE)
    shifts.begin("b", seconds(1), THREE)
    with pytest.raises(OrderInvalidError, match="cell 0 has upstreams in no other zone"):
        shifts.begin("c", seconds(1), THREE)
    with pytest.raises(OrderInvalidError, match="cell 1 has"):
        ZoneShifts().begin("a", seconds(1), document(("a", "b", "a"), ("a", "a", "a")))


def test_upstreams_without_a_zone_are_elsewhere(shifts):
    shifts.begin("a", seconds(1), document(("a", "", "")))
    assert shifts.away == ("a",)


def test_a_zone_that_nobody_is_in_is_refused(shifts):
    with pytest.raises(OrderInvalidError, match="no upstream is in zone 'x'"):
        shifts.begin("x", seconds(1), THREE)
    with pytest.raises(OrderInvalidError):
        shifts.begin("x", seconds(1), document(()))


def test_a_snapshot_says_which_zones_are_away_and_until_when(shifts, time):
    shifts.follow(ProxyDocument(zones_away=("a", "b", "c"), zones_away_until_s=(1010, 990)), 1000.0)
    assert shifts.view() == {"a": 10.0}, "b is over, and c has no end"
    time.now = Instant(seconds(10))
    assert shifts.expire() == ("a",)
    shifts.follow(ProxyDocument(zones_away=("a",), zones_away_until_s=(1020,)), 1010.0)
    shifts.follow(ProxyDocument(), 1010.0)
    assert shifts.away == ()
