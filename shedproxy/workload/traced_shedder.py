"""A Shedder that writes its own trace: the records of `workload.trace`, one text for each call.

It decides as any Shedder and adds the writing of a line, with no clock, file or wait. Recording and
replaying both run it, so that equal calls and answers are equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shedproxy.core import (
    Decision,
    Instant,
    Memory,
    Outcome,
    Permit,
    Policy,
    Rejected,
    RejectReason,
    RequestInfo,
    Shedder,
    Ticket,
    Verdict,
)
from shedproxy.snapshot import plain_memory, read_memory, to_plain
from shedproxy.workload.trace import compact, plain_policy

__all__ = ["TracedShedder"]

# A label costs a call: these are hot.
_REASONS = {reason: reason.label for reason in RejectReason}
_OUTCOMES = {outcome: outcome.name.lower() for outcome in Outcome}


class TracedShedder(Shedder):
    """A new Shedder that hands each record to `write`, without the line's end.

    A call that raises changes nothing and is not recorded; neither is one that cannot change an
    answer (`respond` is told by the call that uses it, a waiter that was answered may leave).
    """

    __slots__ = (
        "_arrivals",
        "_at_ns",
        "_numbers",
        "_requests",
        "_started_at",
        "_tick_count",
        "_write",
    )

    def __init__(self, policy: Policy, *, now: Instant, write: Callable[[str], None]) -> None:
        super().__init__(policy, now=now)
        self._started_at = now
        self._at_ns = 0
        self._write: Callable[[str], None] | None = write
        self._requests: dict[RequestInfo, int] = {}
        self._arrivals = 0
        self._tick_count = 0
        self._numbers: dict[Permit | Ticket, int] = {}
        """Which arrival a permit or ticket that is out belongs to."""

    def stop(self) -> None:
        """Write nothing any more; what is out may still come back."""
        self._write = None
        self._numbers.clear()
        self._requests.clear()

    @property
    def at_ns(self) -> int:
        """When the last record was, in ns since the start."""
        return self._at_ns

    def arrive(
        self,
        request: RequestInfo,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """As `Shedder.arrive`."""
        decision = super().arrive(request, now, flow_hash, cohort, time_left_ns)
        if self._write is not None:
            number = self._arrivals
            self._arrivals = number + 1
            answer = self._answer(decision, number, now)
            index, left = self._index(request), _or_null(time_left_ns)
            self._note("arrive", now, f"{index},{flow_hash},{cohort},{left},{answer}")
        return decision

    def screen(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Rejected | None:
        """As `Shedder.screen`."""
        rejected = super().screen(
            request, now=now, flow_hash=flow_hash, cohort=cohort, time_left_ns=time_left_ns
        )
        if self._write is not None:
            answer = "null" if rejected is None else _refusal(rejected)
            index, left = self._index(request), _or_null(time_left_ns)
            self._note("screen", now, f"{index},{flow_hash},{cohort},{left},{answer}")
        return rejected

    def to_resident(self, permit: Permit, *, now: Instant) -> Sequence[Verdict]:
        """As `Shedder.to_resident`."""
        verdicts = super().to_resident(permit, now=now)
        number = self._numbers.get(permit)
        if number is not None:
            told = self._verdicts(verdicts, now)
            self._note("stream", now, f"{number},{_head_age(permit, now)},{told}")
        return verdicts

    def release(
        self, permit: Permit, outcome: Outcome, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """As `Shedder.release`."""
        verdicts = super().release(permit, outcome, now, stalled_ns)
        number = self._numbers.pop(permit, None)
        if number is not None:
            told = self._verdicts(verdicts, now)
            head, word = _head_age(permit, now), _OUTCOMES[outcome]
            self._note("release", now, f'{number},{head},"{word}",{stalled_ns},{told}')
        return verdicts

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        """As `Shedder.orphan`."""
        super().orphan(permit, now=now)
        number = self._numbers.get(permit)
        if number is not None:
            self._note("orphan", now, str(number))

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        """As `Shedder.leave_zombie`, which may be a `release`, and is recorded as that then."""
        verdicts = super().leave_zombie(permit, now=now, outcome=outcome)
        number = self._numbers.pop(permit, None)
        if number is not None:
            told = self._verdicts(verdicts, now)
            head, word = _head_age(permit, now), _OUTCOMES[outcome]
            self._note("zombie", now, f'{number},{head},"{word}",{told}')
        return verdicts

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """As `Shedder.abandon`."""
        verdicts = super().abandon(ticket, now=now)
        number = self._numbers.pop(ticket, None)
        if number is not None:
            self._note("abandon", now, f"{number},{self._verdicts(verdicts, now)}")
        return verdicts

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """As `Shedder.tick`."""
        self._tick_count += 1
        verdicts = super().tick(now=now)
        if self._write is not None:
            self._note("tick", now, self._verdicts(verdicts, now))
        return verdicts

    def tick_due(self, *, now: Instant) -> Sequence[Verdict]:
        """As `Shedder.tick_due`, which may be a `tick`, and is recorded as that then."""
        noted = self._tick_count
        verdicts = super().tick_due(now=now)
        if self._write is not None and noted == self._tick_count:
            self._note("due", now, self._verdicts(verdicts, now))
        return verdicts

    def on_stall(self, *, now: Instant) -> None:
        """As `Shedder.on_stall`."""
        super().on_stall(now=now)
        self._note("stall", now)

    def apply(self, policy: Policy, *, now: Instant) -> Sequence[Verdict]:
        """As `Shedder.apply`."""
        verdicts = super().apply(policy, now=now)
        if self._write is not None:
            told = self._verdicts(verdicts, now)
            self._note("apply", now, f"{compact(plain_policy(policy))},{told}")
        return verdicts

    def drain(self) -> None:
        """As `Shedder.drain`; it has no time of its own."""
        super().drain()
        self._note("drain", Instant(self._started_at + self._at_ns))

    def remember(self, memory: dict[str, Memory]) -> None:
        """As `Shedder.remember`; it has no time of its own. What is not written is not taken."""
        plain = plain_memory(memory)
        super().remember(read_memory(plain))
        self._note("remember", Instant(self._started_at + self._at_ns), compact(plain))

    # --- texts ------------------------------------------------------------------------------

    def _note(self, name: str, now: Instant, rest: str = "") -> None:
        # Asked again: what was noted just before may have been too much.
        if self._write is not None:
            self._at_ns = at_ns = now - self._started_at
            self._write(f'["{name}",{at_ns},{rest}]' if rest else f'["{name}",{at_ns}]')

    def _index(self, request: RequestInfo) -> int:
        """The number of a request's description, which is written when it is first needed."""
        index = self._requests.get(request)
        if index is None:
            index = self._requests[request] = len(self._requests)
            if self._write is not None:
                self._write(compact(["request", to_plain(request)]))
        return index

    def _answer(self, decision: Decision, number: int, now: Instant) -> str:
        if type(decision) is Permit:
            self._numbers[decision] = number
            expires = _until(decision.expires_at, now)
            head = f'["run",{decision.serial},{decision.in_flight_before},{expires}'
            if decision.would_reject is None:
                return f"{head}]"
            return f"{head},{_refusal(decision.would_reject)}]"
        if type(decision) is Ticket:
            self._numbers[decision] = number
            expires, deadline = decision.expires_at - now, _until(decision.deadline_at, now)
            head = f'["wait",{decision.serial},{decision.rank},{expires},{deadline}'
            if decision.evicted is None:
                return f"{head}]"
            return f"{head},{self._verdict(decision.evicted, now)}]"
        assert isinstance(decision, Rejected)
        return _refusal(decision)

    def _verdicts(self, verdicts: Sequence[Verdict], now: Instant) -> str:
        if not verdicts:
            return "[]"
        return f"[{','.join([self._verdict(verdict, now) for verdict in verdicts])}]"

    def _verdict(self, verdict: Verdict, now: Instant) -> str:
        ticket, decision = verdict
        number = self._numbers.pop(ticket)
        return f"[{number},{self._answer(decision, number, now)}]"


def _refusal(rejected: Rejected) -> str:
    numbers = ",".join(map(str, rejected.numbers))
    return (
        f'["no","{_REASONS[rejected.reason]}",[{numbers}],{rejected.in_flight},{rejected.limit},'
        f"{rejected.queue_length},{rejected.retry_after_ns},{rejected.waited_ns}]"
    )


def _or_null(value: int | None) -> int | str:
    return "null" if value is None else value


def _until(at: Instant | None, now: Instant) -> int | str:
    return "null" if at is None else at - now


def _head_age(permit: Permit, now: Instant) -> int | str:
    return "null" if permit.responded_at is None else now - permit.responded_at
