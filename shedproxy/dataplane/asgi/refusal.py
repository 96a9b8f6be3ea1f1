"""Sends a refusal, or what answers a body that does not come. The rest of it is the server's."""

from __future__ import annotations

from shedproxy.core import Rejected
from shedproxy.dataplane.asgi.types import Message, Scope, Send
from shedproxy.dataplane.rejection import Rejections
from shedproxy.observability.fault import Fault

__all__ = ["fault_messages", "refusal_messages", "refuse"]


def refusal_messages(
    rejections: Rejections, rejected: Rejected, refusal_id: bytes, scope: Scope
) -> list[Message]:
    """What answers a request or a WebSocket handshake that the driver has refused.

    A WebSocket gets a real HTTP answer where the server offers the denial response extension;
    else it is closed before it was accepted, which servers answer with 403.
    """
    prefix = ""
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            return [{"type": "websocket.close", "code": 1013, "reason": "overloaded"}]
        prefix = "websocket."
    status, headers, body = rejections.asgi(rejected, refusal_id)
    if body and scope.get("method") == "HEAD":
        body = b""
    return [
        {"type": prefix + "http.response.start", "status": status, "headers": headers},
        {"type": prefix + "http.response.body", "body": body, "more_body": False},
    ]


def fault_messages(rejections: Rejections, fault: Fault, scope: Scope) -> list[Message]:
    """What answers a request that failed, and ends its connection: its body is not all here."""
    status, headers, body = rejections.fault_asgi(fault)
    if scope.get("http_version", "1.1").startswith("1"):
        headers.append((b"connection", b"close"))
    return [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body, "more_body": False},
    ]


async def refuse(messages: list[Message], send: Send) -> None:
    """Send them. A client that has left is no error."""
    try:
        for message in messages:
            await send(message)
    except OSError:
        pass  # `suppress` would cost more than all of this
