"""The control listener's HTTP: health, metrics, status, explain, and the few changes it allows.

It runs in the supervisor, which holds no data connection, so it answers while the data loops are
blocked or overloaded. What it shows and does is behind `Operations`, who may is in `access`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shedproxy.listening import (
    guarded,
    json_answer,
    peer_of,
    problem,
    problem_handlers,
    read_object,
    refused,
)
from shedproxy.supervisor.access import Access
from shedproxy.supervisor.health import Report
from shedproxy.supervisor.orders import HostOrder, ModeOrder, OrderInvalidError, ZoneOrder

__all__ = ["Operations", "make_app"]


class Operations(Protocol):
    """What the control listener can show and do."""

    def liveness(self) -> Report:
        """Whether a restart is needed."""

    def readiness(self) -> Report:
        """Whether to send traffic here."""

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type."""

    def status(self) -> dict[str, Any]:
        """Everything `shedproxy status` shows."""

    def points(self) -> dict[str, Any]:
        """Points of load, throughput and latency that were seen."""

    def explain(
        self, method: str, path: str, headers: list[tuple[str, str]], refusal_id: str
    ) -> dict[str, Any]:
        """What would happen to such a request now, or what happened to the refusal."""

    def config(self) -> dict[str, Any]:
        """Effective values, each with its source."""

    def order_mode(self, order: ModeOrder, *, who: str) -> dict[str, Any]:
        """Override the mode for a while."""

    def order_zone(self, order: ZoneOrder, *, who: str) -> dict[str, Any]:
        """Weigh a zone away for a while, or take it back."""

    async def reload(self, *, who: str) -> dict[str, Any]:
        """Read the configuration again; the result, good or bad."""

    def restart(self, *, who: str) -> dict[str, Any]:
        """Begin to replace every worker process by a new one."""

    def drain(self, *, who: str) -> dict[str, Any]:
        """Begin to end."""

    def upstreams(self) -> dict[str, Any]:
        """Every host, and the bullets that there are."""

    async def order_host(self, order: HostOrder, *, who: str) -> dict[str, Any]:
        """Take a host out by hand, put it back, or write a bullet off."""


def make_app(operations: Operations, access: Access) -> ASGIApp:
    """The control listener's application."""

    def livez(request: Request) -> Response:
        return _health(operations.liveness(), request, access)

    def readyz(request: Request) -> Response:
        return _health(operations.readiness(), request, access)

    def metrics(request: Request) -> Response:
        body, content_type = operations.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def mode(request: Request, body: dict[str, Any]) -> Response:
        return json_answer(operations.order_mode(ModeOrder.parse(body), who=_who(request)))

    async def zone(request: Request, body: dict[str, Any]) -> Response:
        return json_answer(operations.order_zone(ZoneOrder.parse(body), who=_who(request)))

    async def reload(request: Request, _: dict[str, Any]) -> Response:
        result = await operations.reload(who=_who(request))
        return json_answer(result, status=200 if result["ok"] else 422)

    async def restart(request: Request, _: dict[str, Any]) -> Response:
        return json_answer(operations.restart(who=_who(request)), status=202)

    async def host(request: Request, body: dict[str, Any]) -> Response:
        return json_answer(await operations.order_host(HostOrder.parse(body), who=_who(request)))

    async def drain(request: Request, _: dict[str, Any]) -> Response:
        return json_answer(operations.drain(who=_who(request)), status=202)

    routes = [
        *(_get(path, livez, None) for path in ("/livez", "/healthz")),
        _get("/readyz", readyz, None),
        _get("/metrics", metrics, access),
        _get("/-/status", _showing(operations.status), access),
        _get("/-/explain", _explain_endpoint(operations), access),
        _get("/-/config", _showing(operations.config), access),
        _get("/-/points", _showing(operations.points), access),
        _get("/-/upstreams", _showing(operations.upstreams), access),
        _post("/-/upstreams", host, access),
        _post("/-/mode", mode, access),
        _post("/-/zone", zone, access),
        _post("/-/reload", reload, access),
        _post("/-/restart", restart, access),
        _post("/-/drain", drain, access),
    ]
    return guarded(Starlette(routes=routes, exception_handlers=problem_handlers()))


def _showing(view: Callable[[], dict[str, Any]]) -> Callable[[Request], Response]:
    def endpoint(_: Request) -> Response:
        return json_answer(view())

    return endpoint


def _get(path: str, show: Callable[[Request], Response], access: Access | None) -> Route:
    """What anybody may see has no `access`."""

    # A coroutine on purpose: Starlette runs plain functions in a thread, and threads may be busy.
    async def endpoint(request: Request) -> Response:
        refusal = None if access is None else access.refuse_read(request.headers)
        if refusal is not None:
            return refused(refusal)
        try:
            return show(request)
        except OrderInvalidError as error:
            return _unprocessable(error)

    return Route(path, endpoint, methods=["GET"])


def _post(
    path: str,
    change: Callable[[Request, dict[str, Any]], Awaitable[Response]],
    access: Access,
) -> Route:
    async def endpoint(request: Request) -> Response:
        refusal = access.refuse_change(request.headers, peer_of(request.scope))
        if refusal is not None:
            return refused(refusal)
        try:
            return await change(request, await read_object(request))
        except OrderInvalidError as error:
            return _unprocessable(error)

    return Route(path, endpoint, methods=["POST"])


def _explain_endpoint(operations: Operations) -> Callable[[Request], Response]:
    def explain(request: Request) -> Response:
        query = request.query_params
        unknown = set(query) - {"method", "path", "header", "id"}
        if unknown:
            name = min(unknown)
            raise OrderInvalidError(
                f"?{name}", f"unknown parameter {name!r}; known: method, path, header, id"
            )
        refusal_id = query.get("id", "")
        path = query.get("path", "")
        if not refusal_id and not path.startswith("/"):
            raise OrderInvalidError("?path", "give a path that begins with /, or an id")
        headers = []
        for text in query.getlist("header"):
            name, colon, value = text.partition(":")
            if not colon or not name.strip():
                raise OrderInvalidError("?header", f"{text!r} is not of the form name:value")
            headers.append((name.strip().lower(), value.strip()))
        method = query.get("method", "GET").upper()
        return json_answer(operations.explain(method, path, headers, refusal_id))

    return explain


def _health(report: Report, request: Request, access: Access) -> Response:
    if access.refuse_read(request.headers) is None:
        text = report.text(verbose="verbose" in request.query_params)
    else:
        # The details name upstreams.
        text = "ok\n" if report.ok else f"{report.name} check failed\n"
    return PlainTextResponse(text, 200 if report.ok else 503)


def _unprocessable(error: OrderInvalidError) -> Response:
    return problem(
        422, "Invalid request", str(error), errors=[{"place": error.place, "detail": str(error)}]
    )


def _who(request: Request) -> str:
    return request.client.host if request.client else "unix"
