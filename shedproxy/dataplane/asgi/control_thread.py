"""The control lane of the middleware: health, status and metrics on a thread of its own.

It answers while the event loop is blocked by Python code or by a wait, which is when health and
metrics are wanted most. Its limit: a C call that keeps the GIL blocks every thread, this one too.
Only another process answers then, which is what `shedproxy run` and `shedproxy app` have.

It reads plain integers that the loop's thread writes; it never calls into a driver.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, AddressFamily
from typing import Any

from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_S, Criticality, Mode, RejectReason
from shedproxy.dataplane.asgi.runtime import Runtime
from shedproxy.dataplane.driver import Driver
from shedproxy.observability.exposition import CONTENT_TYPE, render_text
from shedproxy.observability.meter import Gauge
from shedproxy.observability.reading import Sample, sample_of, samples

__all__ = ["ControlThread", "parse_address"]

HEARTBEAT_S = 0.5
LIVE_BOUND_NS = 15 * NS_PER_S
"""`/livez` fails when an event loop has not come round for this long."""
READY_BOUND_NS = 5 * NS_PER_S
"""`/readyz` fails earlier: traffic can go elsewhere before anything is restarted."""
_CLIENT_TIMEOUT_S = 5
_JSON = "application/json"

_SUMMED = {
    "in_flight": Gauge.IN_FLIGHT,
    "limit": Gauge.LIMIT,
    "queue_length": Gauge.QUEUE_LENGTH,
    "residents": Gauge.RESIDENTS,
    "zombies": Gauge.ZOMBIES,
    "control_in_flight": Gauge.CONTROL_IN_FLIGHT,
}

_log = logging.getLogger("shedproxy")


class ControlThread:
    """Listens on `address` ("host:port", ":port", "[::1]:port") once an event loop is watched."""

    def __init__(self, address: str) -> None:
        self._host, self._port = parse_address(address)
        self._server: _Server | None = None
        self._beats: dict[Runtime, int] = {}
        self._timers: dict[Runtime, asyncio.TimerHandle] = {}

    @property
    def port(self) -> int:
        """The port listened on; 0 while there is none."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def watch(self, runtime: Runtime) -> None:
        """Begin to expect heartbeats of a runtime's event loop; call it on that loop."""
        for other in [other for other in self._beats if other.loop.is_closed()]:
            self.forget(other)
        self._beat(runtime)
        if self._server is None:
            self._listen()

    def close(self) -> None:
        """Stop listening and watching."""
        for runtime in list(self._beats):
            self.forget(runtime)
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and body for a path; on the control thread."""
        age_ns = self._oldest_beat_ns()
        if path == "/livez":
            return _health(age_ns, LIVE_BOUND_NS)
        if path == "/readyz":
            return _health(age_ns, READY_BOUND_NS)
        if path == "/-/status":
            return 200, _JSON, json.dumps(self._status(age_ns), indent=2) + "\n"
        if path == "/metrics":
            return 200, CONTENT_TYPE, render_text(self._samples(age_ns))
        return 404, _JSON, json.dumps({"paths": ["/livez", "/readyz", "/-/status", "/metrics"]})

    def _listen(self) -> None:
        try:
            server = _Server((self._host, self._port), self)
        except OSError as error:
            # The service is worth more than its control lane. With several workers the first one
            # has the port.
            _log.warning("no control lane on %s:%s: %s", self._host, self._port, error)
            return
        self._server = server
        threading.Thread(target=server.serve_forever, name="shedproxy-control", daemon=True).start()

    def _beat(self, runtime: Runtime) -> None:
        self._beats[runtime] = monotonic_now()
        self._timers[runtime] = runtime.loop.call_later(HEARTBEAT_S, self._beat, runtime)

    def forget(self, runtime: Runtime) -> None:
        """Expect no more of it; call it on its loop, or when that is closed."""
        self._beats.pop(runtime, None)
        timer = self._timers.pop(runtime, None)
        if timer is not None:
            timer.cancel()

    def _oldest_beat_ns(self) -> int:
        # One that was closed without a word is nobody's, and is forgotten with the next one.
        beats = [at for each, at in tuple(self._beats.items()) if not each.loop.is_closed()]
        return monotonic_now() - min(beats, default=monotonic_now())

    def _samples(self, age_ns: int) -> list[Sample]:
        runtimes = tuple(self._beats)
        if not runtimes:
            return []
        mode = runtimes[0].driver.mode
        extra = [
            *(sample_of("shedproxy.mode", float(mode is each), each.label) for each in Mode),
            sample_of("shedproxy.worker.heartbeat.age", age_ns / NS_PER_S),
        ]
        names = runtimes[0].driver.cells
        slots = [runtime.driver.meter.slots for runtime in runtimes]
        return list(samples(slots, names, extra))

    def _status(self, age_ns: int) -> dict[str, Any]:
        runtimes = tuple(self._beats)
        driver = runtimes[0].driver if runtimes else None
        policies = () if driver is None else driver.document.policy.cells
        return {
            "mode": None if driver is None else driver.mode.label,
            "event_loops": len(runtimes),
            "workers": _workers_status(driver),
            "heartbeat_age_s": round(age_ns / NS_PER_S, 3),
            "cells": [_cell_status(runtimes, policy.name) for policy in policies],
        }


def parse_address(address: str) -> tuple[str, int]:
    """Host and port; without a host the loopback.

    Raises:
        ValueError: there is no port from 0 to 65535.
    """
    host, _, port = address.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is no address; write host:port")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def _health(age_ns: int, bound_ns: int) -> tuple[int, str, str]:
    is_well = age_ns <= bound_ns
    body = {"status": "ok" if is_well else "blocked", "heartbeat_age_s": age_ns / NS_PER_S}
    return (200 if is_well else 503), _JSON, json.dumps(body) + "\n"


def _workers_status(driver: Driver | None) -> dict[str, Any] | None:
    """The processes that have the limits together; None: this one is alone."""
    share = None if driver is None else driver.share
    return None if share is None else {"count": share.workers, "page_lost": share.why_lost}


def _cell_status(runtimes: tuple[Runtime, ...], name: str) -> dict[str, Any]:
    number = runtimes[0].driver.cell_index(name)
    meters = [runtime.driver.meter for runtime in runtimes]
    status: dict[str, Any] = {"name": name}
    for word, gauge in _SUMMED.items():
        status[word] = sum(meter.gauge(number, gauge) for meter in meters)
    status["class_in_flight"] = {
        each.label: sum(meter.gauge(number, Gauge.of_class(each)) for meter in meters)
        for each in Criticality
    }
    status["pressure"] = max(meter.gauge(number, Gauge.PRESSURE_PPM) for meter in meters) / 1e6
    status["shed_level"] = max(meter.gauge(number, Gauge.SHED_RANK) for meter in meters)
    status["admitted"] = sum(meter.admitted(number) for meter in meters)
    status["rejected"] = {
        reason.label: count
        for reason in RejectReason
        if (count := sum(meter.rejected(number, reason) for meter in meters))
    }
    return status


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], control: ControlThread) -> None:
        self.address_family: AddressFamily = AF_INET6 if ":" in address[0] else AF_INET
        self.control = control
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of four paths; everything else is 404 or 501."""

    protocol_version = "HTTP/1.1"
    server_version = "shedproxy"
    sys_version = ""
    timeout = _CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        status, content_type, text = self.server.control.answer(self.path.partition("?")[0])
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name that the library looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
        """Nothing: probes come every few seconds."""
