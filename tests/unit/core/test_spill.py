"""What one cell remembers of its peak and its guests, and what follows from that."""

from __future__ import annotations

import pytest

from shedproxy.core import NS_PER_MS, WATCH_NS, Instant, SpillBar, SpillBook

TENTH = 100 * NS_PER_MS


def watched(own: int = 2, *, until: int = 2 * WATCH_NS) -> tuple[SpillBook, Instant]:
    """A cell that has had so much of its own in flight, and the instant."""
    book = SpillBook(now=Instant(0))
    for at in range(TENTH, until + 1, TENTH):
        book.look(own, Instant(at))
    return book, Instant(until)


def bar(book: SpillBook, now: int, *, limit: int = 10, own: int = 2, cost: int = 1) -> SpillBar:
    return book.bar_to_take(limit=limit, own=own, guests=book.guests, cost=cost, now=Instant(now))


def test_peak_guests_and_the_newcomer_fit_into_half_of_the_limit():
    book, now = watched(own=2)
    taken = 0
    while bar(book, now) is SpillBar.NONE:
        book.take(1, now)
        taken += 1
    assert taken == 3
    assert bar(book, now) is SpillBar.NO_ROOM
    assert (book.peak, book.room(10, book.guests)) == (2, 0)


def test_a_wide_one_needs_as_much_room_as_it_takes():
    book, now = watched(own=2)
    assert bar(book, now, cost=3) is SpillBar.NONE
    assert bar(book, now, cost=4) is SpillBar.NO_ROOM


def test_nobody_comes_before_the_cell_was_watched_for_long_enough():
    book, now = watched(until=WATCH_NS - TENTH)
    assert bar(book, now) is SpillBar.UNKNOWN_ROOM
    assert bar(book, now + TENTH) is SpillBar.NONE


def test_what_nobody_looked_at_may_have_been_anything():
    book, now = watched()
    assert bar(book, now + 11 * TENTH) is SpillBar.UNKNOWN_ROOM


def test_a_peak_counts_for_five_seconds_at_least_and_ten_at_most():
    book, now = watched(own=2)
    book.look(5, now)
    seen = {}
    for step in range(1, 121):
        at = Instant(now + step * TENTH)
        seen[step] = bar(book, at)
    assert all(seen[step] is SpillBar.NO_ROOM for step in range(1, 50))
    assert all(seen[step] is SpillBar.NONE for step in range(101, 121))


def test_whoever_has_guests_sends_none_on_until_they_have_been_gone_for_a_while():
    book, now = watched()
    assert book.bar_to_send(guests=0, now=now) is SpillBar.NONE
    book.take(1, now)
    book.look(2, Instant(now + TENTH))
    book.leave(1)
    assert book.bar_to_send(guests=0, now=Instant(now + WATCH_NS)) is SpillBar.IS_HOST
    assert book.bar_to_send(guests=0, now=Instant(now + TENTH + WATCH_NS)) is SpillBar.NONE


def test_guests_of_another_worker_count_too():
    book, now = watched()
    assert book.bar_to_send(guests=1, now=now) is SpillBar.IS_HOST
    assert book.bar_to_take(limit=10, own=2, guests=3, cost=1, now=now) is SpillBar.NO_ROOM


def test_whoever_sent_one_away_takes_none_for_a_while():
    book, now = watched()
    book.send(now)
    book.look(2, Instant(now + TENTH))
    assert bar(book, now + TENTH) is SpillBar.IS_GUEST
    for at in range(now + 2 * TENTH, now + WATCH_NS, TENTH):
        book.look(2, Instant(at))
    assert bar(book, now + WATCH_NS) is SpillBar.NONE


def test_a_guest_that_the_service_could_not_serve_is_the_last_for_a_while():
    book, now = watched()
    book.fail(now)
    assert bar(book, now) is SpillBar.FAILED


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 100])
def test_own_work_has_room_for_twice_its_peak_beside_any_guests(limit):
    """The point of lending half."""
    for own in range(limit // 2 + 2):
        book, now = watched(own=own)
        while bar(book, now, limit=limit, own=own) is SpillBar.NONE:
            book.take(1, now)
        assert book.guests == 0 or 2 * own + book.guests <= limit


def test_it_counts_whom_it_sent_and_whom_it_took():
    book, now = watched()
    book.take(2, now)
    book.send(now)
    book.send(now)
    assert (book.taken_count, book.sent_count, book.guests) == (1, 2, 2)


def test_every_bar_has_a_word():
    assert [bar.label for bar in SpillBar][:3] == ["none", "is_host", "is_guest"]
