"""What a proxy's own retries are paid from, so that they cannot multiply an outage.

A token bucket that successes fill: each answered request earns a share of one retry, a small
floor per second lets a quiet service retry too, and what is saved is bounded (Finagle's
`RetryBudget`; the token buckets of the AWS SDKs follow the same rule). While a service fails nobody
earns, so that what is added to its load stays below that share.

Besides the bucket of all there is one per tenant in a small fixed table, by hash: a retry needs a
token of both. A tenant has saved at most half of what all have, so that one whose requests all fail
leaves the others theirs.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.policy import RetryPolicy
from shedproxy.core.units import NS_PER_S, Instant

__all__ = ["RetryBudget"]

_TOKEN: Final = 1_000_000
"""One retry. Shares are parts per million of it."""
_SAVED_MAX: Final = 100
"""Retries saved at most by all; twice what the floor gives in ten seconds if that is more."""
_FLOOR_SECONDS: Final = 10
"""A new budget holds what the floor gives in this many seconds."""
_TENANT_BITS: Final = 8
"""2**8 tenants have a bucket of their own; where two meet they share it."""
_SHIFT: Final = 30 - _TENANT_BITS
_GOLDEN: Final = 0x278DDE6D
"""2**30 over the golden ratio (Knuth, vol. 3, 6.4, multiplicative hashing). Factors of 30 bits,
which compiled code multiplies without a call."""
_MASK: Final = 0x3FFFFFFF


class RetryBudget:
    """The bucket of all and those of tenants. Time is an argument; constant memory."""

    __slots__ = (
        "_budget_ppm",
        "_floor_rps",
        "_saved",
        "_saved_max",
        "_seen_at",
        "_tenant_saved",
        "_tenant_saved_max",
        "_tenant_seen_at",
    )

    def __init__(self, policy: RetryPolicy, *, now: Instant) -> None:
        """A budget that holds ten seconds of the floor."""
        self.apply(policy)
        self._saved = policy.floor_rps * _FLOOR_SECONDS * _TOKEN
        self._seen_at = now
        self._tenant_saved = [self._saved // 2] * (1 << _TENANT_BITS)
        self._tenant_seen_at = [now] * (1 << _TENANT_BITS)

    def apply(self, policy: RetryPolicy) -> None:
        """Take a new policy; what was saved stays."""
        self._budget_ppm = policy.budget_ppm
        self._floor_rps = policy.floor_rps
        saved_max = max(_SAVED_MAX, 2 * _FLOOR_SECONDS * policy.floor_rps)
        self._saved_max = saved_max * _TOKEN
        self._tenant_saved_max = self._saved_max // 2

    def earn(self, flow_hash: int) -> None:
        """A request of this tenant (64-bit hash) was answered."""
        earned = self._budget_ppm
        saved = self._saved
        if saved < self._saved_max:
            self._saved = saved + earned
        index = ((flow_hash & _MASK) * _GOLDEN & _MASK) >> _SHIFT
        tenants = self._tenant_saved
        saved = tenants[index]
        if saved < self._tenant_saved_max:
            tenants[index] = saved + earned

    def spend(self, flow_hash: int, *, now: Instant) -> bool:
        """Pay for one retry of this tenant, or False when all or it have not saved enough."""
        index = ((flow_hash & _MASK) * _GOLDEN & _MASK) >> _SHIFT
        saved = _grown(self._saved, self._saved_max, self._floor_rps, now - self._seen_at)
        tenant_saved = _grown(
            self._tenant_saved[index],
            self._tenant_saved_max,
            self._floor_rps,
            (now - self._tenant_seen_at[index]) // 2,
        )
        is_paid = saved >= _TOKEN and tenant_saved >= _TOKEN
        cost = _TOKEN if is_paid else 0
        self._saved = saved - cost
        self._tenant_saved[index] = tenant_saved - cost
        self._seen_at = self._tenant_seen_at[index] = now
        return is_paid

    @property
    def saved_count(self) -> int:
        """Whole retries that all have saved, without what the floor has added since the last."""
        return self._saved // _TOKEN


def _grown(saved: int, saved_max: int, floor_rps: int, elapsed_ns: int) -> int:
    """What the floor makes of savings after a time."""
    return min(max(saved, saved_max), saved + floor_rps * _TOKEN * elapsed_ns // NS_PER_S)
