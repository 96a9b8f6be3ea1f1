"""A meter adds to the right slot, on a list and on shared memory alike."""

from __future__ import annotations

import pytest

from shedproxy.core import Criticality, RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import (
    Gauge,
    Meter,
    ProcessCounter,
    ProcessGauge,
    clear_gauges,
)
from shedproxy.observability.metric import RetryCause, RetryDenial, SpillSide
from shedproxy.observability.slot_layout import CELL_SERIES, LAYOUT
from shedproxy.snapshot import CELLS_MAX

MS = 1_000_000


@pytest.fixture(params=["list", "memory"])
def meter(request):
    if request.param == "list":
        return Meter()
    return Meter(memoryview(bytearray(LAYOUT.total * 8)).cast("q"))


def histogram(meter: Meter, name: str, cell: int, *labels: str) -> tuple[list[int], int]:
    (series,) = [s for s in CELL_SERIES if s.metric.name == name and s.labels == labels]
    at = LAYOUT.cell_start(cell) + series.offset
    end = at + len(series.metric.bounds) + 1
    return list(meter.slots[at:end]), meter.slots[end]


def test_decisions_are_counted_by_cell_class_and_reason(meter):
    meter.on_admitted(0, Criticality.CRITICAL, 0)
    meter.on_admitted(63, Criticality.CRITICAL, 0)
    meter.on_rejected(63, Criticality.SHEDDABLE, RejectReason.CONNECTION_LIMIT)
    meter.on_would_reject(63, Criticality.CRITICAL_PLUS, RejectReason.DEADLINE)
    meter.on_bypass(63)
    assert meter.admitted(0) == meter.admitted(63) == 1
    assert meter.admitted(63, Criticality.CRITICAL) == 1
    assert meter.admitted(63, Criticality.SHEDDABLE) == 0
    assert meter.rejected(63) == meter.rejected(63, RejectReason.CONNECTION_LIMIT) == 1
    assert meter.rejected(63, RejectReason.DEADLINE) == meter.rejected(0) == 0
    assert meter.would_reject(63, RejectReason.DEADLINE) == meter.would_reject(63) == 1
    assert meter.bypassed(63) == 1
    assert meter.bypassed(0) == 0


@pytest.mark.parametrize("criticality", list(Criticality))
@pytest.mark.parametrize("cell", [0, CELLS_MAX - 1])
def test_one_call_changes_what_it_is_about_and_nothing_else(cell, criticality):
    for change in (
        lambda m: m.on_admitted(cell, criticality, 0),
        lambda m: m.on_rejected(cell, criticality, RejectReason.EVICTED),
        lambda m: m.on_would_reject(cell, criticality, RejectReason.EVICTED),
        lambda m: m.on_fault(cell, Fault.INTERNAL),
        lambda m: m.on_limit_change(cell, 7),
        lambda m: m.on_retry(cell, RetryCause.REUSED),
        lambda m: m.on_retry_denied(cell, RetryDenial.OVERLOAD),
        lambda m: m.set_gauge(cell, Gauge.CAPACITY, 5),
    ):
        meter = Meter()
        change(meter)
        assert sum(1 for slot in meter.slots if slot) == 1


def test_only_requests_that_waited_are_in_the_queue_histogram(meter):
    meter.on_admitted(2, Criticality.CRITICAL, 0)
    meter.on_admitted(2, Criticality.CRITICAL, 2 * MS)
    meter.on_rejected(2, Criticality.CRITICAL, RejectReason.QUEUE_TIMEOUT, 500 * MS)
    buckets, total = histogram(meter, "shedproxy.queue.wait.duration", 2, "critical", "admitted")
    assert (sum(buckets), buckets[1], total) == (1, 1, 2 * MS)
    buckets, total = histogram(meter, "shedproxy.queue.wait.duration", 2, "critical", "rejected")
    assert (sum(buckets), total) == (1, 500 * MS)


