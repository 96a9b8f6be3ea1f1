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
from shedproxy.snapshot import Document

__all__ = ["ClassifyHook", "Runtime"]

ClassifyHook = Callable[[Scope, RequestInfo], Criticality | RequestInfo | None]
"""The app's own word on a request, after rules, marks and headers; must be cheap and not block."""


class Runtime:
    """One per event loop. The driver may be shared with whoever made it (a worker)."""

    __slots__ = (
        "_app",
        "_changed",
        "_classifier",
        "_document",
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
        self._app = app
        self._hook = hook
        self._serial = 0
        self.refresh()
        if is_owner:
            driver.start()

    def refresh(self) -> None:
        """Compile the driver's document; called again when it took another one."""
        self._document: Document = self.driver.document
        self._classifier = Classifier(self._document.classification, self._document.policy)
        self.rejections = Rejections(self._document.reject)
        self._routes = RouteTable(self._app)
        self._changed: dict[tuple[int, Criticality], tuple[RequestInfo, RequestInfo]] = {}

    def close(self) -> None:
        """Stop the timers; permits that are out may still come back."""
        if self.is_owner:
            self.driver.close()

    def classify(self, scope: Scope) -> Classified:
        """What the core wants to know of this request. The Host decides nothing."""
        if self.driver.document is not self._document:
            self.refresh()
        self._serial += 1
        path: str = scope["path"]
        raw_path = scope.get("raw_path")
        client = scope.get("client")
        is_socket = scope["type"] == "websocket"
        method = "GET" if is_socket else scope["method"]
        root_path = scope.get("root_path", "")
        classified = self._classifier.classify(
            method,
            raw_path or path.encode("utf-8", "surrogatepass"),
            scope["headers"],
            peer=client[0] if client else "",
            serial=self._serial,
            upgrade=is_socket,
            mark=self._routes.mark_for(
                scope["type"], method, path.removeprefix(root_path) if root_path else path
            ),
        )
        if self._hook is None:
            return classified
        return classified._replace(info=self._ask_hook(scope, classified.info))

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
