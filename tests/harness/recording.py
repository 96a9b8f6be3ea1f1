"""A recorded trace, made by hand: a Shedder that is told things at given milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.core import (
    Decision,
    Instant,
    Outcome,
    Permit,
    Policy,
    RequestInfo,
    Ticket,
    Verdict,
    milliseconds,
)
from shedproxy.simulator.history import History
from shedproxy.testing import a_policy
from shedproxy.workload.trace import TraceHeader, TraceReader, encode_end, encode_header
from shedproxy.workload.traced_shedder import TracedShedder

START = Instant(5_000_000_000)
REQUEST = RequestInfo()


class Recording:
    """Calls take the time in ms since the start, and move it on."""

    def __init__(self, policy: Policy | None = None, **header: object) -> None:
        self.policy = a_policy(limit=1) if policy is None else policy
        self.header = TraceHeader(policy=self.policy, started_at=START, version="0.1.0", **header)
        self.lines: list[str] = []
        self.shedder = TracedShedder(self.policy, now=START, write=self.lines.append)
        self.at_ms = 0.0

    def now(self, at_ms: float) -> Instant:
        self.at_ms = at_ms
        return Instant(START + milliseconds(at_ms))

    def arrive(self, at_ms: float, request: RequestInfo = REQUEST, **told: object) -> Decision:
        return self.shedder.arrive(request, now=self.now(at_ms), **told)

    def screen(self, at_ms: float, request: RequestInfo = REQUEST, **told: object) -> object:
        return self.shedder.screen(request, now=self.now(at_ms), **told)

    def run(self, at_ms: float, request: RequestInfo = REQUEST, **told: object) -> Permit:
        permit = self.arrive(at_ms, request, **told)
        assert isinstance(permit, Permit)
        return permit

    def wait(self, at_ms: float, request: RequestInfo = REQUEST, **told: object) -> Ticket:
        ticket = self.arrive(at_ms, request, **told)
        assert isinstance(ticket, Ticket)
        return ticket

    def release(
        self, at_ms: float, permit: Permit, outcome: Outcome = Outcome.SUCCESS, **told: object
    ) -> Sequence[Verdict]:
        return self.shedder.release(permit, outcome, now=self.now(at_ms), **told)

    def text(self) -> list[str]:
        """The whole trace."""
        end = encode_end(milliseconds(self.at_ms), "closed")
        return [f"{line}\n" for line in (encode_header(self.header), *self.lines, end)]

    def reader(self) -> TraceReader:
        return TraceReader(self.text(), source="t.jsonl")

    def history(self) -> History:
        return History(self.reader())
