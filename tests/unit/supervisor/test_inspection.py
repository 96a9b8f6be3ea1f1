"""What is read from the page, with a page as two workers would have written it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Instant,
    Mode,
    Policy,
    Rejected,
    RejectReason,
    RequestInfo,
    milliseconds,
    seconds,
)
from shedproxy.dataplane.share_page import SharePage
from shedproxy.observability.meter import Gauge, Meter
from shedproxy.observability.ring import RefusalRing
from shedproxy.snapshot import Document
from shedproxy.supervisor.inspection import Inspection
from shedproxy.supervisor.process import WorkerState
from shedproxy.supervisor.stalls import StallWatch

DOCUMENT = Document(policy=Policy(cells=(CellPolicy(), CellPolicy(name="slow"))))
NOW = Instant(seconds(100))


def fake_worker(index: int, **changes):
    facts = {
        "index": index,
        "region": index,
        "pid": 1000 + index,
        "state": WorkerState.READY,
        "ready_at": Instant(seconds(90)),
        "revision": 1,
        "restarts": index,
        "is_crash_looping": False,
        "last_exit": "",
        "problems": [],
        "page_lost": "",
    }
    return SimpleNamespace(**{**facts, **changes})


@pytest.fixture
def page():
    made = SharePage.create(2)
    yield made
    made.close()


def inspect(page: SharePage, *workers) -> Inspection:
    fleet = SimpleNamespace(workers=workers or (fake_worker(0), fake_worker(1)), restarts=1)
    stalls = StallWatch(page, fleet, bound=lambda: 0, report=print, clock=lambda: NOW)
    stalls._ended_ns = seconds(3)
    stalls.places.count("re:match")
    stalls.own.places.count("stopped")
    return Inspection(page, fleet, stalls, clock=lambda: NOW)


def refuse(page, index=0, *, reason=RejectReason.ROUTE_LIMIT, numbers=(5, 1, 5), mode=Mode.ENFORCE):
    rejected = Rejected(RequestInfo(route="reports"), reason, NOW, numbers, 5, 10, 3)
    ring = page.worker(index).ring
    return RefusalRing.format_id(ring.record(rejected, cell=1, mode=mode, wall_ns=10**18))


def test_counts_add_up_and_levels_are_the_worst(page):
    for view, in_flight, share in zip(page.workers, (3, 4), (200_000, 500_000), strict=True):
        meter = Meter(view.slots)
        meter.set_gauge(1, Gauge.IN_FLIGHT, in_flight)
        meter.set_gauge(1, Gauge.LIMIT, 10)
        meter.set_gauge(1, Gauge.of_class(Criticality.SHEDDABLE_PLUS), in_flight)
        meter.set_gauge(1, Gauge.SHED_SHARE_PPM, share)
        meter.set_gauge(1, Gauge.BASELINE_NS, milliseconds(20))
        meter.set_gauge(1, Gauge.LIMIT_CAUSE, 2)
        meter.on_admitted(1, Criticality.CRITICAL, 0)
    inspection = inspect(page)
    numbers = inspection.numbers(DOCUMENT, "slow")
    assert (numbers.in_flight, numbers.limit, numbers.shed_share) == (7, 20, 0.5)
    assert numbers.class_in_flight == (0, 7, 0, 0)
    assert inspection.numbers(DOCUMENT, "default").in_flight == 0
    first, second = inspection.cells(DOCUMENT)
    assert first["baseline_ms"] is None
    assert first["limit_cause"] is None
    assert second["baseline_ms"] == 20
    assert second["limit_cause"] == "queueing"
    assert second["admitted"] == 2
    assert second["class_in_flight"] == {
        "sheddable": 0,
        "sheddable_plus": 7,
        "critical": 0,
        "critical_plus": 0,
    }


def test_a_heartbeat_is_as_old_as_the_last_turn_of_the_loop(page):
    page.worker(0).heartbeat = Instant(NOW - milliseconds(300))
    inspection = inspect(page, fake_worker(0), fake_worker(1, ready_at=Instant(seconds(98))))
    first, second = inspection.beats()
    assert first.age_ns == milliseconds(300)
    assert second.age_ns == seconds(2)


def test_a_worker_that_is_not_ready_is_not_expected_to_beat(page):
    dead = fake_worker(0, state=WorkerState.BACKOFF, ready_at=None, pid=0)
    (beat,) = inspect(page, dead).beats()
    assert not beat.is_serving


def test_a_refusal_is_found_by_its_id_in_any_ring_and_verified(page):
    text = refuse(page, 1)
    inspection = inspect(page)
    record = inspection.find(text.lower())
    shown = inspection.refusal(record, DOCUMENT)
    assert shown["id"] == text
    assert shown["reason"] == "route_limit"
    assert shown["cell"] == "slow"
    assert shown["holds"] is True
    assert shown["was_sent"] is True
    assert shown["numbers"] == {"route_in_flight": 5, "cost": 1, "route_limit": 5}
    assert "route reports has 5 of 5 in flight" in shown["sentence"]


def test_numbers_that_do_not_bear_the_reason_out_are_shown_as_such(page):
    record = inspect(page).find(refuse(page, numbers=(1, 1, 5), mode=Mode.OBSERVE))
    shown = inspect(page).refusal(record, DOCUMENT)
    assert shown["holds"] is False
    assert shown["was_sent"] is False


@pytest.mark.parametrize("text", ["", "nonsense", "0000000000001"])
def test_an_unknown_id_finds_nothing(page, text):
    assert inspect(page).find(text) is None


def test_refusals_by_choice_are_not_for_want_of_capacity(page):
    meter = Meter(page.worker(0).slots)
    meter.on_admitted(0, Criticality.CRITICAL, 0)
    for reason in RejectReason:
        meter.on_rejected(1, Criticality.CRITICAL, reason)
    served, refused = inspect(page).totals(DOCUMENT)
    assert served == 1
    assert refused == len(RejectReason) - 4


def test_samples_hold_the_workers_series_and_the_supervisors(page):
    found = {
        (sample.metric.name, sample.labels): sample.value
        for sample in inspect(page).samples(DOCUMENT, ())
    }
    assert found["shedproxy.workers", ("starting",)] == 2
    assert found["shedproxy.worker.restarts", ()] == 1
    assert found["shedproxy.worker.heartbeat.age", ()] == 10
    assert found["shedproxy.worker.stalls", ("re:match",)] == 1
    assert found["shedproxy.supervisor.stalls", ("stopped",)] == 1
    assert found["shedproxy.worker.stall.time", ()] == 3
    assert found["shedproxy.limit", ("slow",)] == 0


def test_the_status_of_a_worker_names_process_and_health(page):
    page.worker(0).mode = Mode.OBSERVE
    first, second = inspect(page).workers(DOCUMENT)
    assert first["mode"] == "observe"
    assert first["pid"] == 1000
    assert second["restarts"] == 1


def test_cells_are_read_where_their_numbers_are(page):
    """After a reload that put "slow" in the place of a cell that is no more."""
    before = ("default", "gone", "slow")
    document = Document(policy=DOCUMENT.policy, cells=before)
    meter = Meter(page.worker(0).slots)
    meter.on_admitted(2, Criticality.CRITICAL, 0)
    meter.set_gauge(2, Gauge.LIMIT, 5)
    meter.on_admitted(1, Criticality.CRITICAL, 0)
    inspection = inspect(page)
    slow = next(cell for cell in inspection.cells(document) if cell["name"] == "slow")
    assert (slow["admitted"], slow["limit"]) == (1, 5)
    assert inspection.numbers(document, "slow").limit == 5
    assert inspection.totals(document)[0] == 2
    admitted = {
        sample.labels[0]: sample.value
        for sample in inspection.samples(document, ())
        if sample.metric.name == "shedproxy.decisions"
    }
    assert admitted == {"gone": 1, "slow": 1}
