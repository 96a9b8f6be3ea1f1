"""No admission control: what every other controller has to be better than."""

from __future__ import annotations

import math

from shedproxy.core import Decision, Instant, RequestInfo
from shedproxy.simulator.controllers.ledger import Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["NoControl"]


class NoControl(Ledger):
    """Admits all."""

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run now."""
        expires_at = None if time_left_ns is None else Instant(now + time_left_ns)
        return self.admit(request, now=now, flow_hash=flow_hash, expires_at=expires_at)

    def reading(self) -> Reading:
        """What is in flight; the limit is infinite."""
        return Reading(math.inf, self.in_flight, 0, 0.0, 0)
