"""What became of every call, by client and in order: what two runs are compared by."""

from __future__ import annotations

from typing import NamedTuple

from shedproxy.core import Instant
from shedproxy.simulator.call import Call
from shedproxy.simulator.tally import End, Tally

__all__ = ["LoggedTally", "Outcome"]


class Outcome(NamedTuple):
    """Of one call."""

    arrived_at: int
    flow_hash: int
    end: End
    ended_at: int
    home: str
    """Its own cell; "" where it had none yet."""
    cell: str
    """Whose hosts got it; "" where nobody's did."""


class LoggedTally(Tally):
    """A tally that also keeps every outcome."""

    def __init__(
        self, *, deadline_ns: int, unscored: int, keeps_tenants: bool, has_classes: bool
    ) -> None:
        super().__init__(
            deadline_ns=deadline_ns,
            unscored=unscored,
            keeps_tenants=keeps_tenants,
            has_classes=has_classes,
        )
        self.deadline_ns = deadline_ns
        self.outcomes: dict[str, list[Outcome]] = {}
        """By client, in the order in which they ended."""

    def end_call(self, call: Call, end: End, now: Instant) -> None:
        """One call of an intention ended."""
        super().end_call(call, end, now)
        self.outcomes.setdefault(call.source.spec.name, []).append(
            Outcome(call.arrived_at, call.flow_hash, end, now, call.info.cell, call.cell)
        )
