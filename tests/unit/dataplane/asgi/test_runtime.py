"""From a scope to what the core wants to know, with marks and the callable."""

from __future__ import annotations

import pytest
from starlette.routing import Router

from shedproxy import Criticality, Match, Rule, criticality
from shedproxy.core import Kind, RequestInfo
from shedproxy.dataplane.asgi.runtime import Runtime
from shedproxy.snapshot import Classification, Document
from shedproxy.testing import AsgiProbe

pytestmark = pytest.mark.anyio


@criticality("sheddable", cost=4, limit=8)
async def report(request): ...


router = Router()
router.add_route("/reports/{number}", report)


@pytest.fixture
def runtime(a_driver):
    def make(app=router, *, hook=None, **values):
        return Runtime(app, a_driver(**values), hook=hook, is_owner=False)

    return make


def scope_of(method="GET", path="/", headers=(), *, kind="request", **more):
    async def nothing(scope, receive, send): ...

    if kind == "websocket":
        return AsgiProbe(nothing).websocket(path, headers, **more).scope
    return AsgiProbe(nothing).request(method, path, headers, **more).scope


async def test_a_mark_fills_what_no_rule_decides(runtime):
    info = runtime().classify(scope_of(path="/reports/7")).info
    assert (info.route, info.criticality, info.cost, info.route_limit) == (
        "GET /reports/{number}",
        Criticality.SHEDDABLE,
        4,
        8,
    )


async def test_a_rule_wins_over_a_mark(runtime):
    rule = Rule(
        name="reports",
        match=Match(path=("/reports/**",)),
        criticality=Criticality.CRITICAL,
        cell="slow",
        limit=9,
    )
    info = runtime(rules=[rule]).classify(scope_of(path="/reports/7")).info
    assert (info.route, info.criticality, info.cost, info.route_limit, info.cell) == (
        "reports",
        Criticality.CRITICAL,
        4,
        9,
        "slow",
    )


async def test_a_header_can_lower_a_mark_and_not_raise_it(runtime):
    made = runtime()
    for said in (b"critical_plus", b"sheddable"):
        scope = scope_of(path="/reports/7", headers=[(b"x-criticality", said)])
        assert made.classify(scope).info.criticality is Criticality.SHEDDABLE


async def test_marks_are_found_under_a_root_path(runtime):
    scope = scope_of(path="/api/reports/7", root_path="/api")
    assert runtime().classify(scope).info.cost == 4


async def test_infos_of_marked_endpoints_are_shared(runtime):
    made = runtime()
    first, second = (made.classify(scope_of(path=f"/reports/{n}")).info for n in (1, 2))
    assert first is second


async def test_a_socket_is_a_stream(runtime):
    assert runtime().classify(scope_of(path="/ws", kind="websocket")).info.kind is Kind.STREAM


async def test_the_path_of_the_scope_serves_where_there_is_no_raw_path(runtime):
    rule = Rule(name="street", match=Match(path=("/straße",)))
    scope = scope_of(path="/straße", raw_path=None)
    assert runtime(rules=[rule]).classify(scope).info.route == "street"


async def test_lone_requests_get_different_cohorts(runtime):
    made = runtime()
    assert len({made.classify(scope_of()).cohort for _ in range(100)}) > 90


async def test_the_callable_may_leave_change_or_replace(runtime):
    said = None
    made = runtime(hook=lambda scope, info: info if said == "same" else said)
    first = made.classify(scope_of()).info
    said = "same"
    assert made.classify(scope_of()).info is first
    said = Criticality.SHEDDABLE
    lowered = made.classify(scope_of()).info
    assert lowered.criticality is Criticality.SHEDDABLE
    assert made.classify(scope_of()).info is lowered
    said = other = RequestInfo(route="mine")
    assert made.classify(scope_of()).info is other


async def test_another_document_is_compiled_when_the_driver_took_it(runtime):
    made = runtime()
    assert made.classify(scope_of(path="/x")).info.route == "default"
    rule = Rule(name="x", match=Match(path=("/x",)))
    made.driver.apply(Document(classification=Classification(rules=(rule,))))
    assert made.classify(scope_of(path="/x")).info.route == "x"


async def test_a_runtime_that_owns_its_driver_starts_and_stops_it(a_driver):
    driver = a_driver(limit=3)
    made = Runtime(router, driver, hook=None, is_owner=True)
    from shedproxy.observability.meter import Gauge

    assert driver.meter.gauge(0, Gauge.LIMIT) == 3
    made.close()
