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
from functools import lru_cache

from shedproxy.core.policy import FairnessPolicy

__all__ = ["UNBOUNDED_SHARE", "FairShare", "estimate_flows"]

UNBOUNDED_SHARE = 1 << 62
"""The share while fairness is off: nothing reaches it."""

_MULTIPLIER = 0x9E3779B97F4A7C15
_MASK_64 = (1 << 64) - 1


def estimate_flows(used: int, buckets: int) -> float:
    """How many flows probably fill `used` of `buckets` buckets when each picks one at random.

    With all in use the estimate is that of one bucket left: m ln m.
    """
    free = max(1, buckets - used)
    return buckets * math.log(buckets / free)


@lru_cache(maxsize=4)
def _estimates(buckets: int, hand: int) -> tuple[int, ...]:
    """Flows by buckets in use, summed over the rows; the same table for every cell."""
    return (
        0,
        *(
            max(1, round(estimate_flows(used, buckets * hand) / hand))
            for used in range(1, buckets * hand + 1)
        ),
    )


class FairShare:
    """Who has how much in the system (in flight or waiting), and what an equal share is.

    Every `enter` is followed by one `leave` with the same flow and cost.
    """

    __slots__ = ("_estimates", "_mask", "_policy", "_rows", "_used")

    def __init__(self, policy: FairnessPolicy, *, buckets: int = 1024, hand: int = 2) -> None:
        """An empty sketch of `hand` rows of `buckets` buckets.

        Args:
            policy: whether shares bind, and their slack; `apply` changes it.
            buckets: per row, a power of two from 2 to 65 536.
            hand: rows, 1 to 4: in how many buckets each flow is counted.

        Raises:
            ValueError: a bound is broken.
        """
        if buckets & (buckets - 1) or not 2 <= buckets <= 65_536:
            raise ValueError(f"buckets is {buckets}; it must be a power of two from 2 to 65 536")
        if not 1 <= hand <= 4:
            raise ValueError(f"hand is {hand}; it must be 1 to 4")
        self._policy = policy
        self._mask = buckets - 1
        # Multiplying spreads close hashes (Fibonacci hashing); each row reads its own bits of the
        # product, from the top.
        self._rows = tuple(
            ([0] * buckets, 64 - self._mask.bit_length() * (row + 1)) for row in range(hand)
        )
        self._used = 0
        # Buckets in use, summed over the rows -> flows. Logarithms are not for the hot path.
        self._estimates = _estimates(buckets, hand)

    def apply(self, policy: FairnessPolicy) -> None:
        """Take a new policy; the counts stay."""
        self._policy = policy

    def enter(self, flow_hash: int, cost: int) -> None:
        """A request of this flow (64-bit hash), worth `cost` >= 1 slots, is in the system now."""
        mask = self._mask
        place = flow_hash * _MULTIPLIER & _MASK_64
        for row, shift in self._rows:
            index = place >> shift & mask
            held = row[index]
            if not held:
                self._used += 1
            row[index] = held + cost

    def leave(self, flow_hash: int, cost: int) -> None:
        """It is gone: answered, refused while waiting, or abandoned.

        Raises:
            ValueError: it never entered with this cost; nothing was changed.
        """
        mask = self._mask
        place = flow_hash * _MULTIPLIER & _MASK_64
        is_short = False
        for row, shift in self._rows:
            index = place >> shift & mask
            row[index] = left = row[index] - cost
            if not left:
                self._used -= 1
            elif left < 0:
                is_short = True
        if is_short:
            self.enter(flow_hash, cost)  # undoes all of it
            raise ValueError(f"flow {flow_hash:#x} has less than {cost} in the system")

    def in_system(self, flow_hash: int) -> int:
        """Slots this flow holds or waits for: exact, or too high by what shares all its buckets."""
        mask = self._mask
        place = flow_hash * _MULTIPLIER & _MASK_64
        least = UNBOUNDED_SHARE
        for row, shift in self._rows:
            count = row[place >> shift & mask]
            if count < least:  # noqa: PLR1730 - min() costs more than the row
                least = count
        return least

    @property
    def flows_active(self) -> int:
        """Flows with something in the system: an estimate, at least 1 unless there is nothing."""
        return self._estimates[self._used]

    def share(self, capacity: int, *, flows: int | None = None) -> int:
        """The most one flow may have of `capacity` slots among `flows`, at least 1.

        ceil(slack x capacity / flows), `flows` being those active now unless the caller counts a
        newcomer in; `UNBOUNDED_SHARE` while fairness is off.
        """
        if not self._policy.enabled:
            return UNBOUNDED_SHARE
        flows = flows or self._estimates[self._used] or 1
        return max(1, math.ceil(self._policy.slack * capacity / flows))
