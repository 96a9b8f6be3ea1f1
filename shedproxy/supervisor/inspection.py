"""What the supervisor knows of the workers, read from the shared page: no worker is asked.

A blocked worker is seen as it was when it last published; its heartbeat tells how long ago.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import (
    NS_PER_S,
    Criticality,
    Mode,
    Nanos,
    RejectReason,
    explain_refusal,
    refusal_holds,
    to_milliseconds,
    to_seconds,
)
from shedproxy.dataplane.share_page import SharePage
from shedproxy.observability.meter import Gauge, Meter
from shedproxy.observability.metric import ProcessGauge
from shedproxy.observability.metric_labels import LIMIT_CAUSES, WORKER_STATES
from shedproxy.observability.reading import Sample, sample_of, samples
from shedproxy.observability.ring import RefusalRecord, RefusalRing, find_refusal
from shedproxy.snapshot import Document
from shedproxy.supervisor.explain import CellNumbers
from shedproxy.supervisor.fleet import Fleet
from shedproxy.supervisor.health import WorkerBeat
from shedproxy.supervisor.process import WorkerProcess, WorkerState
from shedproxy.supervisor.stalls import StallWatch
from shedproxy.supervisor.worker_detail import disagreement, worker_cells, worker_samples

__all__ = ["Inspection"]

_SERVING = frozenset({WorkerState.READY, WorkerState.DRAINING})
_PPM = 1_000_000
_NOT_CAPACITY = (
    RejectReason.ROUTE_LIMIT,
    RejectReason.FAIR_SHARE,
    RejectReason.CONTROL_BUDGET,
    RejectReason.DRAINING,
)
"""Refusals that another instance would give too, or that are no sign of a useless one."""


class Inspection:
    """Read-outs of the page and the fleet."""

    def __init__(
        self,
        page: SharePage,
        fleet: Fleet,
        stalls: StallWatch,
        *,
        clock: Clock = monotonic_now,
    ) -> None:
        self._stalls = stalls
        self._page = page
        self._fleet = fleet
        self._clock = clock
        self._meters = [Meter(view.slots) for view in page.workers]

    def beats(self) -> list[WorkerBeat]:
        """Every worker as its health is judged."""
        return [
            WorkerBeat(
                index=worker.index,
                is_serving=worker.state in _SERVING and worker.ready_at is not None,
                state=worker.state.value,
                age_ns=self.heartbeat_age(worker),
            )
            for worker in self._fleet.workers
        ]

    def heartbeat_age(self, worker: WorkerProcess) -> Nanos:
        """Since the worker's loop last turned; since it was ready, when it has not turned yet."""
        last = max(self._page.worker(worker.region).heartbeat, worker.ready_at or 0)
        return Nanos(max(0, self._clock() - last)) if last else Nanos(0)

    def totals(self, document: Document) -> tuple[int, int]:
        """Requests served and refused for want of capacity, since the start."""
        served = refused = 0
        for index in range(len(document.numbered_cells)):
            for meter in self._meters:
                served += meter.admitted(index) + meter.would_reject(index)
                refused += meter.rejected(index) - sum(
                    meter.rejected(index, reason) for reason in _NOT_CAPACITY
                )
        return served, refused

    def numbers(self, document: Document, cell: str) -> CellNumbers:
        """A cell as all workers together published it last."""
        policies = document.policy.cells
        name = cell if any(cell == policy.name for policy in policies) else policies[0].name
        index = document.numbered_cells.index(name)
        return CellNumbers(
            in_flight=self._sum(index, Gauge.IN_FLIGHT),
            class_in_flight=self._by_class(index),
            limit=self._sum(index, Gauge.LIMIT),
            queue_length=self._sum(index, Gauge.QUEUE_LENGTH),
            residents=self._sum(index, Gauge.RESIDENTS),
            control_in_flight=self._sum(index, Gauge.CONTROL_IN_FLIGHT),
            shed_rank=self._max(index, Gauge.SHED_RANK),
            shed_share=self._max(index, Gauge.SHED_SHARE_PPM) / _PPM,
            upstreams=self._max(index, Gauge.UPSTREAMS),
            upstreams_healthy=self._max(index, Gauge.UPSTREAMS_HEALTHY),
            guest_room=self._max(index, Gauge.GUEST_ROOM),
        )

    def load(self, document: Document, cell: str) -> tuple[float, float]:
        """Cost offered to a cell per second, and the most that it is known to do; 0: nobody knows.

        What was measured while it was saturated, unless it does more than that by now; else what
        its limit lets through at its baseline.
        """
        index = document.numbered_cells.index(cell)
        demand, capacity = self._sum(index, Gauge.DEMAND), self._sum(index, Gauge.CAPACITY)
        is_overloaded = self._max(index, Gauge.PRESSURE_PPM) >= _PPM
        baseline_ns = self._max(index, Gauge.BASELINE_NS)
        if capacity and (capacity >= demand or is_overloaded):
            return float(demand), float(capacity)
        if baseline_ns > 0:
            return float(demand), self._sum(index, Gauge.LIMIT) * NS_PER_S / baseline_ns
        return float(demand), 0.0

    def samples(self, document: Document, extra: Iterable[Sample]) -> Iterator[Sample]:
        """Every series, with the supervisor's own put in their place."""
        detail = worker_samples(self._fleet.workers, self._meters, document)
        extra = (*extra, *self._own_samples(), *detail)
        return samples(self._page.slots, document.numbered_cells, extra)

    def _own_samples(self) -> Iterator[Sample]:
        views = (self._page.worker(worker.region) for worker in self._fleet.workers)
        states = Counter(view.state.label for view in views)
        for state in WORKER_STATES:
            yield sample_of("shedproxy.workers", states[state], state)
        yield sample_of("shedproxy.worker.restarts", self._fleet.restarts)
        for place, count in self._stalls.places.counts():
            yield sample_of("shedproxy.worker.stalls", count, place)
        for place, count in self._stalls.own.places.counts():
            yield sample_of("shedproxy.supervisor.stalls", count, place)
        yield sample_of("shedproxy.worker.stall.time", to_seconds(Nanos(self._stalls.total_ns)))
        ages = [self.heartbeat_age(worker) for worker in self._fleet.workers]
        yield sample_of("shedproxy.worker.heartbeat.age", to_seconds(max(ages)))

    def cells(self, document: Document) -> list[dict[str, Any]]:
        """Every cell for the status page."""
        return [
            self._cell(document.numbered_cells.index(policy.name), policy.name)
            for policy in document.policy.cells
        ]

    def workers(self, document: Document) -> list[dict[str, Any]]:
        """Every worker for the status page."""
        return [
            self._worker(worker) | {"cells": worker_cells(self._meters[worker.region], document)}
            for worker in self._fleet.workers
        ]

    def find(self, text: str) -> RefusalRecord | None:
        """The refusal that was answered with this id, if it is still kept."""
        return find_refusal(self._page.rings, text)

    def refusal(self, record: RefusalRecord, document: Document) -> dict[str, Any]:
        """A recorded refusal, its sentence, and whether its numbers bear its reason out."""
        cells = document.numbered_cells
        cell = cells[record.cell] if record.cell < len(cells) else f"#{record.cell}"
        rejected = record.to_rejected(cell)
        return {
            "id": RefusalRing.format_id(record.id),
            "at": record.wall_ns / 1e9,
            "reason": record.reason.label,
            "sentence": explain_refusal(rejected),
            "holds": refusal_holds(rejected),
            "was_sent": record.mode is Mode.ENFORCE,
            "mode": record.mode.label,
            "route": record.route,
            "cell": cell,
            "criticality": record.criticality.label,
            "is_retry": record.is_retry,
            "cost": record.cost,
            "in_flight": record.in_flight,
            "limit": record.limit,
            "queue_length": record.queue_length,
            "waited_ms": to_milliseconds(record.waited_ns),
            "numbers": rejected.evidence,
        }

    def _cell(self, index: int, name: str) -> dict[str, Any]:
        numbers = {
            "name": name,
            "limit": self._sum(index, Gauge.LIMIT),
            "in_flight": self._sum(index, Gauge.IN_FLIGHT),
            "class_in_flight": {
                criticality.label: count
                for criticality, count in zip(Criticality, self._by_class(index), strict=True)
            },
            "queue_length": self._sum(index, Gauge.QUEUE_LENGTH),
            "residents": self._sum(index, Gauge.RESIDENTS),
            "zombies": self._sum(index, Gauge.ZOMBIES),
            "guests": self._sum(index, Gauge.GUESTS),
            "control_in_flight": self._sum(index, Gauge.CONTROL_IN_FLIGHT),
            "pressure": self._max(index, Gauge.PRESSURE_PPM) / _PPM,
            "shed_rank": self._max(index, Gauge.SHED_RANK),
            "shed_share": self._max(index, Gauge.SHED_SHARE_PPM) / _PPM,
            "demand_per_second": self._sum(index, Gauge.DEMAND),
        }
        baseline = self._max(index, Gauge.BASELINE_NS)
        cause = self._max(index, Gauge.LIMIT_CAUSE)
        meters = self._meters
        held = [meter.held(index) for meter in meters]
        return {
            **numbers,
            "disagreement": disagreement(self._fleet.workers, meters, index),
            "baseline_ms": to_milliseconds(baseline) if baseline > 0 else None,
            "limit_cause": LIMIT_CAUSES[cause - 1] if 0 < cause <= len(LIMIT_CAUSES) else None,
            "admitted": sum(meter.admitted(index) for meter in meters),
            "rejected": sum(meter.rejected(index) for meter in meters),
            "would_reject": sum(meter.would_reject(index) for meter in meters),
            "goodput": sum(meter.goodput(index) for meter in meters),
            "held": sum(count for count, _ in held),
            "held_ms": to_milliseconds(Nanos(sum(length_ns for _, length_ns in held))),
        }

    def _worker(self, worker: WorkerProcess) -> dict[str, Any]:
        view = self._page.worker(worker.region)
        meter = self._meters[worker.region]
        return {
            "index": worker.index,
            "pid": worker.pid,
            "state": worker.state.value,
            "mode": view.mode.label,
            "revision": worker.revision,
            "restarts": worker.restarts,
            "is_crash_looping": worker.is_crash_looping,
            "last_exit": worker.last_exit,
            "page_lost": worker.page_lost,
            "problems": worker.problems,
            "heartbeat_age_s": round(to_seconds(self.heartbeat_age(worker)), 3),
            "last_stall": self._stalls.last(worker.index),
            "loop_lag_ms": to_milliseconds(meter.process(ProcessGauge.LOOP_LAG_NS)),
            "connections": meter.process(ProcessGauge.CONNECTIONS),
            "upstream_connections": meter.process(ProcessGauge.UPSTREAM_CONNECTIONS),
            "memory_bytes": meter.process(ProcessGauge.RSS_BYTES),
        }

    def _sum(self, cell: int, gauge: Gauge) -> int:
        return sum(meter.gauge(cell, gauge) for meter in self._meters)

    def _by_class(self, cell: int) -> tuple[int, ...]:
        return tuple(self._sum(cell, Gauge.of_class(each)) for each in Criticality)

    def _max(self, cell: int, gauge: Gauge) -> int:
        return max(meter.gauge(cell, gauge) for meter in self._meters)
