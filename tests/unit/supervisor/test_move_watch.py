"""What a host says of keys in motion is what is true of all its workers."""

from __future__ import annotations

import pytest

from shedproxy.core import Nanos, seconds
from shedproxy.supervisor.move_watch import HostMoves, MoveWatch
from shedproxy.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watch(clock) -> MoveWatch:
    return MoveWatch(lambda: Nanos(seconds(3)), clock=clock)


def told(version: int, work: int = 0, streams: int = 0, held: int = 0) -> dict:
    return {"op": "moving", "version": version, "work": work, "streams": streams, "held": held}


def test_the_slowest_says_the_version_and_work_adds_up(watch, clock):
    clock.advance(seconds(3))
    watch.take("one", told(4, work=2, streams=1, held=3))
    watch.take("two", told(5, work=1, held=1))
    assert watch.said(["one", "two"]) == HostMoves(4, 3, 1, 4, is_settled=True)


def test_a_worker_that_has_said_nothing_holds_up_all(watch):
    watch.take("one", told(4))
    assert watch.said(["one", "two"]).table_version == 0
    assert watch.said([]).table_version == 0


def test_work_of_who_is_gone_is_waited_for(watch, clock):
    assert not watch.said([]).is_settled, "somebody may have been here before"
    clock.advance(seconds(3))
    assert watch.said([]).is_settled
    watch.take("one", told(4, work=1))
    watch.forget("one")
    assert watch.said(["one"]) == HostMoves(0, 0, 0, 0, is_settled=False)
    clock.advance(seconds(3))
    assert watch.said(["one"]).is_settled


def test_every_change_is_told(watch):
    changes = []
    watch.on_change = lambda: changes.append(watch.said(["one"]).table_version)
    watch.take("one", told(4))
    watch.forget("one")
    assert changes == [4, 0]
