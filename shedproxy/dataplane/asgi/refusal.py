"""Sends a refusal. The request's body is never asked for: what to do with it is the server's."""

from __future__ import annotations

from shedproxy.core import Rejected
from shedproxy.dataplane.asgi.types import Scope, Send
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.rejection import Rejections
from shedproxy.observability.ring import RefusalRing

__all__ = ["refuse"]


async def refuse(
    driver: Driver, rejections: Rejections, rejected: Rejected, scope: Scope, send: Send
) -> None:
    """Answer a request or a WebSocket handshake with its refusal.

    A WebSocket gets a real HTTP answer where the server offers the denial response extension;
    else it is closed before it was accepted, which servers answer with 403.
    """
    id_text = RefusalRing.format_id(driver.refusal_id(rejected))
    prefix = ""
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1013, "reason": "overloaded"})
            return
        prefix = "websocket."
    status, headers, body = rejections.asgi(rejected, id_text)
    if scope.get("method") == "HEAD":
        body = b""
    try:
        await send({"type": f"{prefix}http.response.start", "status": status, "headers": headers})
        await send({"type": f"{prefix}http.response.body", "body": body, "more_body": False})
    except OSError:
        pass  # A client that has left does not need it; `suppress` costs more than all of this.
