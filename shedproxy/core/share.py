"""One limit for the workers of a host: each writes its own words, and all read everybody's.

A worker takes a slot when the sum of what all have in flight is below the limit. It looks first and
writes after, without a lock, so that workers that look at the same moment exceed the limit by one
request each at most. Whoever waits says since when, before it looks a last time: whoever frees
a slot afterwards sees that and wakes the one that has gone longest without a slot, which goes
first. Of what is free each that waits longer has as many slots as its first waiter takes, one as a
rule; the rest is for whoever asks. A worker
that does not come for its slot (it is dead, frozen or busy) is passed over until it asks anew, as
it does ten times a second while somebody waits there. What one has in flight that has told nothing
for two seconds is not counted: others get its slots.

The limit is that of one worker, the leader, whose samples are the most; the others follow, hand on
to it what they measure (`core/relay`), and begin where it was when they lead. Numbers of the leader
count for more, so that two workers with much the same traffic do not take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shedproxy.core.relay import RELAY_WORDS, SampleRelay
from shedproxy.core.units import NS_PER_MS, NS_PER_S, Instant

__all__ = ["LOOK_NS", "SHARE_FIELDS", "SHARE_WORDS", "SILENT_NS", "CellShare", "reserve"]

SHARE_FIELDS: Final = 7
"""Words of a worker per cell: in flight, waiting since, limit, evidence, told at, what of it in
flight is of other cells, and how many slots are waited for at once (0: one)."""

SHARE_WORDS: Final = SHARE_FIELDS + RELAY_WORDS
"""With the ring by which it hands on what it measures (`core/relay`), which comes after all fields
of all workers."""

_TOLD: Final = 4

LOOK_NS: Final = 5 * NS_PER_MS
"""Who waits looks again this often; who does not come for a slot by then is passed over."""

SILENT_NS: Final = 2 * NS_PER_S
"""What a worker has in flight that has told nothing for so long is counted no more: it stands
still. When it goes on it is counted again within a tenth of a second."""

_TELL_NS: Final = 100 * NS_PER_MS
_STALE_NS: Final = NS_PER_S
"""A worker that has told nothing for so long leads no more."""
_LEAD: Final = 2
"""The leader's evidence counts so much more."""


def reserve(words: memoryview[int], *, workers: int, own: int, slots: int, now: Instant) -> None:
    """Slots are taken for a worker that cannot write here itself; it is done again each second."""
    words[own] = slots
    words[_TOLD * workers + own] = now


def _never(_worker: int) -> bool:
    return False


