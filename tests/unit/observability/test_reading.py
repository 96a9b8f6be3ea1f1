"""Several workers read as one service; nothing is shown that was never used."""

from __future__ import annotations

import pytest

from shedproxy.core import Criticality, RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import Gauge, Meter, ProcessCounter, ProcessGauge
from shedproxy.observability.metric_table import METRICS
from shedproxy.observability.reading import HistogramValue, sample_of, samples
from shedproxy.observability.slot_layout import LAYOUT
from shedproxy.snapshot import CELLS_MAX

MS = 1_000_000


def read(*meters: Meter, cells=("shop",), extra=()):
    """Samples by name and labels."""
    return {
        (sample.metric.name, *sample.labels): sample.value
        for sample in samples([meter.slots for meter in meters], cells, extra)
    }


def test_counters_and_slots_in_use_add_up_over_workers():
    one, two = Meter(), Meter()
    for meter, times in ((one, 2), (two, 3)):
        for _ in range(times):
            meter.on_admitted(0, Criticality.CRITICAL, 0)
        meter.set_gauge(0, Gauge.IN_FLIGHT, times)
        meter.set_gauge(0, Gauge.LIMIT, 10)
        meter.count(ProcessCounter.CPU_NS, 500 * MS)
        meter.set_process(ProcessGauge.RSS_BYTES, 1000)
    seen = read(one, two)
    assert seen["shedproxy.decisions", "shop", "critical", "admitted", ""] == 5
    assert seen["shedproxy.in_flight", "shop"] == 5
    assert seen["shedproxy.limit", "shop"] == 20
    assert seen["process.cpu.time",] == 1.0
    assert seen["process.memory.usage",] == 2000


def test_the_worst_worker_stands_for_lag_pressure_and_level():
    one, two = Meter(), Meter()
    one.set_process(ProcessGauge.LOOP_LAG_NS, 20 * MS)
    two.set_process(ProcessGauge.LOOP_LAG_NS, 900 * MS)
    one.set_gauge(0, Gauge.PRESSURE_PPM, 250_000)
    two.set_gauge(0, Gauge.SHED_RANK, 1500)
    seen = read(one, two)
    assert seen["shedproxy.runtime.loop_lag",] == 0.9
    assert seen["shedproxy.pressure", "shop"] == 0.25
    assert seen["shedproxy.shed.level", "shop"] == 1500


def test_upstreams_are_as_healthy_as_the_worker_sees_that_has_fewest():
    one, two, gone = Meter(), Meter(), Meter()
    for meter, healthy in ((one, 3), (two, 0)):
        meter.set_gauge(0, Gauge.UPSTREAMS, 3)
        meter.set_gauge(0, Gauge.UPSTREAMS_HEALTHY, healthy)
    assert read(one, two, gone)["shedproxy.upstream.healthy", "shop"] == 0
    assert read(one, gone)["shedproxy.upstream.healthy", "shop"] == 3
    assert ("shedproxy.upstream.healthy", "shop") not in read(gone)


def test_what_was_never_counted_is_left_out_and_gauges_are_not():
    seen = read(Meter(), cells=("shop", "search"))
    names = {key[0] for key in seen}
    assert "shedproxy.decisions" not in names
    assert "shedproxy.baseline" not in names
    assert seen["shedproxy.in_flight", "shop"] == seen["shedproxy.in_flight", "search"] == 0


def test_nothing_is_read_of_no_worker():
    assert read() == {}


def test_histograms_add_up_and_are_in_seconds():
    one, two = Meter(), Meter()
    one.on_finished(0, Criticality.CRITICAL, 200, 4 * MS, True)
    two.on_finished(0, Criticality.CRITICAL, 200, 20_000 * MS, True)
    value = read(one, two)["http.server.request.duration", "shop", "critical", "success"]
    assert isinstance(value, HistogramValue)
    assert (value.counts[0], value.counts[-1], value.count) == (1, 1, 2)
    assert value.sum == pytest.approx(20.004)


