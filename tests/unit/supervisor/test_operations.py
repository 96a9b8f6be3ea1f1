"""What the control listener shows, on a real page and configuration with scripted workers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shedproxy.core import Instant, Mode, Rejected, RejectReason, RequestInfo, seconds
from shedproxy.dataplane.share_page import SharePage
from shedproxy.observability.meter import Gauge, Meter
from shedproxy.observability.ring import RefusalRing
from shedproxy.supervisor.configuration import Configuration
from shedproxy.supervisor.inspection import Inspection
from shedproxy.supervisor.operations import LiveOperations
from shedproxy.supervisor.orders import HostOrder, ModeOrder, OrderInvalidError, ZoneOrder
from shedproxy.supervisor.process import WorkerState
from shedproxy.supervisor.stalls import StallWatch

pytestmark = pytest.mark.anyio

NOW = [Instant(seconds(1000))]


class Bench:
    """Operations with everything around them within reach."""

    def __init__(self, page: SharePage, overrides: dict) -> None:
        self.page = page
        worker = SimpleNamespace(
            index=0,
            region=0,
            pid=77,
            state=WorkerState.READY,
            ready_at=NOW[0],
            revision=1,
            restarts=0,
            is_crash_looping=False,
            last_exit="",
            problems=[],
            page_lost="",
        )
        self.fleet = SimpleNamespace(
            workers=[worker],
            restarts=0,
            is_started=True,
            upstreams=lambda: {"default": {"http://127.0.0.1:8000": True}},
        )
        self.events: list = []
        self.drained: list = []
        self.restarts: list = []
        self.now = NOW[0]
        self.configuration = Configuration(
            None, environ={}, overrides=overrides, clock=lambda: self.now
        )
        stalls = StallWatch(page, self.fleet, bound=lambda: 0, report=print)
        self.rolling = SimpleNamespace(begin=self.restarts.append, view=lambda: {"state": "none"})
        self.operations = LiveOperations(
            self.configuration,
            self.fleet,
            Inspection(page, self.fleet, stalls, clock=lambda: self.now),
            self.rolling,
            watch=SimpleNamespace(view=lambda: {"hosts": []}, samples=lambda: iter(())),
            begin_drain=self.drained.append,
            report=lambda event, facts: self.events.append((event, facts)),
            clock=lambda: self.now,
        )


@pytest.fixture
def bench():
    page = SharePage.create(1)
    overrides = {
        "cell.default.limit": 10,
        "control.livez_bound": "2s",
        "telemetry.endpoint": "http://user:secret@collector:4318/in?key=secret",
    }
    yield Bench(page, overrides)
    page.close()


def test_health_follows_the_heartbeat_and_its_configured_bound(bench):
    assert bench.operations.liveness().ok
    assert bench.operations.readiness().ok
    bench.now += seconds(3)
    assert not bench.operations.liveness().ok
    assert not bench.operations.readiness().ok
    bench.page.worker(0).heartbeat = bench.now
    assert bench.operations.liveness().ok


def test_draining_fails_readiness_not_liveness(bench):
    bench.operations.is_draining = True
    assert bench.operations.liveness().ok
    assert not bench.operations.readiness().ok
    assert bench.operations.status()["state"] == "draining"


async def test_in_managed_mode_a_bullet_can_be_forgiven_and_no_host_drained(bench, monkeypatch):
    orders = []

    async def order(order, *, who):
        orders.append((order.action, who))
        return {}

    monkeypatch.setattr(Configuration, "is_managed", True)
    bench.operations._watch.order = order
    await bench.operations.order_host(HostOrder(action="forgive", serial=7), who="ann")
    with pytest.raises(OrderInvalidError, match="publish settings without the host"):
        await bench.operations.order_host(HostOrder(action="drain", host="http://h"), who="ann")
    assert orders == [("forgive", "ann")]


def test_without_the_policy_of_its_fleet_an_instance_is_not_ready(bench):
    waiting = ["no snapshot yet"]
    bench.operations._managed = SimpleNamespace(awaited=lambda: "".join(waiting))
    assert not bench.operations.readiness().ok
    assert bench.operations.liveness().ok
    waiting.clear()
    assert bench.operations.readiness().ok


def test_refusing_everything_for_a_while_fails_readiness(bench):
    meter = Meter(bench.page.worker(0).slots)
    for _ in range(40):
        bench.now += seconds(1)
        bench.page.worker(0).heartbeat = bench.now
        for _ in range(5):
            meter.on_rejected(0, 2, RejectReason.SHED_LEVEL)
        bench.operations.sample()
    assert not bench.operations.readiness().ok
    meter.on_admitted(0, 2, 0)
    bench.operations.sample()
    assert bench.operations.readiness().ok


def test_points_of_load_are_kept_from_when_it_started(bench):
    meter = Meter(bench.page.worker(0).slots)
    for _ in range(4):
        bench.operations.sample()
        bench.now += seconds(10)
        for _ in range(200):
            meter.on_finished(0, 2, 200, seconds(0.05), True)
    points = bench.operations.points()
    (first, second) = points["cells"]["default"]
    row = dict(zip(points["columns"], first, strict=True))
    assert (row["ended"], row["length_s"], row["upstreams"]) == (200, 10, 1)
    assert row["in_flight"] == pytest.approx(1.0)
    assert second[0] >= first[0]
    assert points["version"]


def test_status_is_complete_and_plain_json(bench):
    import json

    meter = Meter(bench.page.worker(0).slots)
    meter.set_gauge(0, Gauge.IN_FLIGHT, 4)
    meter.set_gauge(0, Gauge.LIMIT, 10)
    status = json.loads(json.dumps(bench.operations.status(), allow_nan=False))
    assert status["state"] == "serving"
    assert status["mode"] == "enforce"
    assert status["override"] is None
    assert status["revision"] == 1
    assert status["config"]["ok"] is True
    assert status["workers"][0]["pid"] == 77
    assert status["cells"][0]["in_flight"] == 4
    assert status["upstreams"] == {"default": {"http://127.0.0.1:8000": True}}
    assert status["hosts"] == bench.operations.upstreams() == {"hosts": []}


def test_explain_uses_the_live_numbers(bench):
    meter = Meter(bench.page.worker(0).slots)
    meter.set_gauge(0, Gauge.LIMIT, 10)
    explained = bench.operations.explain("GET", "/a", [], "")
    assert explained["decision"]["answer"] == "admit"
    meter.set_gauge(0, Gauge.IN_FLIGHT, 10)
    explained = bench.operations.explain("GET", "/a", [], "")
    assert explained["decision"]["answer"] == "queue"


def test_explain_by_id_recomputes_the_refusal(bench):
    rejected = Rejected(RequestInfo(), RejectReason.RESIDENT_LIMIT, NOW[0], (5, 5))
    ring = bench.page.worker(0).ring
    text = RefusalRing.format_id(ring.record(rejected, cell=0, mode=Mode.ENFORCE, wall_ns=1))
    refusal = bench.operations.explain("GET", "", [], text)["refusal"]
    assert refusal["sentence"] == "5 of 5 streams are open"
    assert refusal["holds"] is True
    with pytest.raises(OrderInvalidError):
        bench.operations.explain("GET", "", [], "0F3K9QZ7M1C2A")


def test_config_shows_sources_and_masks_what_a_url_hides(bench):
    values = bench.operations.config()["values"]
    assert values["control.livez_bound"]["value"] == "2s"
    assert values["control.livez_bound"]["source"] != "default"
    assert values["server.workers"] == {"value": 1, "source": "default"}
    assert values["telemetry.endpoint"]["value"] == "http://***@collector:4318/in?***"


async def test_a_mode_order_changes_the_mode_and_says_until_when(bench):
    answer = bench.operations.order_mode(ModeOrder(mode=Mode.OFF, length=seconds(60)), who="me")
    assert answer["mode"] == "off"
    assert 59 < answer["override"]["expires_in_s"] <= 60
    assert bench.operations.status()["configured_mode"] == "enforce"
    answer = bench.operations.order_mode(ModeOrder(mode=None), who="me")
    assert answer == {"mode": "enforce", "override": None}


def test_a_restart_is_passed_on_with_who_asked_unless_draining(bench):
    assert bench.operations.restart(who="10.0.0.1") == {"state": "none"}
    bench.operations.is_draining = True
    bench.operations.restart(who="10.0.0.2")
    assert bench.restarts == ["requested by 10.0.0.1"]


def test_drain_is_passed_on_with_who_asked(bench):
    bench.operations.drain(who="10.0.0.1")
    assert bench.drained == ["requested by 10.0.0.1"]


def test_metrics_hold_the_supervisors_own_series(bench):
    body, content_type = bench.operations.metrics("")
    assert content_type.startswith("text/plain")
    text = body.decode()
    assert 'shedproxy_mode_ratio{shedproxy_mode="enforce"} 1.0' in text
    assert "shedproxy_worker_heartbeat_age_seconds" in text
    _, content_type = bench.operations.metrics("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")


async def test_a_zone_order_that_leaves_nothing_is_refused(bench):
    order = ZoneOrder(zone="b", is_away=True, length=seconds(60))
    with pytest.raises(OrderInvalidError, match="no upstream is in zone 'b'"):
        bench.operations.order_zone(order, who="me")
    order = ZoneOrder(zone="b", is_away=False)
    assert bench.operations.order_zone(order, who="me") == {"zones_away": {}}
    assert bench.operations.status()["zones_away"] == {}
