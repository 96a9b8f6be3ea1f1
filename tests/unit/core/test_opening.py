"""Slots open again one after another, and those in use meanwhile open in their turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import Instant, milliseconds
from shedproxy.core.opening import Opening

TURN = milliseconds(40)


def opening(in_flight: int = 0, limit: int = 4) -> Opening:
    return Opening(limit, in_flight=in_flight, turn_ns=TURN, now=Instant(0))


def test_one_opens_at_once_and_the_others_evenly_over_a_turn() -> None:
    slots = opening()

    assert [slots.open_at(Instant(milliseconds(at))) for at in (0, 9, 10, 20, 30, 40)] == [
        1, 1, 2, 3, 4, 4,
    ]  # fmt: skip


def test_those_in_use_from_before_stay_open_until_they_end() -> None:
    slots = opening(in_flight=2)

    assert slots.open_at(Instant(1)) == 3
    slots.end(Instant(-5))
    assert slots.open_at(Instant(1)) == 2, "it opens again in its turn"
    slots.end(Instant(-3))
    assert slots.open_at(Instant(1)) == 1


def test_the_end_of_what_began_meanwhile_takes_no_slot_back() -> None:
    slots = opening(in_flight=1)

    slots.end(Instant(0))
    assert slots.open_at(Instant(1)) == 2


def test_more_ends_than_were_in_use_take_nothing_more() -> None:
    slots = opening(in_flight=1)

    for _ in range(3):
        slots.end(Instant(-1))
    assert slots.open_at(Instant(1)) == 1


def test_no_more_than_the_limit_are_ever_open() -> None:
    assert opening(in_flight=9).open_at(Instant(1)) == 4


@given(
    limit=st.integers(1, 2000),
    in_flight=st.integers(0, 2000),
    turn_ns=st.integers(1, 10**10),
    share=st.floats(0, 1),
)
def test_when_the_next_is_due_it_opens_and_after_a_turn_all_have(
    limit: int, in_flight: int, turn_ns: int, share: float
) -> None:
    slots = Opening(limit, in_flight=in_flight, turn_ns=turn_ns, now=Instant(5))
    now = Instant(5 + int(turn_ns * share))
    open_now, due_at = slots.open_at(now), slots.next_at(now)

    if not slots.is_over(now):
        assert due_at > now
        assert slots.open_at(due_at) > open_now or open_now == limit
    assert slots.is_over(Instant(5 + turn_ns))
    assert slots.open_at(Instant(5 + turn_ns)) == limit
