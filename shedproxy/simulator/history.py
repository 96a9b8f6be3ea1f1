"""What a trace tells of each request: when it came, what became of it, and how long its work took.

A screening and the arrival that follows it are one request. They are matched by what the core knows
of them (route, class, tenant, cohort); where two requests agree in all of that, either may have
been the first.
"""

from __future__ import annotations

import enum
from collections import defaultdict, deque
from typing import NamedTuple

from shedproxy.core import Instant, Memory, Outcome, RejectReason, RequestInfo
from shedproxy.workload.trace import Answer, Call, TraceHeader, TraceReader

__all__ = ["Fate", "History", "Life", "Result", "Step", "Work"]


class Fate(enum.Enum):
    """What became of a request."""

    SERVED = "served"
    """Admitted, however it ended."""
    REFUSED = "refused"
    LEFT = "left"
    """Its client left before an answer."""
    WAITING = "waiting"
    """In the queue when the trace ended."""


class Result:
    """What was decided on a request."""

    __slots__ = ("fate", "hidden", "reason", "waited_ns")

    def __init__(self) -> None:
        self.fate = Fate.LEFT
        self.reason: RejectReason | None = None
        """Of the refusal."""
        self.hidden: RejectReason | None = None
        """Served in observe mode; enforce would have refused it for this."""
        self.waited_ns = 0
        """In the queue, when served."""


class Work:
    """What a request did once admitted, in ns from then. None: it did not, while it was watched."""

    __slots__ = (
        "head_ns",
        "in_flight",
        "is_zombie",
        "length_ns",
        "orphan_ns",
        "outcome",
        "stalled_ns",
        "stream_ns",
    )

    def __init__(self, in_flight: int = 0) -> None:
        self.in_flight = in_flight
        """Slots taken when it was admitted."""
        self.head_ns: int | None = None
        self.stream_ns: int | None = None
        """When it turned out to be a stream."""
        self.orphan_ns: int | None = None
        """When its client left."""
        self.length_ns: int | None = None
        """Until the permit was given back."""
        self.outcome = Outcome.SUCCESS
        self.stalled_ns = 0
        self.is_zombie = False


class Life:
    """One request as it was recorded."""

    __slots__ = (
        "admitted_at",
        "arrived_at",
        "cohort",
        "flow_hash",
        "left_at",
        "number",
        "request",
        "result",
        "work",
    )

    def __init__(self, number: int, call: Call) -> None:
        self.number = number
        self.request = call.request
        self.flow_hash = call.flow_hash
        self.cohort = call.cohort
        self.arrived_at: Instant | None = None
        """None: it was refused on its head, or left before its body was in."""
        self.left_at: Instant | None = None
        """When its client left the queue."""
        self.admitted_at = Instant(0)
        self.work: Work | None = None
        self.result = Result()


class Step(NamedTuple):
    """What happens at its instant whatever the policy: clients and clocks do it."""

    at: Instant
    name: str
    """`screen`, `arrive`, `tick`, `stall`, `drain` or `remember`."""
    life: Life | None = None
    time_left_ns: int | None = None
    memory: dict[str, Memory] | None = None


class TraceFacts(NamedTuple):
    """What is said of a trace, without what is in it."""

    header: TraceHeader
    ended_at: Instant
    why: str
    """What it says of its end."""
    policies: int
    """Times that another policy was applied."""


class History:
    """All of a trace.

    Raises:
        DocumentInvalidError: it is damaged.
    """

    def __init__(self, reader: TraceReader) -> None:
        self.header = reader.header
        self.lives: list[Life] = []
        """By their first appearance."""
        self.steps: list[Step] = []
        self.policies = 0
        """Times that another policy was applied."""
        self.ended_at = reader.header.started_at
        self.why = ""
        """What the trace says of its end."""
        self._reader = reader
        self._arrived: list[Life] = []
        """By the number of the arrival."""
        self._screened: dict[tuple[RequestInfo, int, int], deque[Life]] = defaultdict(deque)
        for call in reader:
            self._take(call)

    @property
    def facts(self) -> TraceFacts:
        """What is kept of a trace whose requests are counted."""
        return TraceFacts(self.header, self.ended_at, self.why, self.policies)

    def _take(self, call: Call) -> None:
        self.ended_at = call.at
        match call.name:
            case "arrive":
                self._arrive(call)
            case "screen":
                self._screen(call)
            case "stream" | "orphan" | "release" | "zombie":
                self._proceed(call)
            case "abandon":
                life = self._waiter(call.arrival, call)
                life.result.fate, life.left_at = Fate.LEFT, call.at
            case "tick" | "stall" | "drain":
                self.steps.append(Step(call.at, call.name))
            case "due":
                pass  # whoever plays it again has waiters of his own
            case "remember":
                self.steps.append(Step(call.at, call.name, memory=call.memory))
            case "apply":
                self.policies += 1
            case "end":
                self.why = call.why
        for number, answer in call.verdicts:
            _answer(self._waiter(number, call), answer, call.at)

    def _begin(self, call: Call) -> Life:
        life = Life(len(self.lives), call)
        self.lives.append(life)
        return life

    def _screen(self, call: Call) -> None:
        life = self._begin(call)
        self.steps.append(Step(call.at, "screen", life, call.time_left_ns))
        if call.answer is None:
            self._screened[call.request, call.flow_hash, call.cohort].append(life)
        else:
            _answer(life, call.answer, call.at)

    def _arrive(self, call: Call) -> None:
        waiting = self._screened.get((call.request, call.flow_hash, call.cohort))
        life = waiting.popleft() if waiting else self._begin(call)
        life.arrived_at = call.at
        self._arrived.append(life)
        self.steps.append(Step(call.at, "arrive", life, call.time_left_ns))
        if call.answer is None:
            raise self._reader.problem("an arrival has no answer", text=call.text)
        _answer(life, call.answer, call.at)
        for number, answer in call.answer.evicted:
            _answer(self._waiter(number, call), answer, call.at)

    def _waiter(self, number: int, call: Call) -> Life:
        life = self._arrived[number] if number < len(self._arrived) else None
        if life is None or life.result.fate is not Fate.WAITING:
            raise self._reader.problem(f"arrival {number} does not wait", text=call.text)
        return life

    def _proceed(self, call: Call) -> None:
        life = self._arrived[call.arrival]
        work = life.work
        if work is None or work.length_ns is not None:
            raise self._reader.problem(f"arrival {call.arrival} is not running", text=call.text)
        after_ns = call.at - life.admitted_at
        if call.head_age_ns is not None:
            work.head_ns = after_ns - call.head_age_ns
        if call.name == "stream":
            if work.stream_ns is None:
                work.stream_ns = after_ns
            return
        if call.name == "orphan":
            work.orphan_ns = after_ns
            return
        work.length_ns = after_ns
        work.outcome, work.stalled_ns = call.outcome, call.stalled_ns
        work.is_zombie = call.name == "zombie"


def _answer(life: Life, answer: Answer, at: Instant) -> None:
    result = life.result
    match answer.word:
        case "run":
            assert life.arrived_at is not None
            result.fate, result.hidden = Fate.SERVED, answer.reason
            result.waited_ns = at - life.arrived_at
            life.admitted_at, life.work = at, Work(answer.in_flight)
        case "wait":
            result.fate = Fate.WAITING
        case _:
            result.fate, result.reason = Fate.REFUSED, answer.reason
