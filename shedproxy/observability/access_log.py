"""The access log of a worker: a tuple per logged request, turned into JSON lines off the hot path.

Refusals and faults are logged at a bounded rate, with the number of suppressed ones said; requests
that were served by share, spread evenly (no chance is involved). A line holds no query, because
queries carry secrets, and no header's value; JSON and one more escape keep control characters out,
so that no request can forge a line or drive a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from shedproxy.core import NS_PER_S, Instant, to_milliseconds
from shedproxy.observability.meter import Meter
from shedproxy.observability.metric import ProcessCounter

__all__ = [
    "LINES_MAX",
    "REFUSALS_PER_S",
    "AccessLog",
    "AccessRecord",
    "format_event",
    "format_lines",
    "timestamp",
]

REFUSALS_PER_S = 200
"""Lines about refusals and faults, per second and worker, when `sampled`."""
_LINE_NS: Final = NS_PER_S // REFUSALS_PER_S
"""What a line takes of the time that all of them have."""
LINES_MAX = 4096
"""Lines held between two flushes; more are dropped and counted."""
_PATH_MAX = 1024


class AccessRecord(NamedTuple):
    """One request as it ended. Lengths of time in ns, `wall_s` in seconds since the epoch."""

    wall_s: float
    peer: str
    method: str
    target: bytes
    """As received; what follows `?` is left out of the line."""
    status: int
    route: str
    cell: str
    criticality: str
    duration_ns: int
    waited_ns: int
    body_size: int
    """Bytes of the answer's body as sent."""
    reason: str = ""
    """Label of the refusal or fault; "" when all went well."""
    refusal_id: str = ""
    """Set when it was refused."""
    in_flight: int = 0
    limit: int = 0
    """Of the cell, as the decision saw them."""
    trace_id: str = ""
    """Of the request's traceparent, 32 hex digits."""
    home: str = ""
    """Its own cell, when it had no room and `cell` took it."""


class AccessLog:
    """Decides what is logged, and holds it until `flush`.

    Args:
        policy: `all`, `sampled` or `off`.
        share: of the requests that ended well, 0..1; counts when `sampled`.
        meter: Where dropped and suppressed lines are counted, if given.
    """

    __slots__ = (
        "_credit",
        "_is_sampled",
        "_meter",
        "_policy",
        "_share",
        "_spent_at",
        "_suppressed",
        "dropped",
        "records",
        "suppressed_total",
    )

    def __init__(
        self, policy: str = "sampled", share: float = 0.01, *, meter: Meter | None = None
    ) -> None:
        self.records: list[AccessRecord] = []
        self.dropped = 0
        """Lines lost because nobody flushed; counts on."""
        self.suppressed_total = 0
        """Refusals and faults over the rate; counts on, by flushes."""
        self._suppressed = 0
        """Since the last flush: there are many, so that they are counted there."""
        self._spent_at = 0
        """Until when the rate is spent by what was logged; a second ahead is the most."""
        self._credit = 0.0
        self._meter = meter
        self.configure(policy, share)

    def configure(self, policy: str, share: float) -> None:
        """Take new settings; what is held stays."""
        self._policy = policy
        self._is_sampled = policy == "sampled"
        share = min(1.0, max(0.0, share))
        self._share = {"all": 1.0, "off": 0.0}.get(policy, share)

    def wants_admitted(self) -> bool:
        """Whether the next request that ended well is logged; call once per request."""
        share = self._share
        if not share:
            return False
        credit = self._credit + share
        if credit >= 1.0:
            self._credit = credit - 1.0
            return True
        self._credit = credit
        return False

    def wants_refused(self, now: Instant) -> bool:
        """Whether the next refusal or fault is logged; call once per refusal."""
        if not self._is_sampled:
            return self._policy == "all"
        spent_at = max(self._spent_at, now) + _LINE_NS
        if spent_at - now > NS_PER_S:
            self._suppressed += 1
            return False
        self._spent_at = spent_at
        return True

    def append(self, record: AccessRecord) -> None:
        """Hold a record until the next flush."""
        if len(self.records) >= LINES_MAX:
            self.dropped += 1
            if self._meter is not None:
                self._meter.count(ProcessCounter.LOG_LINES_DROPPED)
            return
        self.records.append(record)

    def flush(self) -> list[str]:
        """The held records as JSON lines, and one line about what was suppressed since."""
        records, self.records = self.records, []
        lines = format_lines(records)
        suppressed, self._suppressed = self._suppressed, 0
        if suppressed:
            lines.append(json.dumps({"kind": "access", "suppressed": suppressed}))
            self.suppressed_total += suppressed
            if self._meter is not None:
                self._meter.count(ProcessCounter.LOG_LINES_SUPPRESSED, suppressed)
        return lines


def format_lines(records: Iterable[AccessRecord]) -> list[str]:
    """One JSON object per record, without an end of line."""
    return [_line(record) for record in records]


def format_event(wall_s: float, level: str, event: str, facts: Mapping[str, object]) -> str:
    """Something that happened, as one JSON object for the same stream, without an end of line."""
    fields = {"kind": "event", "time": timestamp(wall_s), "level": level, "event": event, **facts}
    return json.dumps(fields, default=str).replace("\x7f", "\\u007f")


def _line(record: AccessRecord) -> str:
    path = record.target[:_PATH_MAX].partition(b"?")[0]
    fields: dict[str, object] = {
        "kind": "access",
        "time": timestamp(record.wall_s),
        "peer": record.peer,
        "method": record.method,
        "path": path.decode(errors="backslashreplace"),
        "status": record.status,
        "outcome": _outcome(record),
        "route": record.route,
        "cell": record.cell,
        "class": record.criticality,
        "queue_ms": round(to_milliseconds(record.waited_ns), 3),
        "duration_ms": round(to_milliseconds(record.duration_ns), 3),
        "body_size": record.body_size,
    }
    if record.reason:
        fields["reason"] = record.reason
    if record.refusal_id:
        fields["id"] = record.refusal_id
    if record.limit:
        fields["in_flight"] = record.in_flight
        fields["limit"] = record.limit
    if record.trace_id:
        fields["trace_id"] = record.trace_id
    if record.home:
        fields["spilled_from"] = record.home
    # JSON leaves DEL as it is; terminals do not.
    return json.dumps(fields).replace("\x7f", "\\u007f")


def _outcome(record: AccessRecord) -> str:
    if record.refusal_id:
        return "rejected"
    return "fault" if record.reason else "served"


def timestamp(wall_s: float) -> str:
    """RFC 3339, in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")
