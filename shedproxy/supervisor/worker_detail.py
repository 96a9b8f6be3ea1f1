"""Each worker's own view of every cell, and how far apart these views are.

Workers of a host share limits, but each measures with its own requests. Where they disagree for
long, one of them is fed otherwise than the rest, or cannot share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shedproxy.core import RANKS, to_milliseconds
from shedproxy.observability.meter import Gauge, Meter
from shedproxy.observability.metric import ProcessGauge
from shedproxy.observability.reading import Sample, sample_of
from shedproxy.snapshot import Document
from shedproxy.supervisor.process import WorkerProcess, WorkerState

__all__ = ["disagreement", "worker_cells", "worker_samples"]

_CELL_GAUGES = (
    ("shedproxy.worker.in_flight", Gauge.IN_FLIGHT, 1),
    ("shedproxy.worker.queue.length", Gauge.QUEUE_LENGTH, 1),
    ("shedproxy.worker.limit", Gauge.HOST_LIMIT, 1),
    ("shedproxy.worker.shed.level", Gauge.SHED_RANK, 1),
    ("shedproxy.worker.baseline", Gauge.BASELINE_NS, 1e9),
    ("shedproxy.worker.demand", Gauge.DEMAND, 1),
)
_PROCESS_GAUGES = (
    ("shedproxy.worker.loop_lag", ProcessGauge.LOOP_LAG_NS, 1e9),
    ("shedproxy.worker.connections.open", ProcessGauge.CONNECTIONS, 1),
    ("shedproxy.worker.memory.usage", ProcessGauge.RSS_BYTES, 1),
)
_SERVING = frozenset({WorkerState.READY, WorkerState.DRAINING})


def worker_samples(
    workers: Sequence[WorkerProcess], meters: Sequence[Meter], document: Document
) -> Iterator[Sample]:
    """What each worker shows and how far they are apart; nothing where there is only one."""
    yield sample_of("shedproxy.worker.page_lost", sum(bool(w.page_lost) for w in workers))
    if len(workers) < 2:
        return
    cells = _cells(document)
    for name, gauge, scale in _CELL_GAUGES:
        for cell, number in cells:
            for worker in workers:
                value = meters[worker.region].gauge(number, gauge)
                yield sample_of(name, value / scale, cell, str(worker.index))
    for name, process_gauge, scale in _PROCESS_GAUGES:
        for worker in workers:
            used = meters[worker.region].process(process_gauge)
            yield sample_of(name, used / scale, str(worker.index))
    for cell, number in cells:
        for about, distance in disagreement(workers, meters, number).items():
            yield sample_of("shedproxy.workers.disagreement", distance, cell, about)


def disagreement(
    workers: Sequence[WorkerProcess], meters: Sequence[Meter], cell: int
) -> dict[str, float]:
    """How far the workers are apart on a cell, by its number: 0, they agree, to 1.

    Limits and baselines: the distance between the largest and the least, over the largest. Shed
    levels: over all ranks. Who does not serve, or writes to no page, has no say; nor has who
    knows no baseline yet, in what they think of baselines.
    """
    asked = [
        meters[worker.region]
        for worker in workers
        if worker.state in _SERVING and worker.ready_at is not None and not worker.page_lost
    ]
    ranks = [meter.gauge(cell, Gauge.SHED_RANK) for meter in asked]
    return {
        "limit": _distance([meter.gauge(cell, Gauge.HOST_LIMIT) for meter in asked]),
        "shed_level": (max(ranks) - min(ranks)) / RANKS if ranks else 0.0,
        "baseline": _distance([meter.gauge(cell, Gauge.BASELINE_NS) for meter in asked]),
    }


def _distance(values: Sequence[int]) -> float:
    known = [value for value in values if value > 0]
    return (max(known) - min(known)) / max(known) if known else 0.0


def worker_cells(meter: Meter, document: Document) -> dict[str, dict[str, Any]]:
    """One worker's view of the cells, by name, for the status page."""
    return {
        name: {
            "in_flight": meter.gauge(number, Gauge.IN_FLIGHT),
            "queue_length": meter.gauge(number, Gauge.QUEUE_LENGTH),
            "limit": meter.gauge(number, Gauge.HOST_LIMIT),
            "shed_rank": meter.gauge(number, Gauge.SHED_RANK),
            "baseline_ms": to_milliseconds(meter.gauge(number, Gauge.BASELINE_NS)) or None,
            "demand_per_second": meter.gauge(number, Gauge.DEMAND),
        }
        for name, number in _cells(document)
    }


def _cells(document: Document) -> list[tuple[str, int]]:
    numbered = document.numbered_cells
    return [(policy.name, numbered.index(policy.name)) for policy in document.policy.cells]
