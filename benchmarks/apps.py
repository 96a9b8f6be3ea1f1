"""The application that costs next to nothing, and the same behind a middleware that refuses."""

from __future__ import annotations

from typing import Any

from shedproxy import Document, Match, Rule, ShedMiddleware
from shedproxy.snapshot import Classification

__all__ = ["NOTHING_ADMITTED", "bare", "refusing"]

BODY = b"x" * 128
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]


async def bare(_scope: Any, _receive: Any, send: Any) -> None:
    """The least that is an answer."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


NOTHING_ADMITTED = Document(
    classification=Classification(rules=(Rule(match=Match(path=("/**",)), limit=0),))
)

refusing = ShedMiddleware(bare, NOTHING_ADMITTED)
