"""Finds the endpoint that a router behind us will choose, to read its mark before it runs.

The middleware stands outside the router, so it looks at the router's table. Everything is
duck-typed on what Starlette and FastAPI publish of a route (`path_regex`, `methods`, `endpoint`,
`routes`); with any other framework there are no rows and marks are not seen.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from shedproxy.dataplane.asgi.marks import mark_of
from shedproxy.dataplane.recent import Recent
from shedproxy.snapshot import Rule

__all__ = ["RouteTable"]

_WRAPPERS_MAX = 64
_DEPTH_MAX = 16
_PATH_SIZE_MAX = 256

_Key = tuple[str, str, str]


class RouteTable:
    """The routes behind an app. Empty until `refresh` is called, which is cheap when nothing new
    is there; routes that were added are seen at the next call.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._routes: Sequence[Any] = ()
        self._route_count = -1
        self._rows: _Rows | None = None
        self._recent = Recent(self._search)

    @property
    def has_marks(self) -> bool:
        """Whether there is anything to find."""
        return self._rows is not None

    def refresh(self) -> None:
        """Read the routes again if their number has changed."""
        if not self._routes:
            self._routes = _routes_behind(self._app)
        if len(self._routes) != self._route_count:
            self._route_count = len(self._routes)
            rows = _Rows(self._routes, "", 0)
            self._rows = rows if rows.marked else None
            self._recent = Recent(self._search)

    def mark_for(self, scope_type: str, method: str, path: str) -> Rule | None:
        """The mark of the endpoint that will answer, with the endpoint's name; None: no mark.

        `path` is decoded and has no root path.
        """
        key = (scope_type, method, path)
        return (self._search(key) if len(path) > _PATH_SIZE_MAX else self._recent[key])[0]

    def _search(self, key: _Key) -> tuple[Rule | None]:
        return (None if self._rows is None else self._rows.find(*key),)


def _routes_behind(app: Any) -> Sequence[Any]:
    """Follow `app.app` through middleware to something that has routes."""
    found: Sequence[Any] = ()
    for _ in range(_WRAPPERS_MAX):
        for holder in (app, getattr(app, "router", None)):
            routes = getattr(holder, "routes", None)
            if isinstance(routes, list | tuple):
                if routes:
                    return routes
                found = routes  # routes may be added, unless it is the mount of a wrapped app
        app = getattr(app, "app", None)
        if app is None:
            break
    return found


def _expanded(routes: Sequence[Any]) -> Iterable[Any]:
    """Routes as they are matched; newer FastAPI keeps included routers and has a public view."""
    view = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    return routes if view is None else view(routes)


class _Rows:
    """One level of a router, in order."""

    __slots__ = ("all", "marked")

    def __init__(self, routes: Sequence[Any], prefix: str, depth: int) -> None:
        rows = (_Row(route, prefix, depth) for route in _expanded(routes))
        self.all = [row for row in rows if row.regex is not None]
        self.marked = [row for row in self.all if row.is_marked]

    def find(self, scope_type: str, method: str, path: str) -> Rule | None:
        """The mark of the first route that takes the request."""
        if not any(row.match(path) for row in self.marked):
            return None
        for row in self.all:
            match = row.match(path)
            if match is None:
                continue
            if row.inner is not None:
                return row.inner.find(scope_type, method, "/" + match["path"])
            if row.takes(scope_type, method):
                return row.mark(method)
        return None


class _Row:
    """One route: an endpoint, or a mount with a level of its own."""

    __slots__ = (
        "endpoint",
        "inner",
        "is_http",
        "is_marked",
        "marks",
        "methods",
        "regex",
        "template",
    )

    def __init__(self, route: Any, prefix: str, depth: int) -> None:
        regex = getattr(route, "path_regex", None)
        self.regex: re.Pattern[str] | None = regex if isinstance(regex, re.Pattern) else None
        self.template = prefix + (getattr(route, "path_format", None) or "")
        self.endpoint = getattr(route, "endpoint", None)
        # A route that answers all methods has `methods = None`, a WebSocket route has no such name.
        self.is_http = hasattr(getattr(route, "original_route", route), "methods")
        self.methods: frozenset[str] = frozenset(getattr(route, "methods", None) or ())
        self.marks: dict[str, Rule | None] = {}
        self.inner: _Rows | None = None
        self.is_marked = _has_mark(self.endpoint)
        if self.endpoint is None and self.regex is not None:
            routes = _routes_behind(route) if depth < _DEPTH_MAX else ()
            self.inner = _Rows(routes, prefix + (getattr(route, "path", None) or ""), depth + 1)
            self.is_marked = bool(self.inner.marked)
            if "path" not in self.regex.groupindex:
                self.regex = None

    def match(self, path: str) -> re.Match[str] | None:
        return None if self.regex is None else self.regex.match(path)

    def takes(self, scope_type: str, method: str) -> bool:
        if self.is_http != (scope_type == "http"):
            return False
        return not self.methods or method in self.methods or scope_type != "http"

    def mark(self, method: str) -> Rule | None:
        """The mark under the endpoint's name; always the same object for the same endpoint."""
        # Only classes have marks by method; nobody may add entries by inventing methods.
        by_method = method if isinstance(self.endpoint, type) and method in _HTTP_METHODS else ""
        if by_method not in self.marks:
            mark = mark_of(self.endpoint, by_method)
            methods = by_method or "|".join(sorted(self.methods - {"HEAD"}))
            name = f"{methods} {self.template}".strip()
            self.marks[by_method] = None if mark is None else replace(mark, name=name)
        return self.marks[by_method]


_HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _has_mark(endpoint: Any) -> bool:
    return any(mark_of(endpoint, method) is not None for method in _HTTP_METHODS)
