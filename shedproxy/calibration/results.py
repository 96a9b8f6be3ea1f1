"""What a calibration found, as frozen data: the one document that report, gate and what-if read.

Lengths of time are integer nanoseconds, instants are offsets from the start of the calibration,
wall time is ISO 8601 text. No number is negative; what is not known is None, never 0. Fields are
added, never changed or taken away, within one `schema`; a reader ignores what it does not know.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from shedproxy.calibration.measurement import (
    ClassCount,
    Confidence,
    Count,
    GeneratorHealth,
    Interval,
    Percentiles,
    Phase,
    Plan,
    Share,
    Slo,
    Step,
    StepState,
    Window,
)
from shedproxy.calibration.side_findings import (
    ObservedLoad,
    ProxySignals,
    RefusalCost,
    ResidentLevel,
    ResidentsFit,
)
from shedproxy.core import Nanos, seconds
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import from_plain, to_plain

__all__ = [
    "RESULTS_FORMAT",
    "RESULTS_SCHEMA",
    "Aftermath",
    "Calibration",
    "CellThresholds",
    "Change",
    "Check",
    "ClassCount",
    "Confidence",
    "Count",
    "Findings",
    "GeneratorHealth",
    "Interval",
    "KneeFit",
    "LawFit",
    "ObservedLoad",
    "Percentiles",
    "Phase",
    "Plan",
    "Provenance",
    "ProxySignals",
    "RefusalCost",
    "ResidentLevel",
    "ResidentsFit",
    "RouteFit",
    "Share",
    "Slo",
    "Step",
    "StepState",
    "Thresholds",
    "UslFit",
    "Verdict",
    "VerificationRun",
    "Window",
    "decode_calibration",
    "encode_calibration",
]

RESULTS_FORMAT = "shedproxy-calibration"
RESULTS_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UslFit:
    """The Universal Scalability Law, X(N) = lambda N / (1 + sigma (N-1) + kappa N (N-1)).

    `peak_in_flight` and `peak_rps` are None when kappa's interval includes zero.
    """

    lambda_rps: Interval
    sigma: Interval
    kappa: Interval
    r_squared: float
    point_count: int
    peak_in_flight: Interval | None
    peak_rps: Interval | None
    ceiling_rps: Interval | None
    """lambda / sigma; None where sigma's interval includes zero."""
    band: tuple[tuple[float, float, float, float], ...] = ()
    """(N, X, low, high) of the fitted curve, for charts."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KneeFit:
    """Where a curve bends. `curve` is "goodput" or "latency"."""

    curve: str
    rate_rps: Interval
    in_flight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LawFit:
    """Shape of the service times: the named law of `workload.laws` that comes closest."""

    name: str
    cv: float
    distance: float
    """Kolmogorov-Smirnov distance to it, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFit:
    """One route (or "*": all) with nothing else in flight."""

    name: str
    baseline: Interval
    """Median latency without load, in ns."""
    mean: Interval
    """In ns."""
    latency: Percentiles | None
    """None: only means are known."""
    law: LawFit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A doubt that was put to the test. `name`: "little", "a-a", "open-closed", "repeats", ..."""

    name: str
    is_passed: bool
    measured: float
    allowed: float
    text: str
    """What was compared and what came out, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was fitted. None: not enough data, and `missing` says of what."""

    capacity_rps: Interval | None = None
    """What the service completes per second while it is never idle."""
    capacity_in_flight: int | None = None
    """The concurrency at which that was measured."""
    slo_rps: Interval | None = None
    """Largest offered rate that keeps the SLO."""
    slo_in_flight: float | None = None
    """Mean in flight at that rate."""
    slo_latency: Percentiles | None = None
    slo_is_bound: bool = True
    """False: the SLO was kept up to the highest rate played; `slo_rps` is that rate."""
    knee_in_flight: Interval | None = None
    """Capacity times no-load latency: slots that are busy when the service is (Little's law)."""
    knees: tuple[KneeFit, ...] = ()
    usl: UslFit | None = None
    routes: tuple[RouteFit, ...] = ()
    refusal_cost: Interval | None = None
    """CPU of a refusal over CPU of an accepted request."""
    refusal: RefusalCost | None = None
    """The same with what it rests on, and what it means."""
    residents: ResidentsFit | None = None
    """Streams that the service holds."""
    checks: tuple[Check, ...] = ()
    missing: tuple[str, ...] = ()
    collapse_rps: float | None = None
    """Offered rate at which goodput fell below 80 % of capacity, if it was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value of the configuration, before and after. `key` is dotted; values as TOML shows them.

    `before` is "" where nothing was set.
    """

    key: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellThresholds:
    """What a cell is to be told, for all of its upstreams' weight together."""

    name: str
    start: int
    floor: int
    ceiling: int | None
    """None: nothing above what was seen is known."""
    upstream_weight: int = 1
    """Healthy upstreams when measured; limits scale with how many there are."""
    resident_limit: int | None = None
    queue_wait_ns: Nanos | None = None
    baseline_ns: Nanos | None = None
    """Of all routes together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What follows for the configuration."""

    cells: tuple[CellThresholds, ...]
    changes: tuple[Change, ...] = ()
    expires_after_ns: Nanos = field(default_factory=lambda: seconds(30 * 86_400))


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """After the load fell back to 0.8: how long until goodput was 95 % of it again."""

    recovery_ns: Nanos | None
    """None: not within what was watched."""
    watched_ns: Nanos


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRun:
    """The same load once more, through the proxy, with shedding off or on."""

    load_ratio: float
    """Offered over capacity."""
    is_shedding: bool
    offered_rps: float
    goodput_rps: float
    goodput_ratio: float
    """Over the smaller of capacity and offered."""
    offered_count: int
    served_count: int
    refused_count: int
    failed_count: int
    latency: Percentiles | None
    refusal: Percentiles | None
    health: GeneratorHealth
    classes: tuple[ClassCount, ...] = ()
    windows: tuple[Window, ...] = ()
    aftermath: Aftermath | None = None
    is_void: bool = False
    reasons: tuple[str, ...] = ()
    """Why it is void."""
    signals: ProxySignals | None = None
    """Of the proxy; None: they were not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer, and how far to believe it."""

    confidence: Confidence
    reasons: tuple[str, ...]
    """Why no better, or why so good; the weightiest first."""
    headline: str
    limit: int | None = None
    slo_is_met: bool | None = None
    """Whether any rate kept the SLO; None: not known."""
    is_verified: bool | None = None
    """What the verification said of the thresholds; None: there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where it came from, enough to do it again."""

    id: str
    target: str
    command: str
    started: str
    """ISO 8601, UTC."""
    finished: str
    version: str
    fingerprint: str
    """`sha256:...` of machine and target build, as far as both are known."""
    machine: tuple[tuple[str, str], ...] = ()
    """(what, value): CPU, cores, quota, kernel, Python, load before."""
    packages: tuple[tuple[str, str], ...] = ()
    target_build: str = ""
    """As people name it; "": nobody said."""
    source: str = "load"
    """`load`, `observed` (a live proxy's own points) or `import`."""
    is_complete: bool = True
    """False: stopped early; what was measured until then stands."""
    stopped_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A whole calibration, from plan to verdict."""

    plan: Plan
    provenance: Provenance
    steps: tuple[Step, ...]
    findings: Findings
    thresholds: Thresholds | None
    verification: tuple[VerificationRun, ...]
    verdict: Verdict
    observed: ObservedLoad | None = None
    """Where no load was played."""
    schema: int = RESULTS_SCHEMA


def encode_calibration(calibration: Calibration) -> dict[str, Any]:
    """The calibration as an object for JSON, its format named."""
    body: dict[str, Any] = to_plain(calibration)
    return {"format": RESULTS_FORMAT, **body}


def decode_calibration(text: str | bytes) -> Calibration:
    """The calibration that `encode_calibration` made, from its JSON.

    Raises:
        DocumentInvalidError: it is something else, newer than this version, or damaged.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"not JSON: {error}") from error
    if not isinstance(body, dict) or body.get("format") != RESULTS_FORMAT:
        raise _invalid("not a calibration of shedproxy")
    schema = body.get("schema")
    if type(schema) is not int or schema > RESULTS_SCHEMA:
        raise _invalid(f"schema {schema} is not one that this version reads ({RESULTS_SCHEMA})")
    try:
        return from_plain(Calibration, body)
    except TypeError as error:
        # A dataclass without one of its fields.
        raise _invalid(f"incomplete: {error}") from error


def _invalid(message: str) -> DocumentInvalidError:
    return DocumentInvalidError([Problem(message=message)])
