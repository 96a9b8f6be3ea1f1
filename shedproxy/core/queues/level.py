"""One level of a cell's queue: equally important waiters, served fairly between flows.

Start-time fair queueing (Goyal, Vin, Cheng 1996) over a fixed number of shards. Each shard has a
virtual start; the shard with the least is served, and its start moves on by the cost of what left:

    serve:      v = start(shard);  start(shard) += cost
    wake up:    start(shard) = max(start(shard), v)

v is the level's virtual time. Backlogged shards get equal cost, whatever their requests cost each,
because every start stays within one request of v. The second line keeps an idle flow from building
credit ("windup" in Kubernetes API Priority and Fairness): it comes back at v, not at the past.

A flow may use the shards of its hand only, and joins the one with the least waiting cost. Ties go
to the first of the hand, so that a flow with little to do stays on one shard. Shards serve first
in, first out, or newest first where the caller says so.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from shedproxy.core.decision import Ticket
from shedproxy.core.fair_share import SlotShare
from shedproxy.core.units import Instant

__all__ = ["UNBOUNDED", "Level", "Shard"]

UNBOUNDED: Final = 1 << 62
"""A bound that nothing reaches."""

_PASSED_MAX: Final = 4
"""Turns in a row that are passed over at most: somebody is served, and in bounded time."""
_STALE_MAX: Final = 64
"""Entries of tickets that left, kept beyond one per waiter before the order is forgotten."""


class Shard:
    """One of a level's queues. A waiting ticket's `queue_slot` points to it.

    Its tickets are linked by age: both ends and any in between leave in O(1), nothing is kept of
    those that left, and nothing is made for those that come.
    """

    __slots__ = ("index", "is_scheduled", "level", "newest", "oldest", "order", "start")

    def __init__(self, level: Level, index: int) -> None:
        self.level = level
        self.index = index
        self.start = 0
        self.order = 0
        self.is_scheduled = False
        self.oldest: Ticket | None = None
        self.newest: Ticket | None = None

    def append(self, ticket: Ticket) -> None:
        """Let the newest wait."""
        ticket.queue_slot = self
        before = self.newest
        self.newest = ticket
        if before is None:
            self.oldest = ticket
        else:
            ticket.older = before
            before.newer = ticket

    def remove(self, ticket: Ticket) -> None:
        """Let go of one that waits here."""
        ticket.queue_slot = None
        older, newer = ticket.older, ticket.newer
        ticket.older = ticket.newer = None
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.newest = older
        else:
            newer.older = older

    def first(self, *, newest: bool) -> Ticket:
        """Its newest ticket, or its oldest. It is not empty."""
        ticket = self.newest if newest else self.oldest
        assert ticket is not None
        return ticket


class Level:
    """Waiters of one criticality and attempt. Every operation is O(log waiters), or says so.

    Serials of tickets are unique in it.
    """

    __slots__ = (
        "_by_rank",
        "_order",
        "_queued",
        "_schedule",
        "_shards",
        "_virtual_now",
        "index",
        "is_starved",
        "length",
        "period_at",
        "served",
        "served_before",
    )

    def __init__(self, index: int, shard_count: int) -> None:
        self.index = index
        self.length = 0
        self.is_starved = False
        """Better ones keep it waiting: over the last period in which it was never empty."""
        self.period_at = Instant(0)
        """Since when it has not been empty, or the last period ended."""
        self.served = 0
        """Of it in this period."""
        self.served_before = 0
        """Of all levels before this period. No worse one is served while this one waits."""
        self._queued = [0] * shard_count
        """Waiting cost per shard."""
        self._shards: list[Shard | None] = [None] * shard_count
        # At most one entry per shard: (start, order, shard). A shard's start and order only grow,
        # so an entry that has fallen behind lies too near the top, is found there, and corrected.
        self._schedule: list[tuple[int, int, Shard]] = []
        self._order = 0
        self._virtual_now = 0
        # Lowest rank first, the newest of equals; tickets that left are dropped when they come up.
        # None: made when somebody asks, so that a queue with room for all pays nothing for it.
        self._by_rank: list[tuple[int, int, Ticket]] | None = None

    def extend(self, shard_count: int) -> None:
        """Have at least this many shards; surplus ones drain, none is taken away."""
        more = shard_count - len(self._queued)
        if more > 0:
            self._queued.extend([0] * more)
            self._shards.extend([None] * more)

    def add(
        self, ticket: Ticket, hand: tuple[int, ...], now: Instant, served_in_all: int = 0
    ) -> None:
        """Let a ticket wait in the shortest shard of its hand."""
        index = self._shortest(hand)
        shard = self._shards[index]
        if shard is None:
            shard = self._shards[index] = Shard(self, index)
        if not self._queued[index]:
            self._wake(shard)
        self._queued[index] += ticket.cost
        shard.append(ticket)
        by_rank = self._by_rank
        if by_rank is not None:
            heapq.heappush(by_rank, (ticket.rank, -ticket.serial, ticket))
            if len(by_rank) > 2 * self.length + _STALE_MAX:
                self._by_rank = None
        if not self.length:
            self.is_starved = False
            self.begin_period(now, served_in_all)
        self.length += 1

    def begin_period(self, now: Instant, served_in_all: int) -> None:
        """Count from now on what is served of it, and of all."""
        self.period_at = now
        self.served = 0
        self.served_before = served_in_all

    def end_period(self, now: Instant, served_in_all: int) -> None:
        """It starves if less was served of it than of better ones."""
        better = served_in_all - self.served_before - self.served
        self.is_starved = better > self.served
        self.begin_period(now, served_in_all)

    def _shortest(self, hand: tuple[int, ...]) -> int:
        queued = self._queued
        best = hand[0]
        least = queued[best]
        if least and len(hand) > 1:
            for index in hand:
                if queued[index] < least:
                    best, least = index, queued[index]
        return best

    def _wake(self, shard: Shard) -> None:
        self._order = shard.order = self._order + 1
        shard.start = max(shard.start, self._virtual_now)
        if not shard.is_scheduled:
            shard.is_scheduled = True
            heapq.heappush(self._schedule, (shard.start, shard.order, shard))

    def _next(self) -> Shard:
        """The shard to serve. The level is not empty."""
        schedule = self._schedule
        while True:
            _, order, shard = schedule[0]
            if not self._queued[shard.index]:
                self._rest(shard)
            elif order != shard.order and len(schedule) > 1:
                heapq.heapreplace(schedule, (shard.start, shard.order, shard))
            else:
                return shard

    def _rest(self, shard: Shard) -> None:
        """Take an empty shard off the top of the schedule."""
        heapq.heappop(self._schedule)
        shard.is_scheduled = False

    def take(
        self,
        newest: bool,
        cost_max: int = UNBOUNDED,
        slots: SlotShare | None = None,
    ) -> Ticket | None:
        """Serve the shard whose turn it is: its oldest ticket, or its newest.

        None, and nobody is served, when it costs more than `cost_max`. A shard whose ticket
        is over its share of `slots` loses its turn while there are others. The level is not empty.
        """
        shard = self._next()
        if slots is not None:
            shard = self._pass_over(shard, slots, newest)
        ticket = shard.first(newest=newest)
        cost = ticket.cost
        if cost > cost_max:
            return None
        shard.remove(ticket)
        self._virtual_now = start = shard.start
        shard.start = start + cost
        self._order = shard.order = self._order + 1
        self.length -= 1
        self._queued[shard.index] = queued = self._queued[shard.index] - cost
        if not queued:
            self._rest(shard)
        elif len(self._schedule) > 1:  # alone it is the next whatever its entry says
            heapq.heapreplace(self._schedule, (shard.start, shard.order, shard))
        return ticket

    def _pass_over(self, shard: Shard, slots: SlotShare, newest: bool) -> Shard:
        """The first shard in turn that is not over its share, or the one after a few that are."""
        schedule = self._schedule
        for _ in range(min(_PASSED_MAX, len(schedule) - 1)):
            if not slots.is_over(shard.first(newest=newest)):
                break
            # A turn is charged as if it had been served, or it would be the next again.
            shard.start += shard.first(newest=newest).cost
            self._order = shard.order = self._order + 1
            heapq.heapreplace(schedule, (shard.start, shard.order, shard))
            shard = self._next()
        return shard

    def discard(self, ticket: Ticket) -> None:
        """Let a ticket of this level go unserved: its shard is charged nothing."""
        shard: Shard = ticket.queue_slot
        shard.remove(ticket)
        self._queued[shard.index] -= ticket.cost
        self.length -= 1

    def lowest(self) -> Ticket:
        """The waiter of lowest rank, the newest of equals. The level is not empty.

        O(waiters + shards) when nobody has asked for a while.
        """
        by_rank = self._by_rank
        if by_rank is None:
            by_rank = self._by_rank = [
                (ticket.rank, -ticket.serial, ticket) for ticket in self._waiters()
            ]
            heapq.heapify(by_rank)
        while by_rank[0][2].queue_slot is None:
            heapq.heappop(by_rank)
        return by_rank[0][2]

    def by_rank(self) -> Sequence[Ticket]:
        """All waiters, the lowest rank first, the oldest of equals."""
        return sorted(self._waiters(), key=_rank_and_serial)

    def _waiters(self) -> list[Ticket]:
        found: list[Ticket] = []
        for shard in self._shards:
            ticket = None if shard is None else shard.oldest
            while ticket is not None:
                found.append(ticket)
                ticket = ticket.newer
        return found

    def oldest_at(self) -> Instant:
        """When the oldest waiter came. The level is not empty. O(shards)."""
        oldest = [shard.oldest for shard in self._shards if shard is not None]
        return min([ticket.arrived_at for ticket in oldest if ticket is not None])

    def forget_ranks(self) -> None:
        """Keep nothing of those that left: nobody waits."""
        self._by_rank = None

    def longest(self, *, newest: bool) -> Ticket:
        """The oldest or newest ticket of the shard with the most waiting cost. O(shards), in C."""
        queued = self._queued
        shard = self._shards[queued.index(max(queued))]
        assert shard is not None
        return shard.first(newest=newest)

    def queued_with(self, ticket: Ticket) -> int:
        """Waiting cost of the shard that a ticket of this level waits in."""
        shard: Shard = ticket.queue_slot
        return self._queued[shard.index]

    def shortest_queued(self, hand: tuple[int, ...]) -> int:
        """Waiting cost of the shard that a newcomer with this hand would join."""
        return self._queued[self._shortest(hand)]


def _rank_and_serial(ticket: Ticket) -> tuple[int, int]:
    return ticket.rank, ticket.serial
