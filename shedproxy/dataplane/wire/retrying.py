"""Whether a request may be sent again: the rules, and the budget that it is paid from.

What was provably not sent may be; what may have been seen only if it does the same when done twice
and all of it is still held. An answer that began ends it, and so does a deadline. Nothing is sent
again while the cell is in overload. The one exception to budget and overload is the first request
that met the upstream's close of an idle connection: nobody has worked on it, and it costs no more
than if the connection had never been there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shedproxy.core import Instant, RetryBudget, RetryPolicy
from shedproxy.observability.metric import RetryCause, RetryDenial

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.ending import Ending

__all__ = ["Retries"]


class Retries:
    """Of one cell."""

    __slots__ = ("_attempts_max", "_methods", "budget")

    def __init__(self, policy: RetryPolicy, *, now: Instant) -> None:
        self.budget = RetryBudget(policy, now=now)
        self.apply(policy)

    def apply(self, policy: RetryPolicy) -> None:
        """Take a new policy; what was saved stays."""
        self._attempts_max = policy.attempts_max
        self._methods = frozenset(method.encode() for method in policy.methods)
        self.budget.apply(policy)

    def may_repeat(self, exchange: Ending) -> bool:
        """Whether the request could be sent again although it may have been seen."""
        return (
            exchange.is_replayable
            and exchange.method in self._methods
            and exchange.retries + 1 < self._attempts_max
        )

    def pay(self, exchange: Ending, cause: RetryCause, *, now: Instant) -> bool:
        """Whether the request is to be sent again now; if so it is counted and paid."""
        if cause is not RetryCause.CONNECT:
            if not self.may_repeat(exchange):
                return False
        elif exchange.retries + 1 >= self._attempts_max:
            return False
        permit = exchange.permit
        if permit is None or (permit.expires_at is not None and now >= permit.expires_at):
            return False
        driver = exchange.live.driver
        cell = driver.cell_index(exchange.info.cell)
        if cause is not RetryCause.REUSED or exchange.retries:
            if driver.pressure(exchange.info.cell) >= 1.0:
                driver.meter.on_retry_denied(cell, RetryDenial.OVERLOAD)
                return False
            if not self.budget.spend(exchange.flow_hash, now=now):
                driver.meter.on_retry_denied(cell, RetryDenial.BUDGET)
                return False
        driver.meter.on_retry(cell, cause)
        return True
