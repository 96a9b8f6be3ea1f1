"""The queue set by itself; what it is worth as a whole is in `test_apf.py`."""

from __future__ import annotations

from itertools import combinations
from math import perm

import pytest

from shedproxy.core import RequestInfo
from shedproxy.simulator.controllers.apf_queues import QueueSet, deal_hand
from shedproxy.simulator.controllers.ledger import Ledger

S = 1_000_000_000


def queue_set(*, seats, in_use=0, starts=(), widths=()):
    """One queue per start (R in seconds), with one waiter of the width."""
    queues = QueueSet(queues=len(starts), hand=1, seats=seats)
    queues.seats_in_use = in_use
    queues.executing = 1 if in_use else 0
    ledger = Ledger()
    for index, (start, width) in enumerate(zip(starts, widths, strict=True)):
        queue = queues.choose(index)
        queues.enter(queue)
        queue.next_r = start * S
        ticket = ledger.ticket(RequestInfo(cost=width), now=0, expires_at=S)
        queues.enqueue(queue, ticket)
    return queues


@pytest.mark.parametrize(
    ("seats", "in_use", "starts", "widths", "index", "fits"),
    [
        (1, 0, (200, 100), (1, 1), 1, True),
        (1, 1, (200,), (1,), 0, False),
        (50, 25, (200, 100), (50, 25), 1, True),
        (50, 26, (200, 100), (10, 25), 1, False),
    ],
    ids=["least start wins", "no seat", "wide fits", "wide does not fit, and nobody passes it"],
)
def test_the_least_finish_is_next(seats, in_use, starts, widths, index, fits):
    """TestFindDispatchQueueLocked of queueset_test.go."""
    queues = queue_set(seats=seats, in_use=in_use, starts=starts, widths=widths)
    for _ in range(3):
        queue, ticket = queues.next_ticket()
        assert queue.index == index
        assert queues.fits(ticket.cost) is fits
    if not fits and seats > 1:
        queues.seats_in_use -= 1
        assert queues.fits(queues.next_ticket()[1].cost)


def test_equal_finishes_take_turns():
    """Round from the queue that was served last."""
    queues = queue_set(seats=9, starts=(1, 1, 1), widths=(1, 1, 1))
    served = []
    for _ in range(6):
        queue, ticket = queues.next_ticket()
        queues.dequeue(queue, ticket)
        queues.start(queue, ticket.cost)
        served.append(queue.index)
        queue.next_r = 1 * S
        queues.enqueue(queue, ticket)
    assert served == [0, 1, 2, 0, 1, 2]


def test_wider_than_all_seats_runs_alone():
    """It would never run otherwise."""
    queues = QueueSet(queues=0, hand=1, seats=2)
    assert queues.fits(3)
    queues.start(None, 1)
    assert not queues.fits(3)
    assert queues.fits(1)


def test_progress_is_shared_by_the_active_queues():
    """Two active queues, 2 seats: each gets one seat-second per second, whatever waits."""
    queues = queue_set(seats=2, starts=(0, 0), widths=(1, 1))
    queues.advance(3 * S)
    assert queues._r == 3 * S


def test_progress_uses_no_more_seats_than_are_asked_for():
    """One active queue that wants 1 of 4 seats."""
    queues = queue_set(seats=4, starts=(0,), widths=(1,))
    queues.advance(3 * S)
    assert queues._r == 3 * S


def test_idle_queue_begins_at_the_present_progress():
    """It has saved nothing up: R is 3 s of work, and the request takes 3 ms more."""
    queues = queue_set(seats=1, starts=(0, 0), widths=(1, 1))
    queues.advance(6 * S)
    queue, ticket = queues.next_ticket()
    queues.dequeue(queue, ticket)
    queues.leave(queue)
    queues.enter(queue)
    queues.start(queue, 1)
    assert queue.next_r == 3 * S + 3_000_000


def test_guess_is_put_right_when_the_time_of_service_is_known():
    """3 ms are charged at the start, 10 ms have been used in the end, by 2 seats."""
    queues = QueueSet(queues=1, hand=1, seats=2)
    queue = queues.choose(0)
    queues.enter(queue)
    queues.start(queue, 2)
    assert queue.next_r == 2 * 3_000_000
    queues.advance(10_000_000)
    queues.end(queue, 2, 10_000_000)
    assert queue.next_r == 2 * 10_000_000


def test_flow_goes_to_the_queue_with_least_work():
    """Of a hand of 2 of 2, the one with a wide waiter is left alone."""
    queues = QueueSet(queues=2, hand=2, seats=1)
    first = queues.choose(0)
    queues.enter(first)
    queues.enqueue(first, Ledger().ticket(RequestInfo(cost=2), now=0, expires_at=S))
    assert all(queues.choose(0) is not first for _ in range(4))


def test_every_hand_is_dealt_equally_often():
    """Hashes 0..59 deal each ordered hand of 3 of 5 once; 0 deals the first cards."""
    assert deal_hand(0, 5, 3) == (0, 1, 2)
    hands = {deal_hand(flow_hash, 5, 3) for flow_hash in range(perm(5, 3))}
    assert len(hands) == perm(5, 3)
    assert {tuple(sorted(hand)) for hand in hands} == set(combinations(range(5), 3))
