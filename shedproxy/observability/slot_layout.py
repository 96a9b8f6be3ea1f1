"""Where each number lives: the layout of a worker's integer slots, as a function of the table.

A worker has one block of its own and one block per cell; the blocks of cells in use come first,
so that a page whose higher cells are unused stays untouched memory. A histogram is its buckets,
the one above the last bound included, followed by the sum of what was measured.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import NamedTuple

from shedproxy.core import Criticality, RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric import (
    DecisionOutcome,
    Eviction,
    Gauge,
    Metric,
    ProcessCounter,
    ProcessGauge,
    RequestOutcome,
    RetryCause,
    RetryDenial,
    SpillSide,
    WaitOutcome,
)
from shedproxy.observability.metric_labels import (
    CLASSES,
    DURATION_BOUNDS,
    LIMIT_CAUSES,
    WAIT_BOUNDS,
)
from shedproxy.observability.metric_table import METRICS, metric_named
from shedproxy.snapshot import CELLS_MAX

__all__ = [
    "CELL_GAUGES",
    "CELL_SERIES",
    "LAYOUT",
    "PROCESS_COUNTERS",
    "PROCESS_GAUGES",
    "PROCESS_SERIES",
    "Layout",
    "Series",
    "layout_digest",
    "make_layout",
]

DURATION_OUTCOMES = 4
"""Outcomes that have slots of their own; the fifth, REJECTED, is derived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Offsets in slots. `cell_*` count from the start of a cell's block, the rest from 0."""

    process_gauges: int
    process_counters: int
    process_faults: int
    cells: int
    """Where the block of cell 0 starts."""
    cell_admitted: int
    cell_rejected: int
    cell_would_reject: int
    cell_bypass: int
    cell_goodput: int
    cell_faults: int
    cell_limit_changes: int
    cell_retries: int
    cell_retries_denied: int
    cell_spilled: int
    cell_held: int
    """How much, and for how long."""
    cell_gauges: int
    cell_waits: int
    cell_durations: int
    cell_stride: int
    """Slots of one cell's block."""
    wait_stride: int
    duration_stride: int
    """Slots of one histogram: buckets and the sum."""
    total: int

    def cell_start(self, cell: int) -> int:
        """Where the block of a cell starts."""
        return self.cells + cell * self.cell_stride


def make_layout(
    *,
    cells: int = CELLS_MAX,
    classes: int = len(Criticality),
    reasons: int = len(RejectReason),
    faults: int = len(Fault),
    causes: int = len(LIMIT_CAUSES),
) -> Layout:
    """Lay the blocks one behind another."""
    process_counters = len(ProcessGauge)
    process_faults = process_counters + len(ProcessCounter)
    cells_at = process_faults + faults
    wait_stride = len(WAIT_BOUNDS) + 2
    duration_stride = len(DURATION_BOUNDS) + 2
    rejected = classes
    would_reject = rejected + classes * reasons
    bypass = would_reject + classes * reasons
    goodput = bypass + 1
    cell_faults = goodput + classes
    limit_changes = cell_faults + faults
    retries = limit_changes + causes
    retries_denied = retries + len(RetryCause)
    spilled = retries_denied + len(RetryDenial)
    held = spilled + len(SpillSide)
    gauges = held + 2
    waits = gauges + len(Gauge)
    durations = waits + classes * len(WaitOutcome) * wait_stride
    stride = durations + classes * DURATION_OUTCOMES * duration_stride
    return Layout(
        process_gauges=0,
        process_counters=process_counters,
        process_faults=process_faults,
        cells=cells_at,
        cell_admitted=0,
        cell_rejected=rejected,
        cell_would_reject=would_reject,
        cell_bypass=bypass,
        cell_goodput=goodput,
        cell_faults=cell_faults,
        cell_limit_changes=limit_changes,
        cell_retries=retries,
        cell_retries_denied=retries_denied,
        cell_spilled=spilled,
        cell_held=held,
        cell_gauges=gauges,
        cell_waits=waits,
        cell_durations=durations,
        cell_stride=stride,
        wait_stride=wait_stride,
        duration_stride=duration_stride,
        total=cells_at + cells * stride,
    )


