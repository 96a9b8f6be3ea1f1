"""What a load test of another tool left behind, whichever tool it was."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from shedproxy.calibration.results import Count
from shedproxy.core import Nanos

__all__ = ["LatencyFigures", "LoadRecord", "Loop", "Point", "RouteRecord"]


class Loop(enum.Enum):
    """How arrivals came about, and with that what a latency counts from."""

    CLOSED = 1
    """A user asks again when answered: latency counts from the actual sending."""
    OPEN = 2
    """Arrivals come on a schedule, and latency counts from it, or from a start that kept to it."""
    UNKNOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFigures:
    """Whatever the file says of latency."""

    mean_ns: Nanos | None = None
    max_ns: Nanos | None = None
    percentiles: tuple[tuple[float, Nanos], ...] = ()
    """(share 0..1, latency), shares rising."""

    def at(self, share: float) -> Nanos | None:
        """That percentile, if the file has it."""
        return next((ns for each, ns in self.percentiles if abs(each - share) < 1e-9), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRecord:
    """Requests of one name, or all of them."""

    name: str
    request_count: int | None
    failed_count: int | None
    rate_rps: float | None
    latency: LatencyFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A part of the run with about as many users all along."""

    users: float | None
    """Users, or connections, that asked."""
    started_at_ns: Nanos
    length_ns: Nanos
    request_count: int
    failed_count: int
    throughput_rps: float
    latency: LatencyFigures

    @property
    def in_flight(self) -> float | None:
        """Requests in the service on average: throughput times mean latency (Little's law)."""
        mean_ns = self.latency.mean_ns
        return None if mean_ns is None else self.throughput_rps * mean_ns / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRecord:
    """One run."""

    tool: str
    version: str = ""
    files: tuple[str, ...]
    loop: Loop
    length_ns: Nanos | None
    users: float | None = None
    total: RouteRecord
    routes: tuple[RouteRecord, ...] = ()
    points: tuple[Point, ...] = ()
    errors: tuple[Count, ...] = ()
    histogram: tuple[tuple[Nanos, int], ...] = ()
    """(upper bound, count), rising."""
    notes: tuple[str, ...] = ()
    """What was taken for granted in reading it, and what is odd about it."""
