"""A refusal with a value of its own in every field, and a ring that records it."""

from __future__ import annotations

from shedproxy.core import Criticality, Instant, Mode, Rejected, RejectReason, RequestInfo
from shedproxy.observability.ring import RefusalRing

CHECKOUT = RequestInfo(
    route="checkout", cell="shop", criticality=Criticality.CRITICAL_PLUS, cost=3, is_retry=True
)


def refusal(reason=RejectReason.QUEUE_FULL, numbers=(16, 2100, 3000), **changes) -> Rejected:
    fields = {
        "request": CHECKOUT,
        "reason": reason,
        "at": Instant(123_456_789_012_345),
        "numbers": numbers,
        "in_flight": 8,
        "limit": 8,
        "queue_length": 16,
        "retry_after_ns": 2_000_000_000,
        "waited_ns": 5_000_000,
    }
    return Rejected(**(fields | changes))


def record(ring: RefusalRing, rejected: Rejected | None = None, wall_ns: int = 17) -> int:
    return ring.record(rejected or refusal(), cell=1, mode=Mode.ENFORCE, wall_ns=wall_ns)
