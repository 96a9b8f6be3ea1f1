"""A trace: everything a Shedder was told since it was made, and what it answered, line by line.

Line 1 is the header, a JSON object. Each line after it is one record, a JSON array without blanks
whose first item says what it is:

    ["request",{...}]                                      a RequestInfo; numbered from 0
    ["arrive",AT,REQUEST,FLOW,COHORT,LEFT,ANSWER]          arrivals are numbered from 0
    ["screen",AT,REQUEST,FLOW,COHORT,LEFT,ANSWER or null]  null: go on
    ["stream",AT,ARRIVAL,HEAD,VERDICTS]                    `to_resident`
    ["release",AT,ARRIVAL,HEAD,OUTCOME,STALLED,VERDICTS]
    ["orphan",AT,ARRIVAL]                                  `orphan`: its client has left
    ["zombie",AT,ARRIVAL,HEAD,OUTCOME,VERDICTS]            `leave_zombie`
    ["abandon",AT,ARRIVAL,VERDICTS]
    ["tick",AT,VERDICTS]
    ["due",AT,VERDICTS]                                    `tick_due`
    ["stall",AT]                                           `on_stall`
    ["apply",AT,{POLICY},VERDICTS]
    ["drain",AT]
    ["remember",AT,{CELL:{ROUTE:BASELINE}}]                what a predecessor had learnt
    ["end",AT,WHY]                                         the last line of a whole trace

AT is in ns since the Shedder was made; LEFT, STALLED and HEAD (the age of the answer's head, which
is what `respond` told) are lengths in ns, LEFT and HEAD may be null. VERDICTS is a list of
[ARRIVAL,ANSWER]. An ANSWER is one of

    ["run",SERIAL,IN_FLIGHT,EXPIRES]                       a Permit; EXPIRES in ns from now, or null
    ["run",SERIAL,IN_FLIGHT,EXPIRES,REFUSAL]               in observe mode: what it hides
    ["wait",SERIAL,RANK,EXPIRES,DEADLINE]                  a Ticket; ns from now
    ["wait",SERIAL,RANK,EXPIRES,DEADLINE,VERDICT]          and who was evicted by it
    ["no",REASON,[NUMBERS],IN_FLIGHT,LIMIT,QUEUE,RETRY_AFTER,WAITED]

No path, header, tenant or id is in a trace: names of routes and cells, numbers, keyed hashes. The
salts are left out.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from shedproxy.core import Instant, Memory, Outcome, Policy, RejectReason, RequestInfo
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import from_plain, read_memory, to_plain

__all__ = [
    "Answer",
    "Call",
    "TraceHeader",
    "TraceReader",
    "compact",
    "encode_end",
    "encode_header",
    "plain_policy",
]

_FORMAT = "shedproxy-trace"
_SCHEMA = 1

compact = json.JSONEncoder(separators=(",", ":")).encode
"""JSON without blanks, in ASCII."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHeader:
    """What a trace begins with. The Shedder was new: it had nothing in flight and knew nothing."""

    policy: Policy
    started_at: Instant
    """When the Shedder was made."""
    version: str
    """Of the shedproxy that recorded it."""
    worker: int = 0
    workers: int = 1
    """Of how many workers this one had its part."""


class Answer(NamedTuple):
    """What the core said to one request."""

    word: str
    """`run`, `wait` or `no`."""
    reason: RejectReason | None = None
    """Of a refusal; of a permit in observe mode: why it would have been refused."""
    in_flight: int = 0
    """Slots taken before it, of a permit."""
    evicted: tuple[tuple[int, Answer], ...] = ()
    """What followed from the arrival for a waiter: its number, and its answer."""


class Call(NamedTuple):
    """One call into the Shedder, and what it answered. Which fields count depends on `name`."""

    name: str
    """The record's first item."""
    line: int
    """From 1."""
    text: str
    """The record itself, without the line's end."""
    at: Instant
    request: RequestInfo = RequestInfo()
    flow_hash: int = 0
    cohort: int = 0
    time_left_ns: int | None = None
    arrival: int = -1
    """Which arrival it is about; the next number, for an arrival."""
    head_age_ns: int | None = None
    """How long ago the head of the answer came; None: it has not."""
    outcome: Outcome = Outcome.SUCCESS
    stalled_ns: int = 0
    policy: Policy | None = None
    memory: dict[str, Memory] | None = None
    answer: Answer | None = None
    """To an arrival; to a screening, None means go on."""
    verdicts: tuple[tuple[int, Answer], ...] = ()
    """Waiters that heard: their numbers and answers."""
    why: str = ""
    """Of the end: `closed`, or what stopped the recording."""


