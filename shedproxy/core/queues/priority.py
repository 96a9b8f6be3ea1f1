"""The queue of one cell: strict priority between eight levels, fairness inside each.

A level is criticality x (retry, first try), which is `rank // 512`. Nothing in it is served while a
better level waits. Inside a level flows share by cost and a flow may use its hand of shards only
(`level`). A level that has not been empty for `lifo_after_ns`, and of which less was served in that
time than of better ones, serves newest first (adaptive LIFO, Maurer, "Fail at Scale", 2015): its
oldest would be answered too late anyway. One that nobody keeps waiting is never empty in overload
either, and its oldest are served while they are fresh. Any level serves newest first where the
caller says so, which it may while the queue swells (`swell`).

When the queue is full a newcomer takes the place of the waiter of lowest rank, the newest of
equals, if it ranks strictly higher: two ranks prove every eviction. Bounded is the whole queue and,
where the caller says so, the newcomer's level with better ones (`ahead_max`). `fair_victim` names
the waiter that fairness between flows would evict, for a caller that can prove its flow is over its
share.

Requests without a tenant (flow 0) have a shard of their own: they are served in exact order, and
never share a shard with a tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from shedproxy.core.decision import Ticket
from shedproxy.core.fair_share import SlotShare
from shedproxy.core.policy import QueuePolicy
from shedproxy.core.queues.expiries import Expiries
from shedproxy.core.queues.level import UNBOUNDED, Level, Shard
from shedproxy.core.queues.swell import Swell
from shedproxy.core.request import LEVEL_BITS, LEVELS, RANKS
from shedproxy.core.sharding import deal_shards, mix64
from shedproxy.core.units import Instant

__all__ = ["PriorityQueue"]

_ANONYMOUS_SHARD: Final = 0
_ANONYMOUS_HAND: Final = (_ANONYMOUS_SHARD,)
_HANDS_KEPT: Final = 1024
"""Hands remembered by all queues with as many shards: dealing one takes as long as a push. One is
about 270 bytes with what remembers it: a quarter of a megabyte in all, whatever the cells."""
_DEALERS_KEPT: Final = 4

_NO_TICKETS: Sequence[Ticket] = ()


@lru_cache(_DEALERS_KEPT)
def _dealer(shards: int, hand_size: int) -> Callable[[int], tuple[int, ...]]:
    """Hands by flow hash. A pure function of its arguments, so that all queues can share it."""

    @lru_cache(_HANDS_KEPT)
    def hand_of(flow_hash: int) -> tuple[int, ...]:
        hand = deal_shards(mix64(flow_hash), shard_count=shards, hand_size=hand_size)
        return tuple([_ANONYMOUS_SHARD + 1 + index for index in hand])

    return hand_of


class PriorityQueue:
    """Waiters of one cell. Each ticket pushed leaves once: popped, evicted, expired or removed.

    `len()` is exact. Operations are O(log waiters), but for what `Level` says. `now` never runs
    backwards. No two tickets have one serial; rank, cost and expiry do not change while it waits,
    and it is only ever given to the queue that holds it.
    """

    __slots__ = (
        "_expiries",
        "_hand_of",
        "_length_max",
        "_levels",
        "_lifo_after_ns",
        "_occupied",
        "_served",
        "_swell",
        "length",
    )

    def __init__(self, policy: QueuePolicy) -> None:
        self.length = 0
        """`len()` as a plain attribute: it is read for every request."""
        self._occupied = 0
        """Bit i: level i is not empty."""
        self._served = 0
        """Tickets popped, since ever."""
        self._expiries = Expiries()
        self._swell = Swell()
        self._levels = tuple(Level(index, policy.shards + 1) for index in range(LEVELS))
        self._set_policy(policy)

    def _set_policy(self, policy: QueuePolicy) -> None:
        shards = max(1, policy.shards)
        self._length_max = policy.length_max
        self._lifo_after_ns = policy.lifo_after_ns
        self._hand_of = _dealer(shards, min(max(1, policy.hand), shards))
        for level in self._levels:
            level.extend(shards + 1)

    def __len__(self) -> int:
        return self.length

    def push(self, ticket: Ticket, now: Instant, ahead_max: int = UNBOUNDED) -> Ticket | None:
        """Let a ticket wait.

        Args:
            ticket: the newcomer.
            now: the instant.
            ahead_max: most waiters of its level and better ones, itself included.

        Returns:
            None: there was room. Another ticket: it was evicted for this one, of a strictly lower
            rank. `ticket` itself: there is no room and nobody of a lower rank to evict; nothing
            was changed.
        """
        rank = ticket.rank
        victim = None
        # Few wait in all: no need to count those of better levels.
        if self.length >= ahead_max and self.length_from(rank) >= ahead_max:
            victim = self.lowest_from(rank)
            if victim is None or rank <= victim.rank:
                return ticket
            self._discard(victim)
        elif self.length >= self._length_max:
            victim = self.lowest_from(0)
            if victim is None or rank <= victim.rank:
                return ticket
            self._discard(victim)
        level = self._levels[rank >> LEVEL_BITS]
        flow_hash = ticket.flow_hash
        hand = self._hand_of(flow_hash) if flow_hash else _ANONYMOUS_HAND
        level.add(ticket, hand, now, self._served)
        self._occupied |= 1 << level.index
        self.length += 1
        self._swell.rise(self.length)
        self._expiries.add(ticket, self.length)
        return victim

    def pop(
        self,
        now: Instant,
        cost_max: int = UNBOUNDED,
        slots: SlotShare | None = None,
        newest: bool = False,
    ) -> Ticket | None:
        """The best waiter, removed; None when it costs more than `cost_max`, or nobody waits.

        Of its level it is the oldest; if asked for, and in a starved level, the `newest`. Those
        that are over their share of `slots` come after others of their level. It may have
        expired: `expire` comes first.
        """
        if not self.length:
            return None
        level = self._levels[self._occupied.bit_length() - 1]
        if now - level.period_at >= self._lifo_after_ns:
            level.end_period(now, self._served)
        ticket = level.take(newest or level.is_starved, cost_max, slots)
        if ticket is not None:
            self._served += 1
            level.served += 1
            self._swell.serve()
            self._expiries.remove(ticket)
            self._count_out(level)
        return ticket

    def remove(self, ticket: Ticket) -> bool:
        """Take out a waiter whose client left; False if it waits no longer. O(1)."""
        if ticket.queue_slot is None:
            return False
        self._discard(ticket)
        return True

    def expire(self, now: Instant) -> Sequence[Ticket]:
        """Take out the waiters whose `expires_at` is not after `now`, soonest first."""
        ticket = self._expiries.soonest()
        if ticket is None or ticket.expires_at > now:
            return _NO_TICKETS
        expired = []
        while ticket is not None and ticket.expires_at <= now:
            self._discard(ticket)
            expired.append(ticket)
            ticket = self._expiries.soonest()
        return expired

    def next_expiry_at(self) -> Instant | None:
        """When the first waiter expires, or None."""
        ticket = self._expiries.soonest()
        return None if ticket is None else ticket.expires_at

    def is_swelling(self) -> bool:
        """Whether it grows because clearly more is asked for than is served."""
        return self._swell.is_on(self.length)

    def passed_by_since(self) -> Instant | None:
        """Since when newer ones have been served before the oldest waiter; None: they are not.

        O(shards) while they are.
        """
        swell, length = self._swell, self.length
        if not length or not (swell.is_on(length) and swell.is_gentle(length)):
            return None
        return min([level.oldest_at() for level in self._levels if level.length])

    def worst_rank(self) -> int:
        """The highest rank that evicts nobody: what a newcomer to a full queue has to exceed.

        It is the lowest of those that wait; -1 when nobody waits, 4095 when nobody ever may.
        """
        lowest = self.lowest_from(0)
        if lowest is not None:
            return lowest.rank
        return -1 if self._length_max > 0 else RANKS - 1

    def fair_victim(self, ticket: Ticket, newest: bool = False) -> Ticket | None:
        """Whom fairness between flows would evict for a ticket that `push` has just given back.

        A waiter of the same level and another flow, in the longest shard, when that shard stays no
        shorter than the newcomer's becomes: the last in line, which is the oldest where the
        `newest` are served. It is still waiting. Neither rank nor length proves that it has to
        leave: the caller checks that its flow is over its fair share, removes it, and pushes the
        newcomer again.
        """
        level = self._levels[ticket.rank >> LEVEL_BITS]
        if not level.length:
            return None
        victim = level.longest(newest=not (newest or level.is_starved))
        flow_hash = ticket.flow_hash
        if victim.flow_hash == flow_hash:
            return None
        hand = self._hand_of(flow_hash) if flow_hash else _ANONYMOUS_HAND
        left = level.queued_with(victim) - victim.cost
        return victim if left >= level.shortest_queued(hand) + ticket.cost else None

    def is_outranked_by(self, rank: int) -> bool:
        """Whether a newcomer of this rank would be served before all that wait, if any do."""
        return rank >> LEVEL_BITS >= self._occupied.bit_length()

    def length_from(self, rank: int) -> int:
        """Waiters of the level of this rank and of better ones: what may be served before it."""
        index = rank >> LEVEL_BITS
        if not self._occupied & (1 << index) - 1:
            return self.length
        return sum([level.length for level in self._levels[index:]])

    def apply(self, policy: QueuePolicy) -> Sequence[Ticket]:
        """Take a new policy; returns the waiters for whom there is no room left, worst first.

        Each of them ranks at most `worst_rank()`, then and afterwards. Other waiters stay where
        they are: of fewer shards the surplus drains, new hands hold for newcomers.
        """
        self._set_policy(policy)
        victims = []
        while self.length > max(0, policy.length_max):
            victim = self._worst_level().lowest()
            self._discard(victim)
            victims.append(victim)
        return victims

    def lowest_from(self, rank: int) -> Ticket | None:
        """The waiter of lowest rank among those of the level of this rank and better ones."""
        # Without the bits of worse levels the lowest one that is left is the worst that counts.
        index = rank >> LEVEL_BITS
        occupied = self._occupied >> index << index
        return self._levels[(occupied & -occupied).bit_length() - 1].lowest() if occupied else None

    def trim(self, ahead_max: Sequence[int]) -> list[tuple[Ticket, int]]:
        """Take out the lowest ranks until each level has at most `ahead_max` with better ones.

        Of equals the oldest go: they have the least time left. Returns each of them with how many
        waited of its level and better ones. O(waiters log waiters).
        """
        victims = []
        for level, most in zip(self._levels, ahead_max, strict=True):
            ahead = self.length_from(level.index << LEVEL_BITS)
            for victim in level.by_rank()[: max(0, ahead - most)]:
                self._discard(victim)
                victims.append((victim, ahead))
                ahead -= 1
        return victims

    def overdue(self, wait_max_ns: Sequence[int], now: Instant) -> list[Ticket]:
        """Take out those that have waited longer than their level may, the best level first.

        One stays where else somebody of a lesser level would be served next. O(waiters).
        """
        victims = []
        is_kept = False
        for level in reversed(self._levels):
            late = []
            if level.length and wait_max_ns[level.index] < UNBOUNDED:
                most_ns = wait_max_ns[level.index]
                late = [one for one in level.by_rank() if now - one.arrived_at > most_ns]
                if len(late) == level.length < self.length and not is_kept:
                    late.pop()
            is_kept = is_kept or level.length > len(late)
            for ticket in late:
                self._discard(ticket)
            victims += late
        return victims

    def _worst_level(self) -> Level:
        occupied = self._occupied
        return self._levels[(occupied & -occupied).bit_length() - 1]

    def _discard(self, ticket: Ticket) -> None:
        shard: Shard = ticket.queue_slot
        level = shard.level
        level.discard(ticket)
        self._expiries.remove(ticket)
        self._count_out(level)

    def _count_out(self, level: Level) -> None:
        self.length -= 1
        self._swell.fall(self.length)
        if not level.length:
            self._occupied ^= 1 << level.index
            level.forget_ranks()
            if not self.length:
                self._expiries.clear()
