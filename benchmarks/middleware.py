"""What ShedMiddleware adds to one request, in process and behind uvicorn; and what refusing costs.

In process there is no server, no socket, no parser. The app answers with two messages and does
nothing else. Its requests run one after the other in a running event loop; between batches the loop
runs once, so that the timers of the middleware are what they are in a server, but outside the
measured time. On sockets it is the CPU of the whole server process. Beside it: a middleware of
nothing, slowapi, OpenTelemetry's ASGI instrumentation, and uvicorn's own --limit-concurrency, which
closes the connection with each refusal.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.asgi_peers import APPS, app_named
from benchmarks.environment import versions
from benchmarks.load import Cell, Traffic, Turns, take_turns
from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread, added, ratio
from benchmarks.servers import is_pinned, running
from shedproxy import Criticality, Document, Match, Rule, ShedMiddleware
from shedproxy.snapshot import Classification

__all__ = ["measure"]

BATCH = 500
"""Requests between two turns of the loop: a few milliseconds, no stall."""

ADDED = Budget(target=4.0, floor=4.0)
"""Of the middleware with its defaults, metrics on; what claims, tenants and rules take comes on top
and is a row of its own."""
REFUSED = Budget(target=1.0, floor=1.0)

BARE, SHED, REFUSING = "app alone", "ShedMiddleware", "ShedMiddleware, refusing"
BRIEF = "ShedMiddleware, refusing without a body"
CLAIMED = "ShedMiddleware, trusted claims, tenants, rules"
PEERS = {
    BARE: ("bare", 200),
    "a middleware of nothing": ("nothing", 200),
    SHED: ("shedproxy", 200),
    "slowapi": ("slowapi", 200),
    "OpenTelemetry, metrics": ("telemetry", 200),
    REFUSING: ("shedproxy_refusing", 503),
    BRIEF: ("shedproxy_refusing_briefly", 503),
    "slowapi, refusing": ("slowapi_refusing", 429),
}
"""By the name that is printed: the app in `asgi_peers`, and the status it answers with."""
LIMITED = "uvicorn --limit-concurrency"
ROUNDS = 9

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


async def take_turns_here(cases: dict[str, Case], *, rounds: int, count: int) -> None:
    for case in cases.values():
        await case.run(2 * BATCH)
    for _ in range(rounds):
        for case in cases.values():
            gc.collect()
            case.values.append(await case.run(count))


def in_process(*, rounds: int, count: int) -> dict[str, list[float]]:
    """Microseconds per request by case, a value a round; what is not installed is left out."""
    cases = {
        name: Case(app, HEADERS, status)
        for name, (which, status) in PEERS.items()
        if (app := app_named(which)) is not None
    }
    cases[CLAIMED] = Case(ShedMiddleware(APPS["bare"](), EVERYTHING), HEADERS + CLAIMS)
    asyncio.run(take_turns_here(cases, rounds=rounds, count=count))
    return {name: case.values for name, case in cases.items()}


def on_sockets(found: list[str], rounds: int) -> Turns:
    """Microseconds of the server's CPU per answered request, a value a round."""
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home = Path(directory)
        servers = [
            peers.uvicorn(name, f"asgi_peers:{app}", home=home, status=status)
            for name, (app, status) in PEERS.items()
            if name in found
        ]
        limit = ("--limit-concurrency=1",)
        servers.append(
            peers.uvicorn(LIMITED, "asgi_peers:bare", home=home, status=503, options=limit)
        )
        with running(servers):
            return take_turns([Cell(Traffic(), servers)], home, rounds=rounds)


def measure(*, quick: bool, rounds: int = 0) -> Report:
    rounds = rounds or (3 if quick else ROUNDS)
    here = in_process(rounds=rounds, count=3000 if quick else 10_000)
    rows = [Row(f"in process, {name}", Spread.of(values)) for name, values in here.items()]
    alone = here[BARE]
    for name in here:
        if name != BARE and "refusing" not in name:
            budget = ADDED if name == SHED else None
            rows.append(added(f"added in process by {name}", here[name], alone, budget))
    report = Report(
        title="CPU of one ASGI call, metrics on",
        unit="us per request",
        rows=rows,
        absent=[name for name in PEERS if name not in here],
        versions=versions((), ("uvicorn", "slowapi", "opentelemetry-instrumentation-asgi")),
    )
    if quick:
        report.ratios = [ratio("refusal / app alone, in process", here[REFUSING], alone)]
        report.notes = ["a quick run does not start servers"]
        return report
    turns = on_sockets(list(here), rounds)
    there, report.samples = turns.values[Traffic()], turns.raw
    rows += [Row(f"on sockets, {name}", Spread.of(values)) for name, values in there.items()]
    report.ratios = [
        ratio(
            f"{name} / {BARE}, on sockets",
            values,
            there[BARE],
            REFUSED if name in {REFUSING, BRIEF} else None,
        )
        for name, values in there.items()
        if name != BARE
    ]
    report.ratios.append(
        ratio(f"{REFUSING} / {LIMITED}, on sockets", there[REFUSING], there[LIMITED])
    )
    report.notes = [
        *turns.notes(),
        f"on sockets: uvicorn, {Traffic()}",
    ]
    if not is_pinned():
        report.notes.append("one core only: nothing is pinned, the generator disturbs")
    return report