def plain_policy(policy: Policy) -> Any:
    """The policy as JSON values, without its salt: who has a trace must not guess tenants by it."""
    return to_plain(replace(policy, salt=0))


def encode_header(header: TraceHeader) -> str:
    """The first line, without its end."""
    return compact(
        {
            "format": _FORMAT,
            "schema": _SCHEMA,
            "version": header.version,
            "worker": header.worker,
            "workers": header.workers,
            "state": "fresh",
            "started_at": header.started_at,
            "policy": plain_policy(header.policy),
        }
    )


def encode_end(at_ns: int, why: str) -> str:
    """The last line, without its end."""
    return compact(["end", at_ns, why])


class TraceReader:
    """A trace as its header and an iterator of calls, each checked as far as a line can be.

    Args:
        lines: with their ends. One without is taken for cut.
        source: what to call it in messages.

    Raises:
        DocumentInvalidError: here for the header; while iterating for a line that is damaged, and
            at the end when the trace has no last record.
    """

    def __init__(self, lines: Iterable[str], *, source: str = "") -> None:
        self._lines = iter(lines)
        self._source = source
        self._line = 0
        self._requests: list[RequestInfo] = []
        self._arrivals = 0
        self._at_ns = 0
        self.header = self._read_header()

    def __iter__(self) -> Iterator[Call]:
        """Every call in order; the last one is the `end`."""
        is_ended = False
        for text in self._lines:
            self._line += 1
            if is_ended:
                raise self.problem("there is something after the last record", text=text)
            if not text.endswith("\n"):
                raise self._cut("it is cut in the middle of a record", whole=self._line - 1)
            call = self._read(text[:-1])
            if call is not None:
                yield call
                is_ended = call.name == "end"
        if not is_ended:
            raise self._cut("it is cut: its last record is missing", whole=self._line)

    def problem(
        self, message: str, *, text: str = "", column: int = 1, help_text: str = ""
    ) -> DocumentInvalidError:
        """An error that names the line last read."""
        problem = Problem(
            message=f"trace: {message}",
            source=self._source,
            line=self._line,
            column=column,
            help=help_text,
            excerpt=((self._line, text.rstrip("\n")),) if text else (),
        )
        return DocumentInvalidError([problem])

    def _cut(self, message: str, *, whole: int) -> DocumentInvalidError:
        end = encode_end(self._at_ns, "cut")
        return self.problem(
            message,
            help_text=(
                "end the process before you take its trace; to use what is whole:"
                f" (head -n {whole} TRACE; echo '{end}') > PART"
            ),
        )

    def _read_header(self) -> TraceHeader:
        self._line = 1
        text = next(self._lines, "")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or value.get("format") != _FORMAT:
            raise self.problem(
                "this is none", help_text="`shedproxy run URL --record FILE` writes one"
            )
        schema = value.get("schema")
        if type(schema) is int and schema > _SCHEMA:
            raise self.problem(
                f"schema {schema} is newer than this version understands ({_SCHEMA})",
                help_text="replay it with a newer shedproxy",
            )
        try:
            return _header(value)
        except (DocumentInvalidError, ValueError) as error:
            raise self.problem(
                f"its header is damaged: {error}", help_text="take another copy"
            ) from error

    def _read(self, text: str) -> Call | None:
        """The call on one line; None for the description of a request."""
        try:
            return self._decode(text)
        except (DocumentInvalidError, ValueError, RecursionError) as error:
            raise self.problem(
                f"this line is damaged: {error}",
                text=text,
                column=error.colno if isinstance(error, json.JSONDecodeError) else 1,
                help_text="take another copy of the trace",
            ) from error

    def _decode(self, text: str) -> Call | None:
        items = json.loads(text)
        if type(items) is not list or not items or type(items[0]) is not str:
            raise ValueError("it is no record")
        name, *rest = items
        fields = _FIELDS.get(name)
        if fields is None:
            raise ValueError(f"there is no record {name!r}")
        if len(rest) != len(fields):
            raise ValueError(f"{len(fields)} items belong behind {name!r}, not {len(rest)}")
        values = {field: _READERS[field](item) for field, item in zip(fields, rest, strict=True)}
        if name == "request":
            self._requests.append(values["described"])
            return None
        self._resolve(name, values)
        return Call(name, self._line, text, **values)

    def _resolve(self, name: str, values: dict[str, Any]) -> None:
        """Put in place what a line says by number."""
        at_ns = values["at"]
        if at_ns < self._at_ns:
            raise ValueError("its time is before that of the line above")
        self._at_ns = at_ns
        values["at"] = self.header.started_at + at_ns
        if "request" in values:
            index = values["request"]
            if index >= len(self._requests):
                raise ValueError(f"no line above describes request {index}")
            values["request"] = self._requests[index]
        if name == "arrive":
            values["arrival"] = self._arrivals
            self._arrivals += 1
        elif values.get("arrival", -1) >= self._arrivals:
            raise ValueError(f"there was no arrival {values['arrival']} yet")


