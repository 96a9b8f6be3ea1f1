"""A refusal is found by its id as long as it is kept, and never mistaken for another."""

from __future__ import annotations

import pytest
from harness.refusals import CHECKOUT, record, refusal
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import (
    EVIDENCE,
    Mode,
    Rejected,
    RejectReason,
    RequestInfo,
    SpillBar,
    explain_refusal,
    refusal_holds,
)
from shedproxy.observability.ring import RefusalRing, find_refusal, ring_size


def test_a_recorded_refusal_can_be_recomputed_and_explained():
    ring = RefusalRing()
    rejected = refusal()
    rejected.spill_bar = SpillBar.NO_TIME
    found = ring.find(record(ring, rejected))
    assert found is not None
    again = found.to_rejected("shop")
    assert explain_refusal(again) == explain_refusal(rejected)
    assert refusal_holds(again)
    assert again.request == CHECKOUT
    for name in Rejected.__slots__:
        if name not in {"request", "record_id"}:
            assert getattr(again, name) == getattr(rejected, name)
    assert (found.cell, found.mode, found.wall_ns) == (1, Mode.ENFORCE, 17)


@pytest.mark.parametrize("reason", list(RejectReason), ids=lambda reason: reason.label)
def test_every_reason_keeps_all_of_its_numbers(reason):
    numbers = tuple(-(2**62) + index for index in range(len(EVIDENCE[reason])))
    ring = RefusalRing()
    found = ring.find(record(ring, refusal(reason, numbers)))
    assert found.reason is reason
    assert found.numbers == numbers


def test_more_routes_than_are_kept_are_recorded():
    ring = RefusalRing()
    for number in range(1100):
        request = RequestInfo(route=f"route-{number}")
        assert ring.find(record(ring, refusal(request=request))).route == f"route-{number}"


def test_a_full_ring_drops_the_oldest():
    ring = RefusalRing(capacity=8)
    ids = [record(ring, wall_ns=number) for number in range(20)]
    assert [ring.find(refusal_id) for refusal_id in ids[:12]] == [None] * 12
    assert [ring.find(refusal_id).wall_ns for refusal_id in ids[12:]] == list(range(12, 20))
    assert [entry.wall_ns for entry in ring.recent(3)] == [19, 18, 17]
    assert len(ring.recent(1000)) == 8


def test_an_empty_ring_has_nothing_recent():
    assert RefusalRing(capacity=4).recent(10) == []


def test_an_id_of_an_earlier_start_never_finds_a_later_refusal():
    ring = RefusalRing(capacity=4, nonce=1)
    old = record(ring)
    assert RefusalRing(capacity=4, nonce=2).find(old) is None
    successor = RefusalRing(capacity=4, nonce=2)
    new = record(successor)
    assert new != old
    assert successor.find(old) is None


def test_a_successor_in_the_same_memory_goes_on_behind_its_predecessor():
    memory = bytearray(ring_size(4))
    first = RefusalRing(memoryview(memory), nonce=1)
    old = [record(first, wall_ns=number) for number in range(3)]
    second = RefusalRing(memoryview(memory), nonce=2)
    new = record(second, wall_ns=3)
    assert [entry.wall_ns for entry in second.recent(4)] == [3, 2, 1, 0]
    assert second.find(old[0]).wall_ns == 0
    record(second)
    assert second.find(old[0]) is None
    assert second.find(new).wall_ns == 3


def test_ids_differ_by_worker():
    one, two = RefusalRing(worker=1, nonce=5), RefusalRing(worker=2, nonce=5)
    assert record(one) != record(two)
    assert (one.worker, two.worker) == (1, 2)


def test_a_record_being_written_is_not_found():
    memory = bytearray(ring_size(4))
    ring = RefusalRing(memoryview(memory))
    refusal_id = record(ring)
    at = memory.index(refusal_id.to_bytes(8, "little"))
    memory[at : at + 8] = bytes(8)
    assert ring.find(refusal_id) is None
    assert ring.recent(4) == []


def test_a_record_overwritten_during_the_read_is_not_found():
    class Racing:
        """Memory whose record changes between the two looks at its id."""

        def __init__(self, words):
            self.words = words
            self.looks = 0

        def __getitem__(self, index):
            self.looks += 1
            return self.words[index] + (self.looks > 1)

    ring = RefusalRing(capacity=2)
    refusal_id = record(ring)
    ring._words = Racing(ring._words)
    assert ring.find(refusal_id) is None


def test_serials_that_wrap_get_a_new_nonce():
    memory = bytearray(ring_size(4))
    memory[:8] = (2**36 - 1).to_bytes(8, "little")
    ring = RefusalRing(memoryview(memory), nonce=7, worker=3)
    last, first = record(ring), record(ring)
    assert last & (2**36 - 1) == 2**36 - 1
    assert first & (2**36 - 1) == 0
    assert first >> 44 != last >> 44
    assert ring.worker == 3
    assert ring.find(last) is not None
    assert ring.find(first) is not None


@given(st.integers(1, 2**64 - 1))
def test_an_id_survives_being_written_and_read(refusal_id):
    text = RefusalRing.format_id(refusal_id)
    assert len(text) == 13
    assert RefusalRing.parse_id(text) == refusal_id
    assert RefusalRing.parse_id(f" {text.lower()} ") == refusal_id


@pytest.mark.parametrize("text", ["", "0", "0" * 13, "U" * 13, "Z" * 13, "0" * 12 + "-", "1" * 14])
def test_what_is_no_id_is_none(text):
    assert RefusalRing.parse_id(text) is None


def test_letters_that_look_like_digits_are_read_as_them():
    assert RefusalRing.parse_id("000000000OIL1") == RefusalRing.parse_id("0000000000111")


def test_find_refusal_looks_in_every_ring():
    rings = [RefusalRing(worker=worker) for worker in range(3)]
    refusal_id = record(rings[2])
    found = find_refusal(rings, RefusalRing.format_id(refusal_id))
    assert found.id == refusal_id
    assert find_refusal(rings, RefusalRing.format_id(refusal_id + 1)) is None
    assert find_refusal(rings, "not an id") is None


def test_a_buffer_without_room_for_one_is_refused():
    with pytest.raises(ValueError, match="bytes"):
        RefusalRing(memoryview(bytearray(64)))


def test_a_worker_number_that_does_not_fit_an_id_is_refused():
    with pytest.raises(ValueError, match="256"):
        RefusalRing(worker=256)


def test_a_released_ring_lets_its_memory_go():
    memory = bytearray(ring_size(4))
    ring = RefusalRing(memoryview(memory))
    record(ring)
    ring.release()
    memory.clear()
    assert not memory
