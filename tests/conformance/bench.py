"""The proxy under test: its workers' server in this process, or `shedproxy run`, one per bench."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import uvloop
from conformance.recorder import Recorder

from shedproxy.core import CellPolicy, Criticality, LimitPolicy, Mode, Policy, milliseconds, seconds
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.wire.server import WireServer
from shedproxy.snapshot import (
    Classification,
    Document,
    Match,
    ProxyDocument,
    Rule,
    Timeouts,
    UpstreamDocument,
)

__all__ = ["Benches"]

QUICK = {
    "connect_ns": milliseconds(500),
    "response_ns": seconds(5),
    "expect_continue_ns": milliseconds(100),
}
RULES = (
    Rule(name="search", match=Match(path=("/search/**",)), criticality=Criticality.SHEDDABLE),
    Rule(name="checkout", match=Match(path=("/checkout/**",)), criticality=Criticality.CRITICAL),
)
LIMITS = {
    "target_size_max": 200,
    "head_size_max": 1000,
    "field_count_max": 20,
    "body_size_max": 1000,
    "requests_per_connection_max": 3,
}


def document(bench: str, url: str) -> Document:
    """The configuration of a bench. "plain" has the defaults of everything that is tested."""
    classification: dict[str, Any] = {}
    proxy: dict[str, Any] = {}
    timeouts: dict[str, Any] = {}
    if bench == "small":
        proxy = LIMITS
    elif bench == "trusting":
        classification = {"trusted_peers": ("127.0.0.0/8",)}
    elif bench == "ruled":
        classification = {
            "rules": RULES,
            "default_criticality": Criticality.CRITICAL_PLUS,
            "tenant_header": "x-tenant",
        }
    elif bench == "impatient":
        timeouts = {"client_head_ns": milliseconds(50), "client_body_ns": milliseconds(50)}
    else:
        assert bench in {"plain", "named"}, bench
    return Document(
        policy=Policy(
            mode=Mode.ENFORCE,
            cells=(CellPolicy(limit=LimitPolicy(algorithm="fixed", initial=100)),),
        ),
        classification=Classification(**classification),
        proxy=ProxyDocument(
            upstreams=(UpstreamDocument(urls=(url,)),),
            timeouts=Timeouts(**{**QUICK, **timeouts}),
            **proxy,
        ),
    )


class Benches:
    """Proxies by the name of their bench, before one recording upstream, on a loop of their own."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.faults: list[str] = []
        """What the loop's exception handler heard: a bug of ours."""
        self._ports: dict[str, int] = {}
        self._running: list[tuple[Driver, WireServer, socket.socket]] = []
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.faults.append(repr(context)))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def port(self, bench: str) -> int:
        """Where the proxy of this bench listens; started when first asked for."""
        if bench not in self._ports:
            asyncio.run_coroutine_threadsafe(self._start(bench), self._loop).result(10)
        return self._ports[bench]

    async def _start(self, bench: str) -> None:
        driver = Driver(document(bench, self.recorder.url))
        driver.start()
        server = WireServer(driver)
        sock = socket.create_server(("127.0.0.1", 0))
        await server.start([sock])
        self._running.append((driver, server, sock))
        self._ports[bench] = sock.getsockname()[1]

    async def _stop(self) -> None:
        for driver, server, sock in self._running:
            server.close()
            driver.close()
            sock.close()
        await asyncio.sleep(0.02)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.recorder.close()