LAYOUT = make_layout()
"""The layout of this version of shedproxy."""


class Series(NamedTuple):
    """One exported series and its slots, counted from the start of its block."""

    metric: Metric
    labels: tuple[str, ...]
    """Values of the metric's labels in their order, the cell's left out."""
    offset: int


CELL_GAUGES: dict[Gauge, str | None] = {
    Gauge.IN_FLIGHT: "shedproxy.in_flight",
    Gauge.LIMIT: "shedproxy.limit",
    Gauge.QUEUE_LENGTH: "shedproxy.queue.length",
    Gauge.RESIDENTS: "shedproxy.residents",
    Gauge.ZOMBIES: "shedproxy.zombies",
    Gauge.CONTROL_IN_FLIGHT: "shedproxy.control.in_flight",
    Gauge.SHED_RANK: "shedproxy.shed.level",
    Gauge.SHED_SHARE_PPM: "shedproxy.shed.share",
    Gauge.PRESSURE_PPM: "shedproxy.pressure",
    Gauge.BASELINE_NS: "shedproxy.baseline",
    Gauge.LIMIT_CAUSE: None,
    Gauge.DEMAND: "shedproxy.demand",
    Gauge.UPSTREAMS_HEALTHY: "shedproxy.upstream.healthy",
    Gauge.UPSTREAMS: "shedproxy.upstream.configured",
    Gauge.CAPACITY: "shedproxy.capacity",
    Gauge.UPSTREAM_WEIGHT: "shedproxy.upstream.weight",
    **dict.fromkeys(map(Gauge.of_class, Criticality), "shedproxy.class.in_flight"),
    Gauge.GUESTS: "shedproxy.guests",
    Gauge.GUEST_ROOM: "shedproxy.guests.room",
    Gauge.HOST_LIMIT: None,
    Gauge.HOST_IN_FLIGHT: None,
}
"""The metric that shows each gauge of a cell; None: read one worker at a time."""

_CLASS_OF = {Gauge.of_class(criticality): (criticality.label,) for criticality in Criticality}
"""Labels of the gauges that have some."""

PROCESS_GAUGES: dict[ProcessGauge, str] = {
    ProcessGauge.LOOP_LAG_NS: "shedproxy.runtime.loop_lag",
    ProcessGauge.CONNECTIONS: "shedproxy.connections.open",
    ProcessGauge.TUNNELS: "shedproxy.tunnels.open",
    ProcessGauge.UPSTREAM_CONNECTIONS: "shedproxy.upstream.connections.open",
    ProcessGauge.RSS_BYTES: "process.memory.usage",
}

PROCESS_COUNTERS: dict[ProcessCounter, str] = {
    ProcessCounter.CONNECTIONS_ACCEPTED: "shedproxy.connections.accepted",
    ProcessCounter.LOG_LINES_DROPPED: "shedproxy.access_log.dropped",
    ProcessCounter.LOG_LINES_SUPPRESSED: "shedproxy.access_log.suppressed",
    ProcessCounter.LOOP_STALLS: "shedproxy.runtime.loop_stalls",
    ProcessCounter.CPU_NS: "process.cpu.time",
    ProcessCounter.CONNECTIONS_DROPPED: "shedproxy.connections.dropped",
    ProcessCounter.HELD: "shedproxy.loop.held",
    ProcessCounter.HELD_NS: "shedproxy.loop.held.time",
    **dict.fromkeys(map(ProcessCounter.of_eviction, Eviction), "shedproxy.connections.evicted"),
}

_EVICTION_OF = {ProcessCounter.of_eviction(eviction): (eviction.label,) for eviction in Eviction}
"""Labels of the counters that have some."""


