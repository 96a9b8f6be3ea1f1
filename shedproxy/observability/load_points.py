"""What a service was seen to do under the traffic it had: points of load, throughput and latency.

A point is a span of ten seconds or more. Points are kept by how much was in flight, so many of each
quarter of an octave, the newest: the peak of last week stays beside the calm of a minute ago, and
memory is bounded whatever comes. `shedproxy calibrate --from-observe` fits a profile to them.

Pure: it is told what time it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from shedproxy.core import NS_PER_S, Instant, seconds
from shedproxy.observability.reading import HistogramValue, Sample

__all__ = [
    "POINTS_FORMAT",
    "POINTS_SCHEMA",
    "POINT_REQUESTS",
    "LoadCounts",
    "LoadPoint",
    "LoadPoints",
    "load_counts",
]

POINTS_FORMAT, POINTS_SCHEMA = "shedproxy-points", 1
POINT_REQUESTS = 100
"""A point has as many answers, or is not kept."""
_POINT_NS = seconds(10)
_POINT_LATEST_NS = seconds(120)
_MEMORY_S = 7 * 86_400.0
_PER_LEVEL, _LEVELS_PER_OCTAVE = 32, 4
_LEVEL_LOW, _LEVEL_HIGH = -16, 64
"""0.06 to 65 536 in flight; beyond, the last level has them all."""

_DURATION = "http.server.request.duration"
_WAIT = "shedproxy.queue.wait.duration"


class LoadCounts(NamedTuple):
    """Of a cell since its start: only differences mean anything. Times in ns."""

    ended: int = 0
    """Answers of the upstream, errors among them."""
    failed: int = 0
    upstream_ns: int = 0
    """Time that they took at the upstream, in all."""
    waited: int = 0
    """Those that had to wait for a slot."""
    refused: int = 0


class LoadPoint(NamedTuple):
    """A while of a cell. `in_flight` is the mean at the upstream, by Little's law."""

    at_s: float
    """Its end, in seconds since the epoch."""
    length_s: float
    ended: int
    failed: int
    waited: int
    refused: int
    in_flight: float
    latency_ms: float
    """Mean at the upstream."""
    upstreams: int
    """Healthy ones."""

    @property
    def throughput_rps(self) -> float:
        """Answers per second."""
        return self.ended / self.length_s


def load_counts(samples: Iterable[Sample]) -> dict[str, LoadCounts]:
    """By cell."""
    found: dict[str, dict[str, float]] = {}
    for metric, labels, value in samples:
        if not isinstance(value, HistogramValue):
            continue
        count = found.setdefault(labels[0], dict.fromkeys(LoadCounts._fields, 0.0))
        outcome = labels[-1]
        if metric.name == _DURATION and outcome == "rejected":
            count["refused"] += value.count
        elif metric.name == _DURATION and outcome in {"success", "client_error", "server_error"}:
            count["ended"] += value.count
            count["failed"] += value.count * (outcome == "server_error")
            count["upstream_ns"] += value.sum * NS_PER_S
        elif metric.name == _WAIT and outcome == "admitted":
            count["waited"] += value.count
            count["upstream_ns"] -= value.sum * NS_PER_S
    return {
        cell: LoadCounts(**{name: max(0, round(value)) for name, value in count.items()})
        for cell, count in found.items()
    }


class LoadPoints:
    """The points of all cells; feed it the counts when `is_due`."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Instant, LoadCounts]] = {}
        self._levels: dict[str, dict[int, deque[LoadPoint]]] = {}
        self._fed_at: Instant | None = None

    def is_due(self, now: Instant) -> bool:
        """Whether it is time to feed it again."""
        return self._fed_at is None or now - self._fed_at >= _POINT_NS

    def feed(
        self,
        now: Instant,
        wall_s: float,
        counts: Mapping[str, LoadCounts],
        healthy: Mapping[str, int],
    ) -> None:
        """Take the counts of now. `healthy`: upstreams by cell; those without have `default`'s."""
        self._fed_at = now
        for cell, count in counts.items():
            last = self._last.get(cell)
            if last is None or count.ended < last[1].ended:
                self._last[cell] = (now, count)
                continue
            ended, length_ns = count.ended - last[1].ended, now - last[0]
            if ended < POINT_REQUESTS and length_ns < _POINT_LATEST_NS:
                continue
            self._last[cell] = (now, count)
            if ended >= POINT_REQUESTS:
                upstreams = healthy.get(cell, healthy.get("default", 0))
                self._keep(cell, _point(wall_s, length_ns, last[1], count, upstreams))

    def _keep(self, cell: str, point: LoadPoint) -> None:
        level = math.floor(math.log2(max(1e-9, point.in_flight)) * _LEVELS_PER_OCTAVE)
        level = min(_LEVEL_HIGH, max(_LEVEL_LOW, level))
        levels = self._levels.setdefault(cell, {})
        levels.setdefault(level, deque(maxlen=_PER_LEVEL)).append(point)
        for number, points in list(levels.items()):
            while points and point.at_s - points[0].at_s > _MEMORY_S:
                points.popleft()
            if not points:
                del levels[number]

    def of(self, cell: str) -> list[LoadPoint]:
        """The points of a cell that are kept, in time."""
        levels = self._levels.get(cell, {})
        return sorted(point for points in levels.values() for point in points)

    def view(self) -> dict[str, Any]:
        """All of it as an object for JSON: a row a point, under the names of its columns."""
        return {
            "format": POINTS_FORMAT,
            "schema": POINTS_SCHEMA,
            "columns": list(LoadPoint._fields),
            "cells": {
                cell: [[_short(value) for value in point] for point in self.of(cell)]
                for cell in sorted(self._levels)
            },
        }


def _point(
    wall_s: float, length_ns: int, before: LoadCounts, count: LoadCounts, upstreams: int
) -> LoadPoint:
    ended = count.ended - before.ended
    took_ns = max(0, count.upstream_ns - before.upstream_ns)
    return LoadPoint(
        at_s=wall_s,
        length_s=length_ns / NS_PER_S,
        ended=ended,
        failed=count.failed - before.failed,
        waited=count.waited - before.waited,
        refused=count.refused - before.refused,
        in_flight=took_ns / length_ns,
        latency_ms=took_ns / ended / 1e6,
        upstreams=upstreams,
    )


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}" if value < 1e6 else value)
