"""A trace once more, by its own policy: every answer must be the recorded one, byte for byte.

The calls are made in their order, at their instants, of a new Shedder; the first answer that is
another one ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shedproxy.core import Instant, Nanos, Permit, Rejected, Ticket, Verdict
from shedproxy.workload.trace import Call, TraceReader, encode_end
from shedproxy.workload.traced_shedder import TracedShedder

__all__ = ["Difference", "Verification", "verify"]


class Difference(NamedTuple):
    """The first answer that is not the recorded one."""

    call: Call
    """As recorded; `text` is its line."""
    replayed: str
    """The line as it would be recorded now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of a replay."""

    calls: int
    """Calls made, the one that differs included."""
    arrivals: int
    span_ns: Nanos
    """From the start to the last call."""
    why: str = ""
    """What the trace says of its end; "" when a difference came first."""
    difference: Difference | None = None


def verify(reader: TraceReader, *, write: Callable[[str], None] | None = None) -> Verification:
    """Replay a trace and compare each answer.

    Args:
        reader: at its start.
        write: takes the lines of the replay behind the header, without their ends.

    Raises:
        DocumentInvalidError: the trace is damaged.
    """
    double = _Double(reader)
    at = started_at = reader.header.started_at
    arrivals = 0
    for calls, call in enumerate(reader):
        if call.name == "end":
            if write is not None:
                write(encode_end(call.at - started_at, call.why))
            span_ns = Nanos(at - started_at)
            return Verification(calls=calls, arrivals=arrivals, span_ns=span_ns, why=call.why)
        at = call.at
        arrivals += call.name == "arrive"
        lines = double.play(call)
        if write is not None:
            for line in lines:
                write(line)
        if lines[-1] != call.text:
            return Verification(
                calls=calls + 1,
                arrivals=arrivals,
                span_ns=Nanos(at - started_at),
                difference=Difference(call, lines[-1]),
            )
    raise AssertionError("a trace without an end is refused by its reader")


class _Double:
    """Makes recorded calls of a Shedder of its own."""

    def __init__(self, reader: TraceReader) -> None:
        self._reader = reader
        self._lines: list[str] = []
        self._out: dict[int, Permit | Ticket] = {}
        """Who waits or runs, by the number of the arrival."""
        header = reader.header
        try:
            self._shedder = TracedShedder(
                header.policy, now=header.started_at, write=self._lines.append
            )
        except ValueError as error:
            raise reader.problem(f"its policy cannot be run: {error}") from error

    def play(self, call: Call) -> list[str]:
        """Make one call; the lines that a recorder would have written of it, the call's last."""
        self._lines.clear()
        shedder, now = self._shedder, call.at
        match call.name:
            case "arrive":
                self._arrive(call)
            case "screen":
                shedder.screen(
                    call.request,
                    now=now,
                    flow_hash=call.flow_hash,
                    cohort=call.cohort,
                    time_left_ns=call.time_left_ns,
                )
            case "stream":
                self._hear(shedder.to_resident(self._permit(call), now=now))
            case "orphan":
                shedder.orphan(self._permit(call), now=now)
            case "release":
                permit = self._permit(call, is_last=True)
                self._hear(
                    shedder.release(permit, call.outcome, now=now, stalled_ns=call.stalled_ns)
                )
            case "zombie":
                permit = self._permit(call, is_last=True)
                self._hear(shedder.leave_zombie(permit, now=now, outcome=call.outcome))
            case "abandon":
                self._hear(shedder.abandon(self._ticket(call), now=now))
            case "tick":
                self._hear(shedder.tick(now=now))
            case "due":
                self._hear(shedder.tick_due(now=now))
            case "stall":
                shedder.on_stall(now=now)
            case "apply":
                self._apply(call)
            case "drain":
                shedder.drain()
            case "remember":
                shedder.remember(call.memory or {})
        return self._lines

    def _arrive(self, call: Call) -> None:
        decision = self._shedder.arrive(
            call.request,
            now=call.at,
            flow_hash=call.flow_hash,
            cohort=call.cohort,
            time_left_ns=call.time_left_ns,
        )
        if isinstance(decision, Rejected):
            return
        self._out[call.arrival] = decision
        if isinstance(decision, Ticket):
            decision.context = call.arrival
            if decision.evicted is not None:
                self._hear((decision.evicted,))

    def _apply(self, call: Call) -> None:
        assert call.policy is not None
        try:
            self._hear(self._shedder.apply(call.policy, now=call.at))
        except ValueError as error:
            raise self._reader.problem(f"this policy cannot be run: {error}") from error

    def _hear(self, verdicts: Sequence[Verdict]) -> None:
        for ticket, decision in verdicts:
            if isinstance(decision, Permit):
                self._out[ticket.context] = decision
            else:
                del self._out[ticket.context]

    def _permit(self, call: Call, *, is_last: bool = False) -> Permit:
        permit = self._out.pop(call.arrival, None) if is_last else self._out.get(call.arrival)
        if not isinstance(permit, Permit):
            raise self._reader.problem(f"arrival {call.arrival} is not running", text=call.text)
        if call.head_age_ns is not None:
            self._shedder.respond(permit, now=Instant(call.at - call.head_age_ns))
        return permit

    def _ticket(self, call: Call) -> Ticket:
        ticket = self._out.pop(call.arrival, None)
        if not isinstance(ticket, Ticket):
            raise self._reader.problem(f"arrival {call.arrival} does not wait", text=call.text)
        return ticket
