"""The router's table, read from outside: real Starlette and FastAPI routers, and neither."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute

from shedproxy import Criticality, criticality
from shedproxy.dataplane.asgi.route_table import RouteTable


@criticality("critical_plus")
async def pay(request): ...


@criticality("sheddable")
async def report(request): ...


async def plain(request): ...


def name(table, path, method="GET", scope_type="http"):
    table.refresh()
    mark = table.mark_for(scope_type, method, path)
    return None if mark is None else (mark.criticality, mark.name)


TOP, LOW = Criticality.CRITICAL_PLUS, Criticality.SHEDDABLE


def test_starlette_routes_in_order():
    app = Starlette(
        routes=[
            Route("/pay", pay, methods=["POST"]),
            Route("/reports/latest", plain),
            Route("/reports/{number:int}", report),
            Route("/any", report, methods=["GET", "PUT"]),
        ]
    )
    table = RouteTable(app)
    assert name(table, "/pay", "POST") == (TOP, "POST /pay")
    assert name(table, "/pay", "GET") is None
    assert name(table, "/reports/latest") is None
    assert name(table, "/reports/7") == (LOW, "GET /reports/{number}")
    assert name(table, "/reports/seven") is None
    assert name(table, "/reports/7", "HEAD") == (LOW, "GET /reports/{number}")
    assert name(table, "/any", "PUT") == name(table, "/any") == (LOW, "GET|PUT /any")
    assert name(table, "/nowhere") is None


def test_the_same_endpoint_has_the_same_mark_object():
    table = RouteTable(Router([Route("/items/{item}", report)]))
    table.refresh()
    assert table.has_marks
    first, second = (table.mark_for("http", "GET", f"/items/{n}") for n in (1, 2))
    long = table.mark_for("http", "GET", "/items/" + "x" * 1000)
    assert first is second is long


def test_mounts_nest_and_shadow():
    inner = Router([Route("/pay", pay, methods=["POST"])])
    app = Starlette(
        routes=[
            Mount("/v1", routes=[Mount("/shop", app=inner), Route("/pay", plain)]),
            Mount("/v2", app=GZipMiddleware(Starlette(routes=[Route("/pay", report)]))),
            Route("/v1/other", report),
        ],
    )
    table = RouteTable(app)
    assert name(table, "/v1/shop/pay", "POST") == (TOP, "POST /v1/shop/pay")
    assert name(table, "/v2/pay") == (LOW, "GET /v2/pay")
    assert name(table, "/v1/pay") is None
    assert name(table, "/v1/other") is None


def test_sockets_and_requests_do_not_take_each_others_marks():
    table = RouteTable(Router([WebSocketRoute("/live", pay), Route("/live", report)]))
    assert name(table, "/live", scope_type="websocket") == (TOP, "/live")
    assert name(table, "/live") == (LOW, "GET /live")


def test_classes_are_marked_whole_or_by_method():
    class Account(HTTPEndpoint):
        @criticality("critical_plus")
        async def post(self, request): ...

        async def get(self, request): ...

    table = RouteTable(Router([Route("/account", Account)]))
    assert name(table, "/account", "POST") == (TOP, "POST /account")
    assert name(table, "/account", "GET") is None
    assert name(table, "/account", "INVENTED") is None


def test_through_middleware_down_to_the_router():
    app = Starlette(routes=[Route("/reports", report)], middleware=[Middleware(GZipMiddleware)])
    app.middleware_stack = app.build_middleware_stack()
    assert name(RouteTable(app.middleware_stack), "/reports") == (LOW, "GET /reports")


def test_fastapi_with_included_routers():
    inner, outer, app = APIRouter(prefix="/reports"), APIRouter(prefix="/v1"), FastAPI()

    @inner.get("/{number}")
    @criticality("sheddable")
    async def read(number: int): ...

    @outer.post("/pay")
    @criticality("critical_plus")
    def pay_now(): ...

    @app.websocket("/live")
    @criticality("sheddable_plus")
    async def live(websocket): ...

    outer.include_router(inner)
    app.include_router(outer)
    app.mount("/old", Starlette(routes=[Route("/reports", report)]))
    table = RouteTable(app)
    assert name(table, "/v1/reports/7") == (LOW, "GET /v1/reports/{number}")
    assert name(table, "/v1/pay", "POST") == (TOP, "POST /v1/pay")
    assert name(table, "/old/reports") == (LOW, "GET /old/reports")
    assert name(table, "/live", scope_type="websocket") == (Criticality.SHEDDABLE_PLUS, "/live")
    assert name(table, "/docs") is None


def test_routes_added_later_are_seen():
    app = Starlette()
    table = RouteTable(app)
    assert name(table, "/reports") is None
    app.router.routes.append(Route("/reports", report))
    assert name(table, "/reports") == (LOW, "GET /reports")


def test_a_host_route_is_not_looked_into():
    """Its rows depend on a header that decides nothing here."""
    table = RouteTable(Router([Host("a.example", app=Router([Route("/pay", report)]))]))
    assert name(table, "/pay") is None


class Ouroboros:
    @property
    def app(self):
        return self


@pytest.mark.parametrize("app", [plain, object(), Ouroboros(), Starlette()])
def test_apps_without_marked_routes(app):
    table = RouteTable(app)
    assert name(table, "/") is None
    assert not table.has_marks
