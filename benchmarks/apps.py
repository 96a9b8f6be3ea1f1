"""The application that costs next to nothing, and the same behind a middleware that refuses."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

from shedproxy import CellPolicy, Document, LimitPolicy, Match, Policy, Rule, ShedMiddleware
from shedproxy.snapshot import Classification, RejectDocument

__all__ = ["NOTHING_ADMITTED", "bare", "forward", "limited", "refusing", "refusing_briefly"]

BODY = b"x" * 128
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]


async def bare(_scope: Any, _receive: Any, send: Any) -> None:
    """The least that is an answer."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


NOTHING_ADMITTED = Document(
    classification=Classification(rules=(Rule(match=Match(path=("/**",)), limit=0),))
)

_idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []


async def forward(_scope: Any, _receive: Any, send: Any) -> None:
    """The least that is a proxy: one request without a body, one answer with a length."""
    port = int(os.environ["BENCHMARKS_FORWARD_TO"])
    reader, writer = _idle.pop() if _idle else await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: up\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
    _idle.append((reader, writer))
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


refusing = ShedMiddleware(bare, NOTHING_ADMITTED)
refusing_briefly = ShedMiddleware(
    bare, replace(NOTHING_ADMITTED, reject=RejectDocument(body="empty"))
)
"""The reason, the id and when to come again are in the head alone."""
limited = ShedMiddleware(
    forward,
    Policy(cells=(CellPolicy(limit=LimitPolicy(algorithm="fixed", initial=4, maximum=4)),)),
)
"""At most four at a time, in all workers of a server together."""
