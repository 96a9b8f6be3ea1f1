"""What became of the requests of one run: counted as they end, summarised when it is over.

What ends between the end of the cold start and the end of the run counts, whenever it began: what
is under way at the end of such a window makes up for what was under way at its beginning, so that
no controller gains or loses by how long its requests wait. Shares are therefore taken of what
ended. Counting is integer additions and appends to arrays, so that a run of ten million requests
stays fast and small.
"""

from __future__ import annotations

import enum
from array import array
from dataclasses import dataclass

from shedproxy.core import NS_PER_MS, Criticality, Instant, Rejected, RejectReason
from shedproxy.simulator.call import Call

__all__ = ["INVERSION_WINDOW_NS", "ClientCount", "End", "Tally"]

INVERSION_WINDOW_NS = 100 * NS_PER_MS
_CLASSES = len(Criticality)
_FAIR_SHARE = RejectReason.FAIR_SHARE


class End(enum.IntEnum):
    """How a call ended, for its client."""

    SERVED = 0
    REFUSED = 1
    FAILED = 2
    """An error of the backend, or a broken connection."""
    LEFT = 3
    """The client's patience ended first."""


@dataclass(slots=True)
class ClientCount:
    """Intentions of one population."""

    offered: int = 0
    ended: int = 0
    served: int = 0
    latency_max_ns: int = 0
    """Of those served."""


class Tally:
    """Counts of a run. `offered` and `served` count intentions: a task of four calls is one."""

    def __init__(
        self, *, deadline_ns: int, unscored: int, keeps_tenants: bool, has_classes: bool
    ) -> None:
        self._deadline_ns = deadline_ns
        self._unscored = unscored
        self.calls_begun = 0
        self.calls_unread = 0
        """That came while a proxy's loop stood still."""
        self.calls_orphaned = 0
        """Whose client has left while the backend works on, and a permit is held for that."""
        self._begun = 0
        self.scored_from: Instant | None = Instant(0) if not unscored else None
        """When the cold start was over; None: not yet."""
        self.calls_ended = 0
        """Of the whole run, the cold start included, as is `useful_ns`."""
        self.useful_ns = 0
        """Work whose answer somebody got."""
        self.offered = 0
        self.served = 0
        """In time."""
        self.late = 0
        self.refused = 0
        self.failed = 0
        self.left = 0
        self.calls = 0
        self.calls_served = 0
        self.calls_refused = 0
        self.class_offered = [0] * _CLASSES
        self.class_ended = [0] * _CLASSES
        self.class_served = [0] * _CLASSES
        self.clients: dict[str, ClientCount] = {}
        """By name."""
        self.refused_by_reason: dict[RejectReason, int] = {}
        self.latencies_ns = array("q")
        """Of calls served, from the client's sending to its answer."""
        self.served_at = array("q")
        """When each of them was answered."""
        self.begun_at = array("q")
        self.refused_at = array("q")
        self.refusal_waits_ns = array("q")
        self.sessions_completed = 0
        self.tenants: dict[int, list[int]] | None = {} if keeps_tenants else None
        """Per flow hash: offered, served, refused."""
        self.has_classes = has_classes
        self.inverted = 0
        """Calls refused for their rank although a lower class was let in within the same 100 ms."""
        self._window = 0
        self._window_admitted = [0] * _CLASSES
        self._window_refused = [0] * _CLASSES

    def next_serial(self) -> int:
        """A number for the next call."""
        self.calls_begun += 1
        return self.calls_begun

    def client(self, name: str) -> ClientCount:
        """The counts of a population, to be handed back with what it begins and ends."""
        return self.clients.setdefault(name, ClientCount())

    def begin(
        self, client: ClientCount, criticality: Criticality, flow_hash: int, now: Instant
    ) -> None:
        """Somebody wants something."""
        self._begun += 1
        if self._begun <= self._unscored:
            return
        if self.scored_from is None:
            self.scored_from = now
        self.offered += 1
        client.offered += 1
        self.class_offered[criticality] += 1
        self.begun_at.append(now)
        if self.tenants is not None and flow_hash:
            counts = self.tenants.get(flow_hash)
            if counts is None:
                counts = self.tenants[flow_hash] = [0, 0, 0]
            counts[0] += 1

    def end(
        self,
        client: ClientCount,
        criticality: Criticality,
        flow_hash: int,
        arrived_at: Instant,
        end: End,
        now: Instant,
    ) -> None:
        """The client has what it wanted, or will not get it."""
        if self.scored_from is None:
            return
        client.ended += 1
        self.class_ended[criticality] += 1
        place = 1
        if end is End.SERVED:
            if now - arrived_at > self._deadline_ns:
                self.late += 1
                return
            self.served += 1
            client.served += 1
            client.latency_max_ns = max(client.latency_max_ns, now - arrived_at)
            self.class_served[criticality] += 1
        elif end is End.REFUSED:
            self.refused += 1
            place = 2
        else:
            if end is End.FAILED:
                self.failed += 1
            else:
                self.left += 1
            return
        if self.tenants is not None and flow_hash:
            counts = self.tenants.get(flow_hash)
            if counts is None:
                counts = self.tenants[flow_hash] = [0, 0, 0]
            counts[place] += 1

    @property
    def ended(self) -> int:
        """Intentions that came to an end, a good one or another."""
        return self.served + self.late + self.refused + self.failed + self.left

    def end_call(self, call: Call, end: End, now: Instant) -> None:
        """One call of it ended."""
        self.calls_ended += 1
        if end is End.SERVED:
            self.useful_ns += call.spent_ns
        if self.scored_from is None:
            return
        self.calls += 1
        if end is End.SERVED:
            self.calls_served += 1
            self.latencies_ns.append(now - call.arrived_at)
            self.served_at.append(now)

    def refuse(self, call: Call, rejected: Rejected, now: Instant) -> None:
        """A controller said no; called before the client hears of it."""
        if self.scored_from is None:
            return
        self.calls_refused += 1
        reason = rejected.reason
        self.refused_by_reason[reason] = self.refused_by_reason.get(reason, 0) + 1
        self.refused_at.append(now)
        self.refusal_waits_ns.append(now - call.arrived_at)
        if self.has_classes and reason is not _FAIR_SHARE:
            self._roll(now)
            self._window_refused[call.info.criticality] += 1

    def admit(self, criticality: Criticality, now: Instant) -> None:
        """A controller said yes; only called in runs with several classes."""
        self._roll(now)
        self._window_admitted[criticality] += 1

    def _roll(self, now: Instant) -> None:
        window = now // INVERSION_WINDOW_NS
        if window == self._window:
            return
        below = 0
        for criticality in range(_CLASSES):
            self.inverted += min(below, self._window_refused[criticality])
            below += self._window_admitted[criticality]
        self._window = window
        self._window_admitted = [0] * _CLASSES
        self._window_refused = [0] * _CLASSES
