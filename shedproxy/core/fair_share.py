"""A tenant's fair share of a contended cell, in constant memory.

What each flow has in the system is kept in a count-min sketch whose counts also go down: a flow
adds its cost to one bucket of each row and takes the same away when it leaves, so buckets are exact
sums and never drift. A flow's count is its smallest bucket: never too low, and too high only where
every one of its buckets is shared at that moment.

How many flows are active follows from how many buckets are in use (linear counting, Whang et al.
1990): n = -m ln(1 - used/m), averaged over the rows. A few flows are counted exactly, a thousand
within a few percent; the estimate stops growing at ln(m) flows per bucket, when all are in use.
"""

from __future__ import annotations

import math
from typing import Final

from shedproxy.core.decision import Ticket
from shedproxy.core.policy import FairnessPolicy
from shedproxy.core.sharding import PLACE_BITS

__all__ = ["UNBOUNDED_SHARE", "FairShare", "SlotShare", "estimate_flows"]

UNBOUNDED_SHARE: Final = 1 << 62
"""The share while fairness is off: nothing reaches it."""

_BITS: Final = PLACE_BITS // 2
_BUCKETS: Final = 1 << _BITS
_MASK: Final = _BUCKETS - 1
_ROWS: Final = 2

_SLOT_BITS: Final = _BITS + 1
_SLOT_SHIFT: Final = PLACE_BITS - _SLOT_BITS


def estimate_flows(used: int, buckets: int) -> float:
    """How many flows probably fill `used` of `buckets` buckets when each picks one at random.

    With all in use the estimate is that of one bucket left: m ln m.
    """
    free = max(1, buckets - used)
    return buckets * math.log(buckets / free)


# Flows by buckets in use, summed over the rows: logarithms are not for the hot path.
_ESTIMATES: Final = (
    0,
    *(
        max(1, round(estimate_flows(used, _BUCKETS * _ROWS) / _ROWS))
        for used in range(1, _BUCKETS * _ROWS + 1)
    ),
)


class FairShare:
    """Who has how much in the system (in flight or waiting), and what an equal share is.

    A flow is known by its place (`sharding.place_of`), of which each row reads one half. Every
    `enter` is followed by one `leave` with the same place and cost.
    """

    __slots__ = ("_first", "_held", "_is_enabled", "_second", "_slack", "_squares", "_used")

    def __init__(self, policy: FairnessPolicy) -> None:
        self.apply(policy)
        self._first = [0] * _BUCKETS
        self._second = [0] * _BUCKETS
        self._used = 0
        """Buckets in use, of both rows."""
        self._held = self._squares = 0
        """What is in the system, and the squares of the first row's buckets, summed."""

    def apply(self, policy: FairnessPolicy) -> None:
        """Take a new policy; the counts stay."""
        self._is_enabled = policy.enabled
        self._slack = policy.slack

    def enter(self, place: int, cost: int) -> None:
        """A request of this flow, worth `cost` >= 1 slots, is in the system now."""
        row, index = self._first, place >> _BITS
        held = row[index]
        if not held:
            self._used += 1
        row[index] = held + cost
        self._held += cost
        self._squares += cost * (2 * held + cost)
        row, index = self._second, place & _MASK
        held = row[index]
        if not held:
            self._used += 1
        row[index] = held + cost

    def leave(self, place: int, cost: int) -> None:
        """It is gone: answered, refused while waiting, or abandoned.

        Raises:
            ValueError: it never entered with this cost; nothing was changed.
        """
        first, second = self._first, self._second
        high, low = place >> _BITS, place & _MASK
        left, left_too = first[high] - cost, second[low] - cost
        if left < 0 or left_too < 0:
            raise ValueError(f"the flow at {place} has less than {cost} in the system")
        first[high], second[low] = left, left_too
        self._held -= cost
        self._squares -= cost * (2 * left + cost)
        if not left:
            self._used -= 1
        if not left_too:
            self._used -= 1

    def in_system(self, place: int) -> int:
        """Slots this flow holds or waits for: exact, or too high by what shares all its buckets."""
        one, other = self._first[place >> _BITS], self._second[place & _MASK]
        return min(other, one)

    @property
    def largest_part(self) -> float:
        """No flow has more than this part of what is in the system, above 0 and at most 1.

        The root of the sum of squares: exact for a flood, too high for many alike.
        """
        held = self._held
        return math.sqrt(self._squares) / held if held else 1.0

    @property
    def flows_active(self) -> int:
        """Flows with something in the system: an estimate, at least 1 unless there is nothing."""
        return _ESTIMATES[self._used]

    def share(self, capacity: int, *, flows: int = 0) -> int:
        """The most one flow may have of `capacity` slots among `flows`, at least 1.

        ceil(slack x capacity / flows), `flows` being those active now unless the caller counts a
        newcomer in; `UNBOUNDED_SHARE` while fairness is off.
        """
        if not self._is_enabled:
            return UNBOUNDED_SHARE
        flows = flows or _ESTIMATES[self._used] or 1
        return max(1, math.ceil(self._slack * capacity / flows))


class SlotShare:
    """Of what `FairShare` counts, what is in flight: slots are shared too, not only places.

    One row: who is taken for somebody else loses a turn, and is not refused for it.
    """

    __slots__ = ("_held", "most")

    def __init__(self) -> None:
        self._held = [0] * (1 << _SLOT_BITS)
        self.most = UNBOUNDED_SHARE
        """Slots that a flow may hold while others wait: whoever asks `is_over` sets it."""

    def enter(self, place: int, cost: int) -> None:
        """A request of this flow takes its slots."""
        self._held[place >> _SLOT_SHIFT] += cost

    def leave(self, place: int, cost: int) -> None:
        """It gives them back."""
        self._held[place >> _SLOT_SHIFT] -= cost

    def is_over(self, ticket: Ticket) -> bool:
        """Whether a waiter's flow would hold more than `most` if it were served now."""
        place = max(0, ticket.place)
        return self._held[place >> _SLOT_SHIFT] + ticket.cost > self.most