@pytest.mark.parametrize(
    ("duration_ns", "bucket"),
    [(0, 0), (5 * MS, 0), (5 * MS + 1, 1), (10_000 * MS, 13), (10_001 * MS, 14)],
)
def test_a_duration_on_a_bound_belongs_below_it(duration_ns, bucket):
    meter = Meter()
    meter.on_finished(0, Criticality.CRITICAL, 200, duration_ns, False)
    buckets, total = histogram(meter, "http.server.request.duration", 0, "critical", "success")
    assert buckets[bucket] == 1
    assert total == duration_ns


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (101, "success"),
        (200, "success"),
        (304, "success"),
        (404, "client_error"),
        (499, "abandoned"),
        (0, "abandoned"),
        (500, "server_error"),
        (999, "server_error"),
    ],
)
def test_the_status_decides_the_outcome(status, outcome):
    meter = Meter()
    meter.on_finished(1, Criticality.SHEDDABLE_PLUS, status, MS, False)
    buckets, _ = histogram(meter, "http.server.request.duration", 1, "sheddable_plus", outcome)
    assert sum(buckets) == 1
    assert meter.finished(1) == 1


def test_what_cells_send_each_other_is_counted_by_side(meter):
    meter.on_spilled(2, SpillSide.TAKEN, 3)
    meter.on_spilled(2, SpillSide.TAKEN, 1)
    assert [meter.spilled(2, side) for side in SpillSide] == [0, 4]
    assert meter.spilled(1, SpillSide.TAKEN) == 0


def test_what_waited_for_its_turn_is_counted_with_its_time(meter):
    meter.on_held(2, 3, 5 * MS)
    meter.on_held(2, 1, MS)
    meter.on_held(-1, 2, MS)
    assert [meter.held(cell) for cell in (-1, 1, 2)] == [(2, MS), (0, 0), (4, 6 * MS)]


def test_goodput_is_what_the_caller_says_it_is(meter):
    meter.on_finished(1, Criticality.CRITICAL, 200, MS, True)
    meter.on_finished(1, Criticality.CRITICAL, 200, MS, False)
    assert meter.goodput(1) == meter.goodput(1, Criticality.CRITICAL) == 1
    assert meter.finished(1) == 2


def test_a_fault_before_there_is_a_cell_is_counted_without_one(meter):
    meter.on_fault(-1, Fault.BAD_REQUEST)
    meter.on_fault(3, Fault.UPSTREAM_TIMEOUT)
    assert meter.faults(-1, Fault.BAD_REQUEST) == 1
    assert meter.faults(0, Fault.BAD_REQUEST) == 0
    assert meter.faults(3, Fault.UPSTREAM_TIMEOUT) == 1


def test_a_new_worker_counts_on_and_its_gauges_start_at_zero(meter):
    meter.on_admitted(1, Criticality.CRITICAL, 0)
    meter.on_limit_change(1, 2)
    meter.on_retry(1, RetryCause.CONNECT)
    meter.on_retry_denied(1, RetryDenial.BUDGET)
    meter.set_gauge(1, Gauge.IN_FLIGHT, 7)
    meter.set_process(ProcessGauge.CONNECTIONS, 9)
    meter.count(ProcessCounter.LOG_LINES_DROPPED, 4)
    clear_gauges(meter.slots)
    assert meter.gauge(1, Gauge.IN_FLIGHT) == meter.process(ProcessGauge.CONNECTIONS) == 0
    successor = Meter(meter.slots)
    successor.on_admitted(1, Criticality.CRITICAL, 0)
    assert successor.admitted(1) == 2
    assert successor.limit_changes(1, 2) == 1
    assert successor.retries(1, RetryCause.CONNECT) == 1
    assert successor.retries_denied(1, RetryDenial.BUDGET) == 1
    assert successor.counted(ProcessCounter.LOG_LINES_DROPPED) == 4


def test_clearing_leaves_every_counter_as_it_was():
    meter = Meter([1] * LAYOUT.total)
    clear_gauges(meter.slots)
    cleared = sum(1 for slot in meter.slots if slot == 0)
    assert cleared == len(ProcessGauge) + CELLS_MAX * len(Gauge)


def test_too_few_slots_are_refused():
    with pytest.raises(ValueError, match="slots"):
        Meter([0])
