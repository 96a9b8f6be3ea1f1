"""What is found beside the capacity: points of a live proxy, residents, what a refusal costs,
what the proxy showed of itself.

Part of the results (`calibration.results`), and with them of the report's schema.
"""

from __future__ import annotations

from dataclasses import dataclass

from shedproxy.calibration.measurement import Interval
from shedproxy.core import Nanos

__all__ = ["ObservedLoad", "ProxySignals", "RefusalCost", "ResidentLevel", "ResidentsFit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedLoad:
    """What a live proxy saw: it bounds what may be claimed."""

    point_count: int
    span_ns: Nanos
    """From the first point to the last."""
    upstreams: int
    highest_in_flight: float
    highest_rps: float
    points: tuple[tuple[float, float, float], ...] = ()
    """(mean in flight at the upstream, answers per second, mean latency there in ms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCost:
    """CPU of the proxy's worker for a request that it refuses, beside one that it passes on."""

    ratio: Interval
    """Refused over served: r."""
    served_ns: Nanos
    refused_ns: Nanos
    best_goodput: tuple[tuple[float, float], ...]
    """(offered over capacity, best goodput over capacity) where the worker's CPU is what is short:
    (1 - r L) / (1 - r)."""
    full_ratio: float | None
    """Offered over capacity up to which one worker has CPU for everybody; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySignals:
    """What the proxy showed of itself while load went through it."""

    points: tuple[tuple[float, float, float, float], ...]
    """(seconds since the first, limit, in flight, waiting), about once a second."""
    cpu_ratio: float | None
    """CPU of all workers over time, 1: a whole core."""
    loop_lag_max_ns: Nanos
    """How late a worker's event loop was at worst."""
    queue_wait_mean_ns: Nanos | None
    """Of those who waited for a slot and got one; None: nobody did."""
    queue_wait_p99_ns: Nanos | None
    """The bound of the bucket that holds it; None: nobody waited, or beyond all bounds."""
    memory_bytes: int
    """The most that all workers held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentLevel:
    """So many streams open, and how everybody fared."""

    open_count: int
    opened_count: int
    """Of this level: those that were asked for."""
    failed_count: int
    """Refused, or ended too early."""
    first_byte_p99_ns: Nanos | None
    ordinary_count: int
    ordinary_failed_count: int
    ordinary_p99_ns: Nanos | None
    """Of requests that are no streams, from the intended send time."""
    memory_bytes: int | None
    """Of the service's processes; None where they cannot be seen."""
    is_good: bool
    reasons: tuple[str, ...] = ()
    """Why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentsFit:
    """How many streams the service holds beside its ordinary load."""

    path: str
    kind: str
    """`sse`, `websocket` or `longpoll`."""
    limit: int | None
    """None: not even the fewest did well."""
    is_bound: bool
    """True: more than that did harm. False: that many was the most that was tried."""
    ordinary_rps: float
    levels: tuple[ResidentLevel, ...] = ()
    bytes_per_stream: int | None = None
    reason: str = ""
