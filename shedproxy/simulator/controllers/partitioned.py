"""Netflix's partitioned limiter: guaranteed shares of one limit, and the rest to whoever comes.

Source: `AbstractPartitionedLimiter` of Netflix/concurrency-limits. A partition may use what others
leave; a request is refused where the limit is reached *and* its partition has its share, so that a
partition gets its share even while others hold more than theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from shedproxy.core import Decision, Instant, Outcome, Permit, RequestInfo, Verdict
from shedproxy.simulator.controllers.fixed_limit import LimitControl
from shedproxy.simulator.controllers.ledger import NO_VERDICTS

__all__ = ["PartitionedControl"]


class PartitionedControl(LimitControl):
    """A limit that is set from outside, in shares.

    Args:
        limit: slots in all.
        shares: by partition, above 0; they add up to 1 at most.
        partition_of: the partition of a request; None: it is let through and not counted.
    """

    def __init__(
        self,
        limit: int,
        *,
        shares: Mapping[str, float],
        partition_of: Callable[[RequestInfo], str | None],
    ) -> None:
        super().__init__(limit)
        self._shares = dict(shares)
        self._partition_of = partition_of
        self.busy = dict.fromkeys(self._shares, 0)
        """Slots that each partition holds."""

    def share_of(self, partition: str) -> int:
        """Slots that a partition is sure of, one or more."""
        # A share such as 0.07 of 100 is 7, whatever binary fractions make of it.
        return max(1, math.ceil(round(self.limit * self._shares[partition], 9)))

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run while there is room in all, or in the partition's own share."""
        partition = self._partition_of(request)
        if partition is None:
            permit = self.admit(request, now=now, flow_hash=flow_hash)
            self.in_flight -= request.cost
            return permit
        if self.busy[partition] < self.share_of(partition):
            decision: Decision = self.admit(request, now=now, flow_hash=flow_hash)
        else:
            decision = super().arrive(request, now=now, flow_hash=flow_hash)
        if isinstance(decision, Permit):
            self.busy[partition] += request.cost
        return decision

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """Back to its partition."""
        partition = self._partition_of(permit.request)
        if partition is None:
            permit.is_released = True
        else:
            self.give_back(permit)
            self.busy[partition] -= permit.cost
        return NO_VERDICTS
