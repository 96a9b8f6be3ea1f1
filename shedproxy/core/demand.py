"""What is asked of a cell and what it can do: two rates, and the ranks of those who ask.

Capacity is what ended per second *while somebody was waiting*: a stopwatch runs from the first
waiter to the last, so that a cell with spare slots is not taken for a slow one. It forgets over a
thousand ends of work; the rate of demand over the time these take, half a minute at most.

Pace is the same without stalls: a service that pauses, in a collection of garbage say, ends nothing
for a while and then goes on as before. Where load is low waiters are there in pauses only, so that
capacity alone would tell what the pauses are like. And where the limit has risen since somebody
waited, more slots are taken to do more, until it is seen what they do: the pace of a cell that
began with a few is not that of the service. How long a queue takes from now on is told by pace, how
much has to be refused in the long run by capacity.

Knows nothing of queues, limits or clocks: it is told counts and the time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from shedproxy.core.request import LEVEL_BITS, LEVELS, RANKS
from shedproxy.core.units import NS_PER_S, Instant

__all__ = ["LASTING_S", "MEMORY_ENDS", "PPM", "Demand"]

PPM: Final = 1_000_000

_STALL_SERVICES: Final = 4
"""No end of work for so many services of all slots is a stall: slots that began together end
together, and a slow request ends late."""
_STALL_CHANCE: Final = 12
"""And for so many mean times between two ends: chance does that once in exp(12)."""
_LEVEL_RANKS: Final = 1 << LEVEL_BITS
MEMORY_ENDS: Final = 1000.0
"""Ends of work after which a rate weighs a third of what it did."""
_KNOWN_ENDS: Final = 64
"""Chance moves the count of so many ends by an eighth."""
_SURPRISE: Final = 3.0
"""Standard deviations by which more came than chance explains."""
_LASTING_ARRIVALS, LASTING_S = 16, 1.0
"""So few may be no more than a burst, unless they came in so long a time."""
_QUEUED_MIN_S: Final = 0.1
_PACED: Final = 8
"""Periods that a pause found later may have begun or ended in."""
_MEMORY_MIN_S: Final = 0.02
_MEMORY_MAX_S: Final = 30.0
_HISTORY: Final = 8_192
"""Arrivals per generation of the rank histogram; the level sees one to two generations."""
_HISTORY_MIN: Final = 256
_HISTORY_NS: Final = 5 * NS_PER_S
"""A generation of at least `_HISTORY_MIN` ends after this long: mixes of classes change."""
_ZEROES: Final = [0] * RANKS


class Demand:
    """Counts with integer additions; rates and cuts are computed once per period."""

    __slots__ = (
        "_asked_before",
        "_busy_ns",
        "_busy_s",
        "_ended_total",
        "_offered_s",
        "_offered_total",
        "_older",
        "_older_by_level",
        "_paced",
        "_paced_s",
        "_queued_arrivals",
        "_queued_at",
        "_queued_from",
        "_recent",
        "_slots",
        "_slots_total",
        "_starved_ns",
        "_still",
        "_still_s",
        "_stood_ns",
        "_turned_arrivals",
        "_turned_at",
        "arrivals",
        "asked",
        "busy_since",
        "ended",
        "period_s",
        "starved_share",
        "starved_since",
        "updated_at",
        "waited_at",
    )

    def __init__(self, *, now: Instant) -> None:
        self.updated_at = now
        """When the last period ended."""
        self.arrivals = 0
        """Arrivals that counted as demand, since ever."""
        self.waited_at = 0
        """`arrivals` when somebody was waiting last."""
        self.asked = 0
        """Slots asked for in this period."""
        self._asked_before = 0
        """And before it, since ever."""
        self._queued_at = now
        """Since when somebody has waited without a break, if anybody waits."""
        self._queued_arrivals = 0
        """`arrivals` by then."""
        self._queued_from = 0
        """And what had been asked for, since ever."""
        self.ended = 0
        """Slots whose work ended while somebody waited, in this period: whoever frees them adds."""
        self.busy_since = -1
        """Since when somebody has been waiting; -1: nobody is."""
        self._busy_ns = 0
        self.starved_since = -1
        """Since when slots of the service have been idle for want of requests; -1: none is."""
        self._starved_ns = 0
        self.starved_share = 0.0
        """Part of the last period in which slots were idle."""
        self.period_s = 0.0
        """How long the last period was."""
        # The rank histogram: this generation, and the one before it.
        self._recent = [0] * RANKS
        self._older = [0] * RANKS
        self._older_by_level = [0] * LEVELS
        self._turned_at = now
        self._turned_arrivals = 0
        # Decayed totals, and the seconds they were counted over.
        self._offered_total = 0.0
        self._offered_s = 0.0
        self._ended_total = 0.0
        self._busy_s = 0.0
        self._paced_s = 0.0
        """As `_busy_s`, without stalls."""
        self._slots = 1
        self._slots_total = 0.0
        """As `_ended_total`, times the slots there were."""
        self._still_s = 0.0
        """Of busy periods since one in which something ended."""
        self._still = (now, now)
        """From the first of these to the last."""
        self._stood_ns = 0
        """Of this period, in which the service is known to have stood still."""
        self._paced: deque[tuple[Instant, Instant]] = deque(maxlen=_PACED)
        """The last times that count in the pace."""

    @property
    def offered_rps(self) -> float:
        """Slots asked for per second, refused ones included."""
        return self._offered_total / self._offered_s if self._offered_s > 0 else 0.0

    @property
    def offered_error(self) -> float:
        """Standard deviation of `offered_rps` by chance alone, as a share of it."""
        # Of a count that fades, which is worth twice as many as are left of it.
        return 1.0 / math.sqrt(2.0 * max(1.0, self._offered_total))

    @property
    def capacity_rps(self) -> float:
        """Slots whose work ends per second while somebody waits; 0 until somebody has."""
        return self._ended_total / self._busy_s if self._busy_s > 0 else 0.0

    @property
    def pace_rps(self) -> float:
        """As `capacity_rps`, without stalls and with the slots there are now.

        0 until somebody has waited and work has ended.
        """
        if self._paced_s <= 0 or self._ended_total <= 0:
            return 0.0
        slots_before = self._slots_total / self._ended_total
        return self._ended_total / self._paced_s * max(1.0, self._slots / slots_before)

    def is_known(self, longest_ns: float) -> bool:
        """Whether the pace tells how long a queue takes: enough ended, or it was waited so long.

        The first ends tell of how it began: while a crowd is let in, few answers are looked at.
        """
        return self._ended_total >= _KNOWN_ENDS or self._busy_s * NS_PER_S >= longest_ns

    def stall_s(self, slots: int) -> float:
        """From which time without an end of work on these slots stand still; infinite: unknown."""
        rate = self.pace_rps or self.offered_rps
        return (_STALL_SERVICES * slots + _STALL_CHANCE) / rate if rate > 0 else math.inf

    def on_arrival(self, rank: int, cost: int) -> None:
        """An arrival that is not over its tenant's share: it counts as demand, refused or not."""
        self.arrivals += 1
        self.asked += cost
        self._recent[rank] += cost

    def saturate(self, now: Instant) -> None:
        """Somebody waits from now on."""
        if self.busy_since < 0:
            self.busy_since = self._queued_at = now
            self._queued_arrivals = self.arrivals
            self._queued_from = self._asked_before + self.asked

    def relieve(self, now: Instant) -> None:
        """Nobody waits any more."""
        if self.busy_since >= 0:
            self._busy_ns += now - self.busy_since
            self.busy_since = -1

    def starve(self, now: Instant) -> None:
        """Slots of the service are idle from now on, and nobody waits."""
        if self.starved_since < 0:
            self.starved_since = now

    def feed(self, now: Instant) -> None:
        """No slot is idle any more."""
        if self.starved_since >= 0:
            self._starved_ns += now - self.starved_since
            self.starved_since = -1

    def recount(self, least_s: float = 0.0) -> None:
        """The queue is too long: what filled it is the demand, if what was known cannot have.

        Rates are remembered for seconds, and a flood that comes after some idle ones, or after a
        trickle, would be taken for a little more than capacity until these are forgotten. A queue
        that is older than what is remembered tells nothing new, nor one that is younger than
        `least_s`. `update` comes first.
        """
        arrivals = self.arrivals - self._queued_arrivals
        # What comes in less may be no more than a burst.
        queued_s = max(_QUEUED_MIN_S, (self.updated_at - self._queued_at) / NS_PER_S)
        least = _KNOWN_ENDS if queued_s < LASTING_S else _LASTING_ARRIVALS
        if self.busy_since < 0 or arrivals < least:
            return
        if not least_s <= queued_s <= self._offered_s:
            return
        asked = self._asked_before - self._queued_from
        expected = self.offered_rps * queued_s * arrivals / max(1, asked)
        if arrivals - expected > _SURPRISE * math.sqrt(arrivals):
            self._offered_total, self._offered_s = float(asked), queued_s

    def stand_still(self, since: Instant, until: Instant) -> None:
        """Lately nothing ended between these instants, though work was under way."""
        for start, end in self._paced:
            stood_ns = min(until, end) - max(since, start)
            self._paced_s -= max(0, stood_ns) / NS_PER_S
        self._paced_s = max(0.0, self._paced_s)
        if self._still_s:
            start, end = self._still
            stood_ns = min(until, end) - max(since, start)
            self._still_s = max(0.0, self._still_s - max(0, stood_ns) / NS_PER_S)
        if self.busy_since >= 0:
            self._stood_ns += max(0, until - max(since, self.updated_at, self.busy_since))

    def update(self, now: Instant, slots: int = 1) -> None:
        """Close a period, in which there were so many slots."""
        self.period_s = elapsed_s = (now - self.updated_at) / NS_PER_S
        self.updated_at = now
        self._slots = slots
        if self.starved_since >= 0:
            self._starved_ns += now - self.starved_since
            self.starved_since = now
        if self.busy_since >= 0:
            self._busy_ns += now - self.busy_since
            self.busy_since = now
        if self._busy_ns:
            self.waited_at = self.arrivals
        if elapsed_s > 0:
            self.starved_share = self._starved_ns / NS_PER_S / elapsed_s
        self._starved_ns = 0
        memory_s = _MEMORY_MAX_S
        rate = self.capacity_rps or self.offered_rps
        if rate > 0:
            memory_s = min(_MEMORY_MAX_S, max(_MEMORY_MIN_S, MEMORY_ENDS / rate))
        kept = math.exp(-elapsed_s / memory_s)
        self._asked_before += self.asked
        self._offered_total = self._offered_total * kept + self.asked
        self._offered_s = self._offered_s * kept + elapsed_s
        self.asked = 0
        # What ended at the instant at which somebody came took none of the time that counts.
        if self._busy_ns:
            busy_s = self._busy_ns / NS_PER_S
            stood_s = min(busy_s, self._stood_ns / NS_PER_S)
            busy_from = Instant(now - self._busy_ns)
            is_stall = self._still_s >= self.stall_s(slots)
            # Capacity is forgotten by use alone: an idle hour says nothing about it.
            kept = math.exp(-self.ended / MEMORY_ENDS)
            self._ended_total = self._ended_total * kept + self.ended
            self._slots_total = self._slots_total * kept + self.ended * slots
            self._busy_s = self._busy_s * kept + busy_s
            if self.ended:
                if self._still_s and not is_stall:
                    self._paced_s += self._still_s
                    self._paced.append(self._still)
                self._paced_s = self._paced_s * kept + busy_s - stood_s
                self._paced.append((busy_from, now))
                self._still_s = 0.0
            else:
                self._still = (self._still[0] if self._still_s else busy_from, now)
                self._still_s += busy_s - stood_s
        self.ended = self._busy_ns = self._stood_ns = 0
        arrivals = self.arrivals - self._turned_arrivals
        if arrivals >= _HISTORY or (
            arrivals >= _HISTORY_MIN and now - self._turned_at >= _HISTORY_NS
        ):
            self._turn(now)

    def _turn(self, now: Instant) -> None:
        """Begin a generation of the histogram in place of the older one."""
        self._recent, self._older = self._older, self._recent
        self._recent[:] = _ZEROES
        self._older_by_level = _by_level(self._older)
        self._turned_at = now
        self._turned_arrivals = self.arrivals

    def by_level(self) -> list[int]:
        """Slots that were asked for lately, per level."""
        recent = _by_level(self._recent)
        return [new + old for new, old in zip(recent, self._older_by_level, strict=True)]

    def cut(self, share: float, by_level: Sequence[int]) -> tuple[int, int]:
        """The rank below which lies `share` (0..1) of demand, and the ppm of the rank itself."""
        left = share * sum(by_level)
        level = 0
        while level < LEVELS - 1 and left >= by_level[level]:
            left -= by_level[level]
            level += 1
        start = level * _LEVEL_RANKS
        end = start + _LEVEL_RANKS
        recent = list(accumulate(self._recent[start:end]))
        older = list(accumulate(self._older[start:end]))
        places = range(_LEVEL_RANKS - 1)
        index = bisect_right(places, left, key=lambda place: recent[place] + older[place])
        rank = start + index
        count = self._recent[rank] + self._older[rank]
        before = recent[index] + older[index] - count
        part = (left - before) / count if count else 0.0
        return rank, int(min(1.0, max(0.0, part)) * PPM)


def _by_level(histogram: Sequence[int]) -> list[int]:
    return [sum(histogram[start : start + _LEVEL_RANKS]) for start in range(0, RANKS, _LEVEL_RANKS)]
