"""The last hour of traffic, as far as a new policy can be tried on it: exact counts, a few heads.

Counts are those of the metrics, by minute, cell and class. Of heads there are method and path of
some requests of each minute, as the access log has them (its share decides how many there are); no
header is among them. Constant memory, whatever the traffic.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from shedproxy.core import Instant, seconds
from shedproxy.observability.reading import HistogramValue, Sample

__all__ = ["Head", "Minute", "RecentTraffic", "Served", "served_by_class"]

MINUTES = 60
HEADS_MAX = 64
"""Of a minute."""
_MINUTE = seconds(60)
_SERVED_LINE = '"outcome": "served"'
_FINISHED = frozenset(("success", "client_error", "server_error", "abandoned"))
_ADMITTED = frozenset(("admitted", "would_reject"))


class Served(NamedTuple):
    """Requests that were served, and the seconds that they held their slots, together."""

    requests: float
    work_s: float


_NONE = Served(0.0, 0.0)


class Head(NamedTuple):
    """What is known of one request."""

    method: str
    path: str
    cell: str
    criticality: str


class Minute(NamedTuple):
    """By cell and label of the class."""

    served: dict[tuple[str, str], Served]
    heads: tuple[Head, ...]


def served_by_class(samples: Iterable[Sample]) -> dict[tuple[str, str], Served]:
    """Since the start of the counters, by cell and label of the class."""
    counts: dict[tuple[str, str], float] = {}
    work_s: dict[tuple[str, str], float] = {}
    for metric, labels, value in samples:
        key = labels[:2]
        if len(labels) < 3 or len(key) != 2:
            continue
        if metric.name == "shedproxy.decisions" and labels[2] in _ADMITTED:
            assert not isinstance(value, HistogramValue)
            counts[key] = counts.get(key, 0.0) + value
        elif isinstance(value, HistogramValue):
            if metric.name == "http.server.request.duration" and labels[2] in _FINISHED:
                work_s[key] = work_s.get(key, 0.0) + value.sum
            elif metric.name == "shedproxy.queue.wait.duration" and labels[2] == "admitted":
                work_s[key] = work_s.get(key, 0.0) - value.sum
    return {
        (key[0], key[1]): Served(count, max(0.0, work_s.get(key, 0.0)))
        for key, count in counts.items()
    }


class RecentTraffic:
    """Fed with totals, about once a second, and with lines of the access log."""

    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._before: Mapping[tuple[str, str], Served] = {}
        self._began_at: Instant | None = None
        self._lines: list[str] = []
        self._seen = 0
        self._stride = 1

    @property
    def minutes(self) -> tuple[Minute, ...]:
        """Those that are over, the oldest first."""
        return tuple(self._minutes)

    def is_due(self, now: Instant) -> bool:
        """Whether a minute is over, so that `feed` will look at totals."""
        return self._began_at is None or now - self._began_at >= _MINUTE

    def feed(self, now: Instant, totals: Mapping[tuple[str, str], Served]) -> None:
        """Close the minute; `totals` count from the start of the process."""
        if self._began_at is not None:
            served = {
                key: Served(
                    total.requests - before.requests, max(0.0, total.work_s - before.work_s)
                )
                for key, total in totals.items()
                if total.requests > (before := self._before.get(key, _NONE)).requests
            }
            heads = tuple(head for line in self._lines if (head := _head_of(line)) is not None)
            self._minutes.append(Minute(served, heads))
        self._before, self._began_at = dict(totals), now
        self._lines, self._seen, self._stride = [], 0, 1

    def take_lines(self, lines: Iterable[str]) -> None:
        """Keep some lines of the access log, evenly spread over the minute."""
        for line in lines:
            if _SERVED_LINE not in line:
                continue
            if self._seen % self._stride == 0:
                self._lines.append(line)
                if len(self._lines) >= HEADS_MAX:
                    self._lines = self._lines[::2]
                    self._stride *= 2
            self._seen += 1


def _head_of(line: str) -> Head | None:
    try:
        plain: dict[str, Any] = json.loads(line)
        return Head(
            str(plain["method"]), str(plain["path"]), str(plain["cell"]), str(plain["class"])
        )
    except (ValueError, KeyError, TypeError):
        return None