class CellShare:
    """One worker's view of one cell of the page.

    Args:
        words: `SHARE_FIELDS` rows of `workers` integers of eight bytes, shared by all; then
            `RELAY_WORDS` of each worker.
        workers: how many have words, successors included.
        own: which words are ours.
        parts: among how many workers the limit is told apart in metrics.
        part: which of these we are.
        wake: called with the worker to wake; it looks then.
        is_due: whether a worker that was to be woken has yet to be told so.
    """

    __slots__ = (
        "_both",
        "_claimed",
        "_claims",
        "_evidence",
        "_guests",
        "_in_flight",
        "_is_due",
        "_limits",
        "_own",
        "_part",
        "_parts",
        "_passed_over",
        "_samples",
        "_silent",
        "_told",
        "_told_at",
        "_wake",
        "_wanted",
        "_wants",
        "_was_elected",
        "_workers",
        "_yields_since",
        "_yields_to",
        "leader",
        "relay",
    )

    def __init__(
        self,
        words: memoryview[int],
        *,
        workers: int,
        own: int,
        parts: int,
        part: int,
        wake: Callable[[int], None],
        is_due: Callable[[int], bool] = _never,
    ) -> None:
        rows = [words[row * workers : (row + 1) * workers] for row in range(SHARE_FIELDS)]
        self._in_flight, self._claims, self._limits, self._evidence, self._told = rows[:5]
        self._guests, self._wants = rows[5:]
        start = SHARE_FIELDS * workers
        rings = words[start : start + RELAY_WORDS * workers]
        self.relay = SampleRelay(rings, workers=workers, own=own)
        """What the workers have measured."""
        self._both = words[0 : 2 * workers]
        """In flight and claims: to read one word costs as much as to read them all."""
        self._claimed = self._claims[own]
        """What our claim stands at: nobody else writes there."""
        self._wanted = self._wants[own]
        """And what is waited for at once."""
        self._workers = workers
        self._own = own
        self._parts = parts
        self._part = part
        self._wake = wake
        self._is_due = is_due
        self._passed_over = [0] * workers
        """The claim that each worker did not come for."""
        self._yields_to = 0
        self._yields_since = 0
        self._samples = 0
        self._silent: tuple[int, ...] = ()
        """Workers whose slots are not counted."""
        self._told_at = -_TELL_NS
        self.leader = own
        """Whose limit is in force."""
        self._was_elected = False
        """When that was asked last. Who has just come brings no limit that others should take."""

    # --- slots ---

    def total(self) -> int:
        """What all workers have in flight."""
        return self._sum(self._in_flight.tolist())

    def _sum(self, in_flight: list[int]) -> int:
        total = 0
        for worker in range(self._workers):
            total += in_flight[worker]
        for worker in self._silent:
            total -= in_flight[worker]
        return total

    def room(self, cost: int, limit: int, now: Instant) -> int:
        """What all have in flight, if there is room for so much more and it is no other worker's;
        else -1. Who is wider than the whole limit runs when it is alone, or it never would.
        """
        words = self._both.tolist()
        total = self._sum(words)
        if total and total + cost > limit:
            return -1
        for word in range(self._workers, 2 * self._workers):
            if words[word]:
                return -1 if self.must_yield(now, limit - total) else total
        return total

    def others(self) -> int:
        """What the others have in flight."""
        return self.total() - self._in_flight[self._own]

    def put(self, in_flight: int) -> None:
        """What we have in flight."""
        self._in_flight[self._own] = in_flight

    def guests(self) -> int:
        """What all workers have in flight for other cells."""
        guests = sum(self._guests)
        for worker in self._silent:
            guests -= self._guests[worker]
        return guests

    def put_guests(self, guests: int) -> None:
        """What we have in flight for other cells; a part of what we have in flight."""
        self._guests[self._own] = guests

    def claim(self, since: int) -> None:
        """Somebody waits here, and got no slot since; 0: nobody waits."""
        if since != self._claimed:
            if self._wanted:
                self._wanted = self._wants[self._own] = 0
            self._claimed = self._claims[self._own] = since

    def want(self, slots: int) -> None:
        """Whoever is first here takes so many, at least, and there are fewer.

        It came for them, so it is not passed over: they are left to it as they get free. One by one
        they would never be enough.
        """
        if slots != self._wanted:
            self._wanted = self._wants[self._own] = slots
        self._renew()

    def _renew(self) -> None:
        self._claimed = self._claims[self._own] = self._claimed + 1

    def claims(self) -> int:
        """In how many other workers somebody waits, and would come if he were woken."""
        claims, count = self._claims.tolist(), 0
        for worker in range(self._workers):
            claim = claims[worker]
            if claim and worker != self._own and claim != self._passed_over[worker]:
                count += 1
        return count

    def first(self) -> int:
        """The other worker that has waited longest for a slot, if longer than we; or -1."""
        claims, own = self._claims.tolist(), self._own
        best, oldest = -1, claims[own]
        for worker in range(self._workers):
            claim = claims[worker]
            if not claim or worker == own or claim == self._passed_over[worker]:
                continue
            if not oldest or claim < oldest or (claim == oldest and worker < own and best < 0):
                best, oldest = worker, claim
        return best

    def must_yield(self, now: Instant, free: int) -> bool:
        """Whether the slots that are free are others': each that waits longer has what it wants.

        The first of them is told so, and has `LOOK_NS` from then to come for it. What is free
        beyond that is nobody's: one slot at a time, from worker to worker, would leave most of them
        unused.
        """
        first = self.first()
        while first >= 0 and free <= self._ahead():
            claim = self._claims[first]
            if claim != self._yields_to or self._is_due(first):
                self._yields_to = claim
                self._yields_since = now
            if now - self._yields_since < LOOK_NS:
                return True
            self._passed_over[first] = claim
            first = self.first()
        return False

    def _ahead(self) -> int:
        """How many slots others want that wait longer than we, and would come if woken."""
        claims, own = self._claims.tolist(), self._own
        mine, count = claims[own], 0
        for worker in range(self._workers):
            claim = claims[worker]
            if not claim or worker == own or claim == self._passed_over[worker]:
                continue
            if not mine or claim < mine or (claim == mine and worker < own):
                count += self._wants[worker] or 1
        return count

    def pass_on(self, limit: int) -> None:
        """Wake the worker that is first in line, if there is room for it."""
        first = self.first()
        if first >= 0:
            total = self.total()
            if total < limit or not total:
                self._wake(first)

    # --- the limit ---

    def on_sample(self) -> None:
        """We learnt something."""
        self._samples += 1

    def cut(self, *, parts: int, part: int) -> None:
        """The limit is told apart among others than before."""
        self._parts = parts
        self._part = part

    def part_of(self, limit: int) -> int:
        """What we show of a limit, so that the parts of all workers add up to it."""
        return limit // self._parts + (self._part < limit % self._parts)

    @property
    def leads(self) -> bool:
        """Whether the limit in force is ours."""
        return self.leader == self._own

    def leader_limit(self) -> int:
        """The leader's limit as told last; 0: it has told none."""
        return self._limits[self.leader]

    def tell(self, limit: int) -> None:
        """Our limit, or the one that we follow."""
        self._limits[self._own] = limit

    def elect(self, limit: int, now: Instant) -> None:
        """Ten times a second: tell our evidence, and see who leads."""
        if now - self._told_at < _TELL_NS:
            return
        own = self._own
        if self._claimed:
            # Who was busy when a slot was his, and has none in flight whose end would wake him,
            # would be passed over for as long as somebody waits here.
            self._renew()
        # Who was held up himself cannot say who else is.
        was_held_up = now - self._told_at > _STALE_NS
        self._told_at = now
        # Of a second or so; the rest is forgotten.
        self._samples -= self._samples // 8
        self._limits[own] = limit
        self._evidence[own] = (self._samples + 1) * (_LEAD if self._was_elected else 1)
        self._told[own] = now
        best = own
        silent: list[int] = []
        for worker in range(self._workers):
            told_at = self._told[worker]
            if told_at and now - told_at > SILENT_NS and not was_held_up:
                silent.append(worker)
            if not self._limits[worker] or now - told_at > _STALE_NS:
                continue
            ahead = self._evidence[worker] - self._evidence[best]
            if ahead > 0 or (not ahead and worker < best):
                best = worker
        self.leader, self._was_elected = best, best == own
        self._silent = tuple(silent)
