"""The access log of a worker: a tuple per logged request, turned into JSON lines off the hot path.

Refusals and faults are logged at a bounded rate, with the number of suppressed ones said; admitted
requests by share, spread evenly (no chance is involved). JSON escapes control characters, so that
no path or field can forge a line.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from shedproxy.core import NS_PER_S, Instant, to_milliseconds

__all__ = ["REFUSALS_PER_S", "AccessLog", "AccessRecord"]

REFUSALS_PER_S = 200
"""Lines about refusals and faults, per second and worker."""
LINES_MAX = 4096
"""Lines held between two flushes; more are dropped and counted."""
_TEXT_MAX = 1024


class AccessRecord(NamedTuple):
    """One request as it ended. Lengths of time in ns, `wall_s` in seconds since the epoch."""

    wall_s: float
    peer: str
    method: str
    target: bytes
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


class AccessLog:
    """Decides what is logged, and holds it until `flush`.

    Args:
        policy: `all`, `sampled` or `off`.
        share: of the requests that ended well, 0..1; counts when `sampled`.
    """

    __slots__ = (
        "_budget",
        "_credit",
        "_policy",
        "_refilled_at",
        "_share",
        "_suppressed",
        "dropped",
        "records",
        "suppressed_total",
    )

    def __init__(self, policy: str = "sampled", share: float = 0.01) -> None:
        self.records: list[AccessRecord] = []
        self.dropped = 0
        """Lines lost because nobody flushed; counts on."""
        self.suppressed_total = 0
        """Refusals and faults over the rate; counts on."""
        self._suppressed = 0
        self._budget = float(REFUSALS_PER_S)
        self._refilled_at = 0
        self._credit = 0.0
        self.configure(policy, share)

    def configure(self, policy: str, share: float) -> None:
        """Take new settings; what is held stays."""
        self._policy = policy
        self._share = min(1.0, max(0.0, share)) if policy != "all" else 1.0
        if policy == "off":
            self._share = 0.0

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
        if self._policy == "off":
            return False
        elapsed_ns = now - self._refilled_at
        if elapsed_ns > 0:
            self._refilled_at = now
            refill = elapsed_ns * REFUSALS_PER_S / NS_PER_S
            self._budget = min(float(REFUSALS_PER_S), self._budget + refill)
        if self._budget < 1.0:
            self._suppressed += 1
            self.suppressed_total += 1
            return False
        self._budget -= 1.0
        return True

    def append(self, record: AccessRecord) -> None:
        """Hold a record until the next flush."""
        if len(self.records) >= LINES_MAX:
            self.dropped += 1
            return
        self.records.append(record)

    def flush(self) -> list[str]:
        """The held records as JSON lines, and one line about what was suppressed since."""
        records, self.records = self.records, []
        lines = [_line(record) for record in records]
        if self._suppressed:
            lines.append(json.dumps({"kind": "access", "suppressed": self._suppressed}))
            self._suppressed = 0
        return lines


def _line(record: AccessRecord) -> str:
    fields: dict[str, object] = {
        "kind": "access",
        "time": round(record.wall_s, 3),
        "peer": record.peer,
        "method": record.method,
        "target": record.target[:_TEXT_MAX].decode("latin-1"),
        "status": record.status,
        "route": record.route,
        "cell": record.cell,
        "criticality": record.criticality,
        "duration_ms": round(to_milliseconds(record.duration_ns), 3),
        "waited_ms": round(to_milliseconds(record.waited_ns), 3),
        "body_size": record.body_size,
    }
    if record.reason:
        fields["reason"] = record.reason
    if record.refusal_id:
        fields["id"] = record.refusal_id
    return json.dumps(fields)
