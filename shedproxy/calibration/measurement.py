"""What was planned and what was measured: the first half of `calibration.results`, which has all.

Lengths of time are integer nanoseconds, instants are offsets from the start of the calibration.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from shedproxy.core import Nanos, milliseconds

__all__ = [
    "ClassCount",
    "Confidence",
    "Count",
    "GeneratorHealth",
    "Interval",
    "Percentiles",
    "Phase",
    "Plan",
    "Share",
    "Slo",
    "Step",
    "StepState",
    "Window",
]


class Phase(enum.Enum):
    """What a step was for."""

    IDLE = 1
    """One request at a time: latency and service time without load."""
    SEARCH = 2
    """Closed, doubling concurrency: where throughput stops to grow, roughly."""
    CLOSED = 3
    """Closed, a level of the sweep for the USL and for the rate of a service that is never idle."""
    OPEN = 4
    """Open loop: latency and goodput against offered rate."""
    REFUSAL = 5
    """Through a proxy that refuses: what a refusal costs."""


class StepState(enum.Enum):
    """Whether a step counts."""

    STEADY = 1
    OVERLOADED = 2
    """More came than left: no point of a latency curve, but one of the goodput curve."""
    VOID = 3
    """The generator did not do what it should have: counts for nothing."""
    SHORT = 4
    """Too few requests for what was to be read off it."""


class Confidence(enum.Enum):
    """How far a verdict may be relied on; its reasons say why."""

    HIGH = 1
    MEDIUM = 2
    INCONCLUSIVE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its confidence interval (95 % unless `level` says otherwise)."""

    value: float
    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A named part, as a ratio of the whole."""

    name: str
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A named count: of errors by kind ("timeout", "reset", "500"), of signals."""

    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """What became of the requests of one class or one route (`served`: with success in time)."""

    name: str
    offered_count: int
    served_count: int
    refused_count: int
    p50_ns: Nanos | None = None
    p99_ns: Nanos | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Of latency, from the intended send time (closed steps: from the send time)."""

    count: int
    mean_ns: Nanos
    p50_ns: Nanos
    p90_ns: Nanos
    p99_ns: Nanos
    p999_ns: Nanos
    max_ns: Nanos
    histogram: tuple[tuple[Nanos, int], ...] = ()
    """(upper bound, count) of buckets that are not empty, rising; a bucket is about 3 % wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """What good service is."""

    percentile: float
    """0..1, of `latency_ns`."""
    latency_ns: Nanos
    error_ratio: float
    """Most errors, of what was offered."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was meant to be done."""

    slo: Slo
    budget_ns: Nanos
    deadline_ns: Nanos
    """A client gives up after this."""
    arrivals: str = "poisson"
    profile: str = "steps"
    engine: str = "builtin"
    seed: int = 1
    repeats: int = 5
    processes: int = 1
    rate_max_rps: float | None = None
    in_flight_max: int = 0
    classes: tuple[Share, ...] = ()
    routes: tuple[Share, ...] = ()
    is_quick: bool = False
    locustfile: str = ""
    """Whose tasks are the requests; "": there is none."""
    target_build: str = ""
    """What the service runs, as people name it; "": nobody said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorHealth:
    """Whether the generator did what it was told, per step."""

    send_lag_p50_ns: Nanos
    send_lag_p99_ns: Nanos
    send_lag_max_ns: Nanos
    cpu_ratio: float
    """CPU of the busiest generator process over time, 1: a whole core."""
    achieved_ratio: float
    """Sent over planned."""
    not_sent_count: int
    """Arrivals beyond the in-flight cap, or whose connection could not be opened."""
    dispersion_ratio: float | None = None
    """Variance over mean of counts per window of what was planned; about 1 for Poisson."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a step, in time; latency is of what ended in it."""

    started_at_ns: Nanos
    """Since the calibration began, or the run of the verification."""
    length_ns: Nanos
    offered_count: int
    served_count: int
    refused_count: int
    failed_count: int
    in_flight: float
    """Mean over the window."""
    mean_ns: Nanos | None
    p99_ns: Nanos | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step that was played. Rates, counts and latency are of what follows the warm-up cut."""

    index: int
    phase: Phase
    pass_number: int
    """Repeats are passes, from 1; 0 before them."""
    started_at_ns: Nanos
    length_ns: Nanos
    """Warm-up included."""
    cut_ns: Nanos
    """Warm-up that was cut off."""
    state: StepState
    reasons: tuple[str, ...]
    """Why it is not steady, in words; empty if it is."""
    planned_rps: float | None
    """Open steps."""
    concurrency: int | None
    """Closed steps."""
    offered_rps: float
    throughput_rps: float
    """Answers per second, whatever they were."""
    goodput_rps: float
    """Answers per second with success within the SLO's latency."""
    in_flight: float
    """Mean, measured."""
    offered_count: int
    served_count: int
    """With success before the client's deadline."""
    refused_count: int
    failed_count: int
    latency: Percentiles | None
    """Of what was served."""
    health: GeneratorHealth
    windows: tuple[Window, ...] = ()
    routes: tuple[ClassCount, ...] = ()
    classes: tuple[ClassCount, ...] = ()
    errors: tuple[Count, ...] = ()
    ended_at_ns: Nanos = field(default_factory=lambda: milliseconds(0))
    """When nothing was in flight any more."""
    ended_early: bool = False
    """Stopped because the service collapsed."""
