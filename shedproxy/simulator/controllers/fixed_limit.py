"""A limit without a queue: what all refusing references share, and the one that nothing moves."""

from __future__ import annotations

from shedproxy.core import Decision, Instant, RejectReason, RequestInfo
from shedproxy.simulator.controllers.ledger import Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["FixedControl", "LimitControl"]

_QUEUE_FULL = RejectReason.QUEUE_FULL


class LimitControl(Ledger):
    """Admits while fewer than `limit` slots are taken, else refuses at once.

    As in the originals the cost of the request itself is not asked for: the last one may exceed
    the limit by its cost less 1. Subclasses move `limit` and `baseline_ns`.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        """Slots, 0 or more; 0 refuses all."""
        self.baseline_ns = 0
        """The latency taken for that without load; 0: none."""

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run now, or no."""
        if self.in_flight >= self.limit:
            return self.reject(request, _QUEUE_FULL, now=now, limit=self.limit)
        expires_at = None if time_left_ns is None else Instant(now + time_left_ns)
        return self.admit(request, now=now, flow_hash=flow_hash, expires_at=expires_at)

    def reading(self) -> Reading:
        """The limit and the baseline as they are."""
        return Reading(self.limit, self.in_flight, 0, 0.0, self.baseline_ns)


class FixedControl(LimitControl):
    """The operator's number, for ever."""