def test_refusals_never_touch_the_durations_of_what_was_served():
    meter = Meter()
    meter.on_finished(0, Criticality.CRITICAL, 200, 30 * MS, True)
    for _ in range(1000):
        meter.on_rejected(0, Criticality.CRITICAL, RejectReason.SHED_LEVEL)
    seen = read(meter)
    assert seen["http.server.request.duration", "shop", "critical", "success"].count == 1
    refused = seen["http.server.request.duration", "shop", "critical", "rejected"]
    assert refused.counts[0] == refused.count == 1000


def test_waiters_refused_later_keep_their_wait_among_the_durations():
    meter = Meter()
    meter.on_rejected(0, Criticality.SHEDDABLE, RejectReason.SHED_LEVEL)
    for waited_ms in (1, 2, 5, 8, 400, 60_000):
        meter.on_rejected(0, Criticality.SHEDDABLE, RejectReason.QUEUE_TIMEOUT, waited_ms * MS)
    seen = read(meter)
    refused = seen["http.server.request.duration", "shop", "sheddable", "rejected"]
    assert refused.counts[:2] == (4, 1)
    assert refused.counts[7] == refused.counts[-1] == 1
    assert refused.count == 7
    assert refused.sum == pytest.approx(60.416)


def test_a_fault_without_a_cell_has_an_empty_one():
    meter = Meter()
    meter.on_fault(-1, Fault.HEAD_TIMEOUT)
    meter.on_fault(0, Fault.CLIENT_GONE)
    seen = read(meter)
    assert seen["shedproxy.faults", "", "head_timeout"] == 1
    assert seen["shedproxy.faults", "shop", "client_gone"] == 1


def test_metrics_come_in_the_order_of_the_table_each_in_one_piece():
    meter = Meter([1] * LAYOUT.total)
    extra = [
        sample_of("shedproxy.workers", 2, "serving"),
        sample_of("shedproxy.mode", 1, "enforce"),
    ]
    cells = [f"cell{number}" for number in range(CELLS_MAX)]
    names = [sample.metric.name for sample in samples([meter.slots], cells, extra)]
    order = [metric.name for metric in METRICS]
    assert names == sorted(names, key=order.index)


def test_a_series_appears_once():
    meter = Meter([1] * LAYOUT.total)
    keys = [
        (sample.metric.name, sample.labels)
        for sample in samples([meter.slots], [f"cell{n}" for n in range(CELLS_MAX)])
    ]
    assert len(set(keys)) == len(keys)


def test_shared_memory_reads_like_a_list():
    memory = Meter(memoryview(bytearray(LAYOUT.total * 8)).cast("q"))
    plain = Meter()
    for meter in (memory, plain):
        meter.on_admitted(0, Criticality.CRITICAL, 3 * MS)
        meter.set_gauge(0, Gauge.BASELINE_NS, 5 * MS)
    assert read(memory) == read(plain)


@pytest.mark.parametrize("by_workers", [0, 4])
def test_what_the_supervisor_counts_too_is_added_to_the_workers_count(by_workers):
    meter = Meter()
    meter.count(ProcessCounter.LOG_LINES_DROPPED, by_workers)
    listed = list(samples([meter.slots], [], [sample_of("shedproxy.access_log.dropped", 3)]))
    found = [s.value for s in listed if s.metric.name == "shedproxy.access_log.dropped"]
    assert found == [by_workers + 3]


@pytest.mark.parametrize(
    ("name", "labels", "error"),
    [
        ("shedproxy.nothing", (), KeyError),
        ("shedproxy.workers", (), ValueError),
        ("shedproxy.workers", ("asleep",), ValueError),
    ],
)
def test_a_sample_outside_the_table_cannot_be_made(name, labels, error):
    with pytest.raises(error):
        sample_of(name, 1, *labels)
