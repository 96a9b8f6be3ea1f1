"""Each worker's view of a cell, and how far they are apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shedproxy.core import CellPolicy, Instant, Policy
from shedproxy.observability.meter import Gauge, Meter
from shedproxy.observability.metric import ProcessGauge
from shedproxy.snapshot import Document
from shedproxy.supervisor.process import WorkerState
from shedproxy.supervisor.worker_detail import disagreement, worker_cells, worker_samples

DOCUMENT = Document(policy=Policy(cells=(CellPolicy(name="slow"),)), cells=("gone", "slow"))


def worker(index: int, *, region: int | None = None, **changes: Any) -> Any:
    facts = {
        "index": index,
        "region": index if region is None else region,
        "state": WorkerState.READY,
        "ready_at": Instant(1),
        "page_lost": "",
    }
    return SimpleNamespace(**{**facts, **changes})


def meters(*gauges: dict[Gauge, int]) -> list[Meter]:
    made = [Meter() for _ in gauges]
    for meter, values in zip(made, gauges, strict=True):
        for gauge, value in values.items():
            meter.set_gauge(1, gauge, value)
    return made


def test_workers_that_agree_are_not_apart():
    same = {Gauge.HOST_LIMIT: 8, Gauge.SHED_RANK: 100, Gauge.BASELINE_NS: 5}
    assert disagreement([worker(0), worker(1)], meters(same, same), 1) == {
        "limit": 0.0,
        "shed_level": 0.0,
        "baseline": 0.0,
    }


def test_the_distance_is_between_the_largest_and_the_least():
    seen = meters(
        {Gauge.HOST_LIMIT: 8, Gauge.SHED_RANK: 0, Gauge.BASELINE_NS: 40},
        {Gauge.HOST_LIMIT: 6, Gauge.SHED_RANK: 1024, Gauge.BASELINE_NS: 0},
        {Gauge.HOST_LIMIT: 7, Gauge.SHED_RANK: 512, Gauge.BASELINE_NS: 30},
    )
    found = disagreement([worker(0), worker(1), worker(2)], seen, 1)
    assert found == {"limit": 0.25, "shed_level": 0.25, "baseline": 0.25}


@pytest.mark.parametrize(
    "changes",
    [{"state": WorkerState.BACKOFF}, {"ready_at": None}, {"page_lost": "another version"}],
)
def test_who_does_not_serve_or_has_no_page_has_no_say(changes: dict[str, Any]):
    seen = meters({Gauge.HOST_LIMIT: 8}, {Gauge.HOST_LIMIT: 1})
    found = disagreement([worker(0), worker(1, **changes)], seen, 1)
    assert found["limit"] == 0.0


def test_samples_are_by_worker_wherever_on_the_page_it_writes():
    seen = meters({}, {Gauge.IN_FLIGHT: 3, Gauge.BASELINE_NS: 20_000_000}, {Gauge.IN_FLIGHT: 1})
    seen[1].set_process(ProcessGauge.RSS_BYTES, 4096)
    workers = [worker(0, region=2), worker(1)]
    found = {
        (each.metric.name, each.labels): each.value
        for each in worker_samples(workers, seen, DOCUMENT)
    }
    assert found["shedproxy.worker.in_flight", ("slow", "0")] == 1
    assert found["shedproxy.worker.in_flight", ("slow", "1")] == 3
    assert found["shedproxy.worker.baseline", ("slow", "1")] == 0.02
    assert found["shedproxy.worker.memory.usage", ("1",)] == 4096
    assert found["shedproxy.workers.disagreement", ("slow", "limit")] == 0


def test_of_one_worker_only_a_lost_page_is_told():
    (sample,) = worker_samples([worker(0, page_lost="gone")], meters({}), DOCUMENT)
    assert (sample.metric.name, sample.value) == ("shedproxy.worker.page_lost", 1)


def test_the_status_has_every_cell_of_a_worker():
    (meter,) = meters({Gauge.IN_FLIGHT: 2, Gauge.HOST_LIMIT: 8, Gauge.QUEUE_LENGTH: 1})
    assert worker_cells(meter, DOCUMENT) == {
        "slow": {
            "in_flight": 2,
            "queue_length": 1,
            "limit": 8,
            "shed_rank": 0,
            "baseline_ms": None,
            "demand_per_second": 0,
        }
    }
