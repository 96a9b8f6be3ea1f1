from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import Instant
from shedproxy.dataplane.wire.timer_wheel import Timed, TimerWheel

TICK = 10


class Item(Timed):
    def __init__(self, deadline_at: int = 0) -> None:
        super().__init__()
        self.deadline_at = deadline_at

    def on_deadline(self, now: Instant) -> None:
        raise AssertionError("the wheel only tells; its owner calls")


def wheel(slots: int = 8) -> TimerWheel:
    return TimerWheel(now=Instant(1000), tick_ns=TICK, slots=slots)


def test_an_item_is_due_at_the_first_tick_after_its_deadline_and_once() -> None:
    timers = wheel()
    item = Item(1025)
    timers.watch(item)
    assert timers.advance(Instant(1024)) == []
    assert timers.advance(Instant(1030)) == [item]
    assert timers.advance(Instant(1200)) == []
    assert len(timers) == 0


def test_a_later_deadline_needs_no_call() -> None:
    timers = wheel()
    item = Item(1020)
    timers.watch(item)
    item.deadline_at = 1055
    assert timers.advance(Instant(1030)) == []
    assert timers.advance(Instant(1060)) == [item]


def test_an_earlier_deadline_is_kept_after_watch() -> None:
    timers = wheel()
    item = Item(1070)
    timers.watch(item)
    item.deadline_at = 1020
    timers.watch(item)
    assert len(timers) == 1
    assert timers.advance(Instant(1020)) == [item]


def test_a_deadline_of_zero_means_none() -> None:
    timers = wheel()
    item = Item(1020)
    timers.watch(item)
    item.deadline_at = 0
    assert timers.advance(Instant(1090)) == []
    assert len(timers) == 0


def test_a_deadline_beyond_the_horizon_waits_for_its_time() -> None:
    timers = wheel(slots=4)
    item = Item(1500)
    timers.watch(item)
    for now in range(1000, 1500, TICK):
        assert timers.advance(Instant(now)) == []
    assert timers.advance(Instant(1500)) == [item]


def test_a_forgotten_item_is_not_held() -> None:
    timers = wheel()
    item = Item(1020)
    timers.watch(item)
    timers.forget(item)
    timers.forget(item)
    assert len(timers) == 0
    assert timers.advance(Instant(2000)) == []


def test_a_pause_longer_than_the_horizon_loses_nothing() -> None:
    timers = wheel(slots=4)
    items = [Item(1000 + 7 * k) for k in range(1, 40)]
    for item in items:
        timers.watch(item)
    assert set(timers.advance(Instant(9000))) == set(items)


def test_a_deadline_in_the_past_is_due_at_the_next_tick() -> None:
    timers = wheel()
    item = Item(5)
    timers.watch(item)
    assert timers.advance(Instant(1010)) == [item]


@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=20),
    st.lists(st.integers(1, 400), min_size=1, max_size=40),
)
def test_each_item_is_due_once_never_early_and_at_most_a_tick_late(
    lengths: list[int], steps: list[int]
) -> None:
    timers = wheel(slots=16)
    waiting = {Item(1000 + length) for length in lengths}
    for item in waiting:
        timers.watch(item)
    now = 1000
    for step in [*steps, 5000]:
        now += step
        due = timers.advance(Instant(now))
        assert len(due) == len(set(due))
        assert set(due) <= waiting
        assert all(item.deadline_at <= now for item in due)
        waiting -= set(due)
        assert all(item.deadline_at + TICK > now for item in waiting)
    assert not waiting
