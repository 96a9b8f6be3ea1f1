"""What the middleware needs on one event loop: a driver and the tables compiled for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shedproxy.core import Criticality, RequestInfo
from shedproxy.dataplane.asgi.route_table import RouteTable
from shedproxy.dataplane.asgi.types import Scope
from shedproxy.dataplane.classify import Classified, Classifier
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.rejection import Rejections
from shedproxy.snapshot import Document, Rule

__all__ = ["ClassifyHook", "Runtime"]

ClassifyHook = Callable[[Scope, RequestInfo], Criticality | RequestInfo | None]
"""The app's own word on a request, after rules, marks and headers; must be cheap and not block."""


_ROUTES_LOOK = 255
"""The router's table is looked at on the first request and on every 256th: apps add routes late,
not often."""


class Runtime:
    """One per event loop. The driver may be shared with whoever made it (a worker)."""

    __slots__ = (
        "_changed",
        "_classify",
        "_document",
        "_has_marks",
        "_hook",
        "_routes",
        "_serial",
        "driver",
        "is_owner",
        "loop",
        "rejections",
    )

    def __init__(
        self, app: Any, driver: Driver, *, hook: ClassifyHook | None, is_owner: bool
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.driver = driver
        self.is_owner = is_owner
        self._hook = hook
        self._serial = 0
        self._routes = RouteTable(app)
        self._has_marks = False
        self.refresh()
        if is_owner:
            driver.start()

    def refresh(self) -> None:
        """Compile the driver's document; called again when it took another one."""
        self._document: Document = self.driver.document
        self._classify = Classifier(self._document.classification, self._document.policy).classify
        self.rejections = Rejections(self._document.reject)
        self._changed: dict[tuple[int, Criticality], tuple[RequestInfo, RequestInfo]] = {}

    def close(self) -> None:
        """Stop the timers; permits that are out may still come back."""
        if self.is_owner:
            self.driver.close()

    def classify(self, scope: Scope) -> Classified:
        """What the core wants to know of this request. The Host decides nothing."""
        if self.driver.document is not self._document:
            self.refresh()
        self._serial = serial = self._serial + 1
        if serial & _ROUTES_LOOK == 1:
            self._routes.refresh()
            self._has_marks = self._routes.has_marks
        client = scope.get("client")
        is_socket = scope["type"] == "websocket"
        classified = self._classify(
            "GET" if is_socket else scope["method"],
            scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass"),
            scope["headers"],
            client[0] if client else "",
            serial,
            is_socket,
            None,
            self._find_mark(scope) if self._has_marks else None,
        )
        if self._hook is None:
            return classified
        return classified._replace(info=self._ask_hook(scope, classified.info))

    def _find_mark(self, scope: Scope) -> Rule | None:
        path: str = scope["path"]
        root_path: str = scope.get("root_path", "")
        if root_path:
            path = path.removeprefix(root_path)
        return self._routes.mark_for(scope["type"], scope.get("method", "GET"), path)

    def _ask_hook(self, scope: Scope, info: RequestInfo) -> RequestInfo:
        assert self._hook is not None
        said = self._hook(scope, info)
        if said is None or said is info:
            return info
        if isinstance(said, RequestInfo):
            return said
        key = (id(info), said)
        known = self._changed.get(key)
        if known is None:
            # The old info is kept with the new one, or another one could get its id.
            known = self._changed[key] = (info, replace(info, criticality=Criticality(said)))
        return known[1]
