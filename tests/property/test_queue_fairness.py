"""Max-min fairness between flows, on the scenarios Kubernetes APF uses for its own queues.

Clients are closed loops of threads in virtual time: ask, wait, run, think. What each flow had of
the slots, on average, is compared with its max-min fair share.
"""

from __future__ import annotations

import heapq
from collections import Counter
from itertools import count
from typing import NamedTuple

import pytest

from shedproxy.core.decision import Ticket
from shedproxy.core.policy import QueuePolicy
from shedproxy.core.queues import PriorityQueue
from shedproxy.core.request import RequestInfo
from shedproxy.core.units import NS_PER_S, Instant

ALMOST_1_S = 1 - 1e-9


class Client(NamedTuple):
    """`threads` that each make `calls` one after the other, with `think_s` between them."""

    threads: int
    calls: int
    think_s: float
    run_s: float = 1.0
    width: int = 1
    pause_s: float = 0.0
    """Time before its first call."""

    @property
    def demand(self) -> float:
        """Slots it would use if nothing stood in the way."""
        return self.threads * self.width * self.run_s / (self.run_s + self.think_s)


def max_min_shares(demands: list[float], capacity: float) -> list[float]:
    """Raise all shares together; who has enough stops."""
    shares = [0.0] * len(demands)
    for rank, index in enumerate(sorted(range(len(demands)), key=demands.__getitem__)):
        shares[index] = min(demands[index], capacity / (len(demands) - rank))
        capacity -= shares[index]
    return shares


def average_slots(
    clients: list[Client], *, queue: PriorityQueue, slots: int, from_s: float, to_s: float
) -> list[float]:
    """Slots each client had on average in a stretch of time."""
    infos = [RequestInfo(cost=client.width) for client in clients]
    events: list[tuple[int, int, int, str, int, int]] = []
    order = 0

    def plan(at: int, what: str, who: int, calls_left: int) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (at, order, who, what, calls_left, 0))

    for thread in range(max(client.threads for client in clients)):
        for who, client in enumerate(clients):
            if thread < client.threads:
                plan(int(client.pause_s * NS_PER_S), "ask", who, client.calls)
    used: Counter[int] = Counter()
    serials = count()
    free = slots
    start, end = int(from_s * NS_PER_S), int(to_s * NS_PER_S)
    while events and events[0][0] < end:
        at, _, who, what, calls_left, _ = heapq.heappop(events)
        now = Instant(at)
        if what == "ask":
            one = Ticket(next(serials), infos[who], who + 1, 0, 600, now, Instant(2**62))
            one.context = (who, calls_left)
            assert queue.push(one, now=now) is None
        else:
            free += clients[who].width
            if calls_left > 1:
                plan(at + round(clients[who].think_s * NS_PER_S), "ask", who, calls_left - 1)
        while (taken := queue.pop(now=now, cost_max=free)) is not None:
            who, calls_left = taken.context
            done = at + round(clients[who].run_s * NS_PER_S)
            used[who] += taken.cost * max(0, min(done, end) - max(at, start))
            free -= taken.cost
            plan(done, "done", who, calls_left)
    return [used[who] / (end - start) for who in range(len(clients))]


def queue_of(shards: int, hand: int) -> PriorityQueue:
    # Fairness must not depend on the order inside a shard; APF's is first in, first out.
    return PriorityQueue(QueuePolicy(shards=shards, hand=hand, lifo_after_ns=2**62))


@pytest.mark.parametrize(
    ("clients", "shards", "hand", "slots", "to_s", "margin"),
    [
        pytest.param(
            [Client(8, 20, ALMOST_1_S)] * 2, 9, 1, 4, 50, 0.01, id="uniform flows, hand of 1"
        ),
        pytest.param(
            [Client(8, 30, ALMOST_1_S)] * 2, 8, 3, 4, 60, 0.03, id="uniform flows, hand of 3"
        ),
        pytest.param(
            [Client(8, 20, 1.0), Client(7, 30, 0.5)],
            9, 1, 4, 40, 0.01,
            id="different flows, equal shares",
        ),
        pytest.param(
            [Client(4, 20, ALMOST_1_S), Client(2, 20, ALMOST_1_S)],
            9, 1, 3, 20, 0.01,
            id="different flows, unequal shares",
        ),
        pytest.param(
            [Client(13, 10, ALMOST_1_S), Client(7, 10, ALMOST_1_S, width=2)],
            64, 7, 6, 20, 0.155,
            id="different widths",
        ),
    ],
)  # fmt: skip
def test_flows_get_their_max_min_share(clients, shards, hand, slots, to_s, margin):
    queue = queue_of(shards, hand)
    had = average_slots(clients, queue=queue, slots=slots, from_s=0, to_s=to_s)
    fair = max_min_shares([client.demand for client in clients], slots)
    for share, expected in zip(had, fair, strict=True):
        assert share == pytest.approx(expected, rel=margin)


def test_idle_time_builds_no_credit():
    """APF's Windup: the second client stays away for the first half, then both want more."""
    clients = [Client(2, 40, 0.0), Client(2, 40, 0.0, pause_s=20.0)]
    alone = average_slots(clients, queue=queue_of(9, 1), slots=3, from_s=0, to_s=20)
    assert alone == pytest.approx([2.0, 0.0], rel=0.01)
    both = average_slots(clients, queue=queue_of(9, 1), slots=3, from_s=20, to_s=40)
    assert both == pytest.approx([1.5, 1.5], rel=0.26)


def test_the_newest_first_order_is_as_fair():
    clients = [Client(8, 20, ALMOST_1_S)] * 2
    queue = PriorityQueue(QueuePolicy(shards=9, hand=1, lifo_after_ns=0))
    had = average_slots(clients, queue=queue, slots=4, from_s=0, to_s=50)
    assert had == pytest.approx([2.0, 2.0], rel=0.01)


def test_one_of_many_tenants_cannot_starve_the_others():
    """An elephant with 200 threads beside 12 mice of two: each mouse gets what it asks for."""
    clients = [Client(200, 50, 0.0), *[Client(2, 50, 9.0)] * 12]
    had = average_slots(clients, queue=queue_of(64, 4), slots=8, from_s=5, to_s=45)
    assert sum(had) == pytest.approx(8, rel=0.02)
    for share in had[1:]:
        assert share > 0.15
