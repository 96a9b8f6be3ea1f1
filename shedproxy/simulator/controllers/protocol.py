"""What a simulated proxy asks of admission: the calls of `Shedder`, so that it fits unchanged.

A reference controller answers with the core's own values (Permit, Ticket, Rejected, Verdict), so
that checkers and scores cannot tell who decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from shedproxy.core import (
    Decision,
    Instant,
    Outcome,
    Permit,
    RequestInfo,
    Ticket,
    Verdict,
)

__all__ = ["Controller", "Reading"]


class Reading(NamedTuple):
    """What a controller shows of itself, for charts and drift scores."""

    limit: float
    """Slots that may be in flight; `inf` where a controller has no such limit."""
    in_flight: int
    queue_length: int
    refused_share: float
    """Share of demand it means to refuse now, 0..1; 0 where it has no such notion."""
    baseline_ns: int
    """The latency it takes for that without load; 0: none."""


class Controller(Protocol):
    """Admission of one proxy. `now` never runs backwards; each permit is given back once.

    A Ticket is answered later by exactly one Verdict, returned from any of the calls below.
    `next_tick_at` says when `tick` wants to be called; None: only events matter.
    """

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run now (Permit), wait (Ticket) or no (Rejected)."""
        ...

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """The upstream's work is done."""
        ...

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        """The client left; the end of the work will be seen, and told by `release`."""
        ...

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        """The client left and the work goes on."""
        ...

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter went away."""
        ...

    def next_tick_at(self) -> Instant | None:
        """When `tick` has something to do."""
        ...

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Let time pass."""
        ...

    def reading(self) -> Reading:
        """What it shows of itself now."""
        ...
