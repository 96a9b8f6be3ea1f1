"""Samples that one worker leaves for another: none torn, none twice, in order."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Sequence

import pytest
from harness.words import Killed, Words

from shedproxy.core import NS_PER_MS, Instant
from shedproxy.core.heavy_flows import FLOW_BITS
from shedproxy.core.relay import (
    CENSORED,
    LEFT,
    ORPHANED,
    OVERLOAD,
    RELAY_WORDS,
    SAMPLE,
    Relayed,
    SampleRelay,
)
from shedproxy.core.sharding import NO_PLACE, PLACE_BITS

ROUTE = "/items"
RING = 16
"""More than a ring remembers while its writer may be in the middle of one."""
BEFORE = 7
"""Samples of a turn that the writer has left, so that not everything begins at the first place."""


class Pair:
    """A writer and a reader, and the words between them."""

    def __init__(self) -> None:
        self.words = Words(RELAY_WORDS * 2)
        self.now = 0
        self.told = 0
        rings = self.words[0 : RELAY_WORDS * 2]
        self.reader = SampleRelay(rings, workers=2, own=0)
        self.writer = SampleRelay(rings, workers=2, own=1)
        self.reader.learn([ROUTE], 1)
        self.taken: list[Relayed] = []

    def tell(self, count: int = 1) -> None:
        """Samples whose every number is that of their turn; never too many at a time."""
        for _ in range(count):
            self.now += NS_PER_MS
            self.told += 1
            self.writer.tell(
                SAMPLE, ROUTE, self.told, self.told, Instant(self.told), Instant(self.now)
            )

    def take(self) -> None:
        self.taken += self.reader.take()

    def interrupt(self, *places: tuple[int, object]) -> None:
        self.words.accesses, self.words.interruptions = 0, list(places)

    def serials(self) -> list[int]:
        """What was taken, each found whole."""
        for kind, route, elapsed_ns, in_flight, admitted_at, place in self.taken:
            assert (kind, route, place) == (SAMPLE, ROUTE, NO_PLACE)
            assert elapsed_ns == in_flight == admitted_at
        return [sample.elapsed_ns for sample in self.taken]


def test_what_one_tells_the_other_takes_once():
    pair = Pair()
    pair.tell(5)
    pair.take()
    pair.take()
    assert pair.serials() == [1, 2, 3, 4, 5]


def test_its_own_it_does_not_take():
    pair = Pair()
    pair.tell(2)
    assert pair.writer.take() == []


def test_a_ring_that_nobody_empties_keeps_the_newest():
    pair = Pair()
    pair.tell(100)
    pair.take()
    assert pair.serials() == list(range(100 - RING + 2, 101))


def test_more_than_a_turn_has_room_for_is_not_told():
    pair = Pair()
    for _ in range(100):
        pair.writer.tell(SAMPLE, ROUTE, 1, 1, Instant(1), Instant(5))
    pair.take()
    assert len(pair.taken) == 8


@pytest.mark.parametrize("kind", [ORPHANED, CENSORED, LEFT, OVERLOAD])
def test_in_each_turn_there_is_room_to_tell_that_somebody_was_served(kind: int):
    pair = Pair()
    for kinds in (20 * [kind] + [SAMPLE], [SAMPLE] + 20 * [kind], 20 * [SAMPLE] + [kind]):
        pair.now += 10 * NS_PER_MS
        for each in kinds:
            pair.writer.tell(each, ROUTE, 1, 1, Instant(1), Instant(pair.now))
        taken = pair.reader.take()
        assert SAMPLE in [relayed.kind for relayed in taken]
        assert 7 <= len(taken) <= 8


def test_a_new_leader_leaves_what_was_told_to_the_former():
    pair = Pair()
    pair.tell(5)
    pair.reader.skip()
    pair.tell()
    pair.take()
    assert pair.serials() == [6]


def test_a_successor_goes_on_where_the_ring_is():
    pair = Pair()
    pair.tell(20)
    pair.take()
    pair.writer = SampleRelay(pair.words[0 : RELAY_WORDS * 2], workers=2, own=1)
    pair.tell()
    pair.taken.clear()
    pair.take()
    assert pair.serials() == [21]


def test_a_route_that_the_reader_has_not_seen_has_no_name():
    pair = Pair()
    pair.reader.learn(["/other", "/more"], 2)
    pair.tell()
    pair.writer.tell(OVERLOAD, "", 0, 3, Instant(7), Instant(1 << 40))
    assert [(each.kind, each.route) for each in pair.reader.take()] == [
        (SAMPLE, ""),
        (OVERLOAD, ""),
    ]


def test_large_numbers_come_out_as_they_went_in():
    pair = Pair()
    last, most = Instant((1 << 63) - 1), (1 << PLACE_BITS) - 1
    pair.writer.tell(OVERLOAD, ROUTE, 1 << 62, 1 << 40, last, Instant(5), most)
    ((kind, route, elapsed_ns, in_flight, admitted_at, place),) = pair.reader.take()
    assert (kind, route, elapsed_ns, admitted_at) == (OVERLOAD, ROUTE, 1 << 62, last)
    assert in_flight == (1 << 19) - 1
    assert place == (1 << FLOW_BITS) - 1 << PLACE_BITS - FLOW_BITS


@pytest.mark.parametrize("index", [0, 1, 128, 255])
def test_a_tenant_has_the_place_in_the_readers_table_that_it_has_in_the_writers(index: int):
    pair = Pair()
    shift = PLACE_BITS - FLOW_BITS
    for place in (index << shift, (index + 1 << shift) - 1):
        pair.writer.tell(ORPHANED, ROUTE, 1, 2, Instant(3), Instant(5), place)
    assert pair.reader.take() == 2 * [Relayed(ORPHANED, ROUTE, 1, 2, Instant(3), index << shift)]


def accesses_of(do: str, waiting: int) -> int:
    """Words that this touches, with so many samples in the ring."""
    pair = Pair()
    pair.tell(BEFORE)
    pair.take()
    pair.tell(waiting)
    pair.words.accesses = 0
    getattr(pair, do)()
    return pair.words.accesses


@pytest.mark.parametrize("waiting", [0, 1, RING - 1, RING, RING + 1])
def test_no_sample_is_torn_wherever_the_writer_stops_while_the_other_reads(waiting: int):
    """It tells some, and stops at any word of the next, before any word that the other reads."""
    worlds = 0
    places = range(1, accesses_of("take", waiting) + 1)
    for place, more, stop in itertools.product(places, (0, 1, RING), range(1, 5)):
        pair = Pair()
        pair.tell(BEFORE)
        pair.take()
        pair.tell(waiting)

        def write(pair: Pair = pair, more: int = more, stop: int = stop) -> None:
            pair.tell(more)
            pair.words.accesses = 0
            pair.words.interruptions = [(stop, _die)]
            with contextlib.suppress(Killed):
                pair.tell()

        pair.interrupt((place, write))
        pair.take()
        # It was held up, and goes on with that one.
        pair.words.interruptions = []
        pair.told -= 1
        pair.tell()
        pair.take()
        _assert_in_order(pair.serials(), last=pair.told)
        worlds += 1
    assert worlds >= 12


@pytest.mark.parametrize("waiting", [0, 1, RING - 1, RING, RING + 1])
def test_no_sample_is_torn_wherever_the_reader_comes_while_the_other_writes(waiting: int):
    for place in range(1, accesses_of("tell", waiting) + 1):
        pair = Pair()
        pair.tell(BEFORE)
        pair.take()
        pair.tell(waiting)
        pair.interrupt((place, functools.partial(Pair.take, pair)))
        pair.tell()
        pair.take()
        _assert_in_order(pair.serials(), last=pair.told)


def _assert_in_order(serials: Sequence[int], *, last: int) -> None:
    assert list(serials) == sorted(set(serials))
    assert serials[-1] == last


def _die() -> None:
    raise Killed
