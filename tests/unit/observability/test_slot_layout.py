"""Every slot means one thing, and every exported series has its slots."""

from __future__ import annotations

from collections import Counter

import pytest

from shedproxy.core import Criticality, RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric import Gauge, Instrument, ProcessCounter, ProcessGauge
from shedproxy.observability.metric_labels import CELL
from shedproxy.observability.metric_table import METRICS, metric_named
from shedproxy.observability.slot_layout import (
    CELL_GAUGES,
    CELL_SERIES,
    LAYOUT,
    PROCESS_COUNTERS,
    PROCESS_GAUGES,
    PROCESS_SERIES,
    layout_digest,
    make_layout,
)
from shedproxy.snapshot import CELLS_MAX

BY_SUPERVISOR = {
    "shedproxy.workers",
    "shedproxy.mode",
    "shedproxy.config.reloads",
    "shedproxy.worker.restarts",
    "shedproxy.supervisor.stalls",
    "shedproxy.worker.stalls",
    "shedproxy.worker.stall.time",
    "shedproxy.calibration.age",
    "shedproxy.calibration.alarm",
    "shedproxy.calibration.drift",
    *(f"shedproxy.snapshot.{name}" for name in ("age", "pulls", "refusals", "reports")),
    *(f"shedproxy.snapshot.{name}" for name in ("revision", "stale", "absent")),
    "shedproxy.worker.heartbeat.age",
    "shedproxy.worker.baseline",
    "shedproxy.worker.connections.open",
    "shedproxy.worker.demand",
    "shedproxy.worker.in_flight",
    "shedproxy.worker.limit",
    "shedproxy.worker.loop_lag",
    "shedproxy.worker.memory.usage",
    "shedproxy.worker.page_lost",
    "shedproxy.worker.queue.length",
    "shedproxy.worker.shed.level",
    "shedproxy.workers.disagreement",
    "shedproxy.magazine.empty",
    "shedproxy.magazine.frozen",
    "shedproxy.magazine.left",
    "shedproxy.magazine.out",
    "shedproxy.magazine.reloaded",
    "shedproxy.magazine.spent",
}


def width(series) -> int:
    is_histogram = series.metric.instrument is Instrument.HISTOGRAM
    return len(series.metric.bounds) + 2 if is_histogram else 1


def slots_of(group) -> Counter[int]:
    return Counter(
        at for series in group for at in range(series.offset, series.offset + width(series))
    )


def test_no_two_series_share_a_slot():
    assert max(slots_of(CELL_SERIES).values()) == 1
    assert max(slots_of(PROCESS_SERIES).values()) == 1


def test_every_slot_is_exported_or_for_the_status_page():
    hidden = {LAYOUT.cell_gauges + gauge for gauge, name in CELL_GAUGES.items() if name is None}
    by_worker = (Gauge.LIMIT_CAUSE, Gauge.HOST_LIMIT, Gauge.HOST_IN_FLIGHT)
    assert hidden == {LAYOUT.cell_gauges + gauge for gauge in by_worker}
    assert set(slots_of(CELL_SERIES)) | hidden == set(range(LAYOUT.cell_stride))
    assert set(slots_of(PROCESS_SERIES)) == set(range(LAYOUT.cells))


def test_cells_lie_one_behind_another_up_to_the_end():
    assert LAYOUT.cell_start(0) == LAYOUT.cells
    assert LAYOUT.cell_start(CELLS_MAX) == LAYOUT.total


def test_every_gauge_and_counter_is_mapped():
    assert set(CELL_GAUGES) == set(Gauge)
    assert set(PROCESS_GAUGES) == set(ProcessGauge)
    assert set(PROCESS_COUNTERS) == set(ProcessCounter)


def test_every_metric_has_slots_or_comes_from_the_supervisor():
    with_slots = {series.metric.name for series in (*CELL_SERIES, *PROCESS_SERIES)}
    assert with_slots | BY_SUPERVISOR == {metric.name for metric in METRICS}
    assert not with_slots & BY_SUPERVISOR


def test_series_use_only_values_of_their_labels():
    for series in (*CELL_SERIES, *PROCESS_SERIES):
        labels = [label for label in series.metric.labels if label is not CELL]
        assert len(labels) == len(series.labels)
        for label, value in zip(labels, series.labels, strict=True):
            assert value in label.values


def test_every_class_and_reason_has_its_series():
    decisions = metric_named("shedproxy.decisions")
    seen = {series.labels for series in CELL_SERIES if series.metric is decisions}
    for criticality in Criticality:
        assert (criticality.label, "admitted", "") in seen
        for reason in RejectReason:
            assert (criticality.label, "rejected", reason.label) in seen
            assert (criticality.label, "would_reject", reason.label) in seen


def test_every_fault_has_its_series_with_and_without_a_cell():
    faults = metric_named("shedproxy.faults")
    for group in (CELL_SERIES, PROCESS_SERIES):
        assert [series.labels for series in group if series.metric is faults] == [
            (fault.label,) for fault in Fault
        ]


@pytest.mark.parametrize(
    "change",
    [{"cells": 65}, {"reasons": len(RejectReason) + 1}, {"faults": 30}, {"causes": 10}],
)
def test_a_layout_that_differs_has_another_digest(change):
    assert layout_digest(make_layout(**change)) != layout_digest()


def test_the_layout_is_a_function_of_its_arguments():
    assert make_layout() == LAYOUT
    assert layout_digest(make_layout()) == layout_digest()


def test_every_class_has_a_gauge_of_its_own():
    metric = metric_named("shedproxy.class.in_flight")
    found = {series.labels: series.offset for series in CELL_SERIES if series.metric is metric}
    assert found == {
        (each.label,): LAYOUT.cell_gauges + Gauge.of_class(each) for each in Criticality
    }
