"""What ShedMiddleware adds to one request, in process: no server, no socket, no parser.

The app answers with two messages and does nothing else. Its requests run one after the other in a
running event loop; between batches the loop runs once, so that the timers of the middleware are
what they are in a server, but outside the measured time.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

from benchmarks.apps import NOTHING_ADMITTED, bare
from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread, added, ratio
from shedproxy import Criticality, Document, Match, Rule, ShedMiddleware
from shedproxy.snapshot import Classification

__all__ = ["measure"]

BATCH = 500
"""Requests between two turns of the loop: a few milliseconds, no stall."""

ADDED = Budget(target=4.0, floor=8.0)

HEADERS = [
    (b"host", b"service.example"),
    (b"user-agent", b"benchmark/1.0"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
]
CLAIMS = [
    (b"x-criticality", b"critical_plus"),
    (b"x-tenant-id", b"tenant-7"),
    (b"x-request-timeout-ms", b"2000"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
]
RULES = (
    Rule(name="checkout", match=Match(path=("/checkout/**",)), criticality=Criticality(3)),
    Rule(name="items", match=Match(path=("/items/*",), method=("GET",))),
)
EVERYTHING = Document(
    classification=Classification(
        rules=RULES, tenant_header="x-tenant-id", trusted_peers=("127.0.0.0/8",)
    )
)


def scope_template(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """As uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/items/7",
        "raw_path": b"/items/7",
        "query_string": b"",
        "headers": headers,
    }


class Case:
    """An app and the requests it gets."""

    def __init__(self, app: Any, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
        self.values: list[float] = []
        self._app = app
        self._template = scope_template(headers)
        self._status = status
        self._wrong = 0

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        if message.get("status", self._status) != self._status:
            self._wrong += 1

    async def run(self, count: int) -> float:
        """Microseconds of CPU per request."""
        app, template, receive, send = self._app, self._template, self._receive, self._send
        spent = 0
        for _ in range(count // BATCH):
            await asyncio.sleep(0)
            start = time.thread_time_ns()
            for _ in range(BATCH):
                await app({**template, "state": {}}, receive, send)
            spent += time.thread_time_ns() - start
        if self._wrong:
            raise NotMeasuredError(f"{self._wrong} answers were not {self._status}")
        return spent / (count // BATCH * BATCH) / 1000


async def take_turns(cases: dict[str, Case], *, rounds: int, count: int) -> None:
    for case in cases.values():
        await case.run(2 * BATCH)
    for _ in range(rounds):
        for case in cases.values():
            gc.collect()
            case.values.append(await case.run(count))


def measure(*, quick: bool) -> Report:
    cases = {
        "app alone": Case(bare, HEADERS),
        "ShedMiddleware(app)": Case(ShedMiddleware(bare), HEADERS),
        "the same, trusted claims, tenants, rules": Case(
            ShedMiddleware(bare, EVERYTHING), HEADERS + CLAIMS
        ),
        "the same, refusing": Case(ShedMiddleware(bare, NOTHING_ADMITTED), HEADERS, status=503),
    }
    asyncio.run(take_turns(cases, rounds=3 if quick else 15, count=4000 if quick else 20_000))
    alone, plain, claims, refused = (case.values for case in cases.values())
    return Report(
        title="CPU of one ASGI call in process, metrics on",
        unit="us per request",
        rows=[
            *(Row(name, Spread.of(case.values)) for name, case in cases.items()),
            added("added by the middleware", plain, alone, ADDED),
            added("added with claims, tenants, rules", claims, alone, ADDED),
        ],
        ratios=[ratio("refusal / app alone", refused, alone)],
    )