def _decision_series(layout: Layout) -> list[Series]:
    metric = metric_named("shedproxy.decisions")
    series = [
        Series(metric, (name, "admitted", ""), layout.cell_admitted + index)
        for index, name in enumerate(CLASSES)
    ]
    for outcome, start in (
        (DecisionOutcome.REJECTED, layout.cell_rejected),
        (DecisionOutcome.WOULD_REJECT, layout.cell_would_reject),
    ):
        series += [
            Series(
                metric,
                (name, outcome.name.lower(), reason.label),
                start + index * len(RejectReason) + reason,
            )
            for index, name in enumerate(CLASSES)
            for reason in RejectReason
        ]
    series.append(Series(metric, ("", "bypass", ""), layout.cell_bypass))
    return series


def _histogram_series(
    name: str, outcomes: tuple[str, ...], start: int, stride: int
) -> list[Series]:
    metric = metric_named(name)
    return [
        Series(metric, (label, outcome), start + (index * len(outcomes) + number) * stride)
        for index, label in enumerate(CLASSES)
        for number, outcome in enumerate(outcomes)
    ]


def _cell_series(layout: Layout) -> tuple[Series, ...]:
    goodput = metric_named("shedproxy.goodput")
    faults = metric_named("shedproxy.faults")
    changes = metric_named("shedproxy.limit.changes")
    retries = metric_named("shedproxy.retries")
    denied = metric_named("shedproxy.retries.denied")
    spilled = metric_named("shedproxy.spilled")
    return (
        *_decision_series(layout),
        *(Series(goodput, (name,), layout.cell_goodput + i) for i, name in enumerate(CLASSES)),
        *_histogram_series(
            "http.server.request.duration",
            tuple(outcome.name.lower() for outcome in RequestOutcome)[:DURATION_OUTCOMES],
            layout.cell_durations,
            layout.duration_stride,
        ),
        *_histogram_series(
            "shedproxy.queue.wait.duration",
            tuple(outcome.name.lower() for outcome in WaitOutcome),
            layout.cell_waits,
            layout.wait_stride,
        ),
        *(Series(faults, (fault.label,), layout.cell_faults + fault) for fault in Fault),
        *(
            Series(changes, (cause,), layout.cell_limit_changes + number)
            for number, cause in enumerate(LIMIT_CAUSES)
        ),
        *(
            Series(retries, (cause.name.lower(),), layout.cell_retries + cause)
            for cause in RetryCause
        ),
        *(
            Series(denied, (denial.name.lower(),), layout.cell_retries_denied + denial)
            for denial in RetryDenial
        ),
        *(Series(spilled, (side.name.lower(),), layout.cell_spilled + side) for side in SpillSide),
        Series(metric_named("shedproxy.loop.held"), (), layout.cell_held),
        Series(metric_named("shedproxy.loop.held.time"), (), layout.cell_held + 1),
        *(
            Series(metric_named(name), _CLASS_OF.get(gauge, ()), layout.cell_gauges + gauge)
            for gauge, name in CELL_GAUGES.items()
            if name is not None
        ),
    )


def _process_series(layout: Layout) -> tuple[Series, ...]:
    faults = metric_named("shedproxy.faults")
    return (
        *(Series(faults, (fault.label,), layout.process_faults + fault) for fault in Fault),
        *(
            Series(metric_named(name), (), layout.process_gauges + gauge)
            for gauge, name in PROCESS_GAUGES.items()
        ),
        *(
            Series(
                metric_named(name),
                _EVICTION_OF.get(counter, ()),
                layout.process_counters + counter,
            )
            for counter, name in PROCESS_COUNTERS.items()
        ),
    )


CELL_SERIES = _cell_series(LAYOUT)
"""Every series that has slots in a cell's block."""

PROCESS_SERIES = _process_series(LAYOUT)
"""Every series that has slots in a worker's own block."""


def layout_digest(layout: Layout = LAYOUT) -> int:
    """A number that differs between versions whose slots mean different things.

    A page written by one version and read by another would show wrong numbers; its header carries
    this, and whoever attaches compares.
    """
    named = [(metric.name, metric.unit, metric.scale, metric.bounds) for metric in METRICS]
    slots = [
        (series.metric.name, series.labels, series.offset)
        for series in (*CELL_SERIES, *PROCESS_SERIES)
    ]
    return zlib.crc32(repr((layout, named, slots)).encode())
