"""`apps.bare` inside nothing, a middleware of nothing, ours, and those of others.

Others are imported when they are asked for: they may not be on this machine (extra `bench`).
OpenTelemetry measures what we measure: durations and what is in flight, in memory, without spans.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from benchmarks.apps import NOTHING_ADMITTED, bare
from shedproxy import ShedMiddleware
from shedproxy.snapshot import RejectDocument

__all__ = ["APPS", "Nothing", "app_named", "with_slowapi", "with_telemetry"]

_PLENTY = "1000000000/hour"
_NONE_LEFT = "0/hour"


class Nothing:
    """What any middleware costs."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class _Inside:
    """Tells slowapi of the application that it looks for in the scope."""

    def __init__(self, app: Any, holder: Any) -> None:
        self.app = app
        self.holder = holder

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = self.holder
        await self.app(scope, receive, send)


def with_slowapi(app: Any, limit: str = _PLENTY) -> Any:
    """slowapi with one limit per client, in memory.

    Raises:
        ImportError: it is not installed.
    """
    slowapi = importlib.import_module("slowapi")
    middleware = importlib.import_module("slowapi.middleware")
    address = importlib.import_module("slowapi.util").get_remote_address
    starlette = importlib.import_module("starlette.applications").Starlette
    route = importlib.import_module("starlette.routing").Route
    holder = starlette(routes=[route("/{path:path}", endpoint=bare)])
    holder.state.limiter = slowapi.Limiter(key_func=address, default_limits=[limit])
    return _Inside(middleware.SlowAPIASGIMiddleware(app), holder)


def with_telemetry(app: Any) -> Any:
    """OpenTelemetry's instrumentation with a meter provider of the SDK.

    Raises:
        ImportError: it is not installed.
    """
    instrumentation = importlib.import_module("opentelemetry.instrumentation.asgi")
    metrics = importlib.import_module("opentelemetry.sdk.metrics")
    reader = importlib.import_module("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    tracing = importlib.import_module("opentelemetry.trace")
    return instrumentation.OpenTelemetryMiddleware(
        app,
        meter_provider=metrics.MeterProvider([reader]),
        tracer_provider=tracing.NoOpTracerProvider(),
    )


APPS: dict[str, Callable[[], Any]] = {
    "bare": lambda: bare,
    "nothing": lambda: Nothing(bare),
    "shedproxy": lambda: ShedMiddleware(bare),
    "slowapi": lambda: with_slowapi(bare),
    "telemetry": lambda: with_telemetry(bare),
    "shedproxy_refusing": lambda: ShedMiddleware(bare, NOTHING_ADMITTED),
    "shedproxy_refusing_briefly": lambda: ShedMiddleware(
        bare, NOTHING_ADMITTED, reject=RejectDocument(body="empty")
    ),
    "slowapi_refusing": lambda: with_slowapi(bare, _NONE_LEFT),
}


def app_named(name: str) -> Any:
    """The app of this name; None when what it is made of is not on this machine."""
    try:
        return APPS[name]()
    except ImportError:
        return None


def __getattr__(name: str) -> Any:
    """A server that is told `benchmarks.asgi_peers:slowapi` finds it."""
    if name in APPS:
        return APPS[name]()
    raise AttributeError(name)