def _header(value: dict[str, Any]) -> TraceHeader:
    worker, workers = _natural(value.get("worker")), _natural(value.get("workers"))
    if worker >= workers:
        raise ValueError(f"there is no worker {worker} among {workers}")
    return TraceHeader(
        policy=from_plain(Policy, value.get("policy")),
        started_at=Instant(_natural(value.get("started_at"))),
        version=_text(value.get("version")),
        worker=worker,
        workers=workers,
    )


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a number from 0, found {value!r}")
    return value


def _natural_or_none(value: Any) -> int | None:
    return None if value is None else _natural(value)


def _length_or_none(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise ValueError(f"expected a whole number or null, found {value!r}")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"expected a word, found {value!r}")
    return value


def _request(value: Any) -> RequestInfo:
    request = from_plain(RequestInfo, value)
    if request.cost < 1:
        raise ValueError("a request costs 1 or more")
    return request


def _outcome(value: Any) -> Outcome:
    outcome = _OUTCOMES.get(_text(value))
    if outcome is None:
        raise ValueError(f"{value!r} is no outcome")
    return outcome


def _answer(value: Any) -> Answer:
    word = value[0] if type(value) is list and value else None
    if word == "no" and len(value) == 8:
        reason = _REASONS.get(_text(value[1]))
        if reason is not None:
            return Answer("no", reason)
    if word == "run" and len(value) == 4:
        return Answer("run", None, _natural(value[2]))
    if word == "run" and len(value) == 5:
        return Answer("run", _answer(value[4]).reason, _natural(value[2]))
    if word == "wait" and len(value) in {5, 6}:
        return Answer("wait", None, 0, _verdicts(value[5:]))
    raise ValueError(f"{compact(value)[:60]} is no answer")


def _answer_or_none(value: Any) -> Answer | None:
    return None if value is None else _answer(value)


def _verdicts(value: Any) -> tuple[tuple[int, Answer], ...]:
    if type(value) is not list or any(type(item) is not list or len(item) != 2 for item in value):
        raise ValueError("expected a list of verdicts")
    return tuple((_natural(number), _answer(answer)) for number, answer in value)


_OUTCOMES = {outcome.name.lower(): outcome for outcome in Outcome}
_REASONS = {reason.label: reason for reason in RejectReason}

_FIELDS = {
    "request": ("described",),
    "arrive": ("at", "request", "flow_hash", "cohort", "time_left_ns", "answer"),
    "screen": ("at", "request", "flow_hash", "cohort", "time_left_ns", "answer"),
    "stream": ("at", "arrival", "head_age_ns", "verdicts"),
    "release": ("at", "arrival", "head_age_ns", "outcome", "stalled_ns", "verdicts"),
    "orphan": ("at", "arrival"),
    "zombie": ("at", "arrival", "head_age_ns", "outcome", "verdicts"),
    "abandon": ("at", "arrival", "verdicts"),
    "tick": ("at", "verdicts"),
    "due": ("at", "verdicts"),
    "stall": ("at",),
    "apply": ("at", "policy", "verdicts"),
    "drain": ("at",),
    "remember": ("at", "memory"),
    "end": ("at", "why"),
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "described": _request,
    "at": _natural,
    "request": _natural,
    "flow_hash": _natural,
    "cohort": _natural,
    "time_left_ns": _length_or_none,
    "arrival": _natural,
    "head_age_ns": _natural_or_none,
    "outcome": _outcome,
    "stalled_ns": _natural,
    "policy": functools.partial(from_plain, Policy),
    "memory": read_memory,
    "answer": _answer_or_none,
    "verdicts": _verdicts,
    "why": _text,
}
