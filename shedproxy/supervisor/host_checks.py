"""Health checks of hosts: asked once for all workers, each host at its own moment of the interval.

The moment follows from the host's name, so that it is the same after a restart and differs between
hosts; the name of the machine is in it too, so that proxies do not ask together. A check is a GET
on a connection of its own, and of its answer no more is read than the first line.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import NS_PER_S, Nanos
from shedproxy.dataplane.wire.target import Target
from shedproxy.snapshot import CheckDocument, Document, UpstreamDocument

__all__ = ["HostChecks", "phase_of"]

_AT_ONCE_MAX = 64
"""Checks under way together; more wait for their turn, within their interval."""
_LINE_SIZE_MAX = 1024


def phase_of(host: str, interval_ns: Nanos, machine: str = "") -> Nanos:
    """The moment of a host in each interval."""
    digest = blake2b(f"{machine}\0{host}".encode(), digest_size=8).digest()
    return Nanos(int.from_bytes(digest, "big") % interval_ns)


class _FirstLine(asyncio.Protocol):
    """Asks, and hears the status of the answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._heard = b""
        self.transport: asyncio.Transport
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._heard = (self._heard + data)[:_LINE_SIZE_MAX]
        line, end, _ = self._heard.partition(b"\r\n")
        if end or len(self._heard) == _LINE_SIZE_MAX:
            self._tell(_status_of(line))

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell(0)

    def _tell(self, status: int) -> None:
        if not self.status.done():
            self.status.set_result(status)


@dataclass(slots=True)
class _Check:
    """One host, and how it has answered."""

    target: Target
    document: CheckDocument
    task: asyncio.Task[None]
    verdict: bool | None = None
    streak: int = 0
    """Answers in a row that speak against the verdict."""


class HostChecks:
    """The checks of all cells. `apply` on a running loop; `close` ends them.

    Args:
        report: takes an event and its facts.
    """

    def __init__(
        self,
        report: Callable[[str, Mapping[str, object]], None],
        *,
        clock: Clock = monotonic_now,
        machine: str | None = None,
    ) -> None:
        self._report = report
        self._clock = clock
        self._machine = socket.gethostname() if machine is None else machine
        self._checks: dict[tuple[str, str], _Check] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE_MAX)

    def apply(self, document: Document) -> None:
        """Check what this document says; hosts whose check is the same go on where they were."""
        wanted = {
            (upstream.cell, url): upstream
            for upstream in document.proxy.upstreams
            for url in upstream.urls
            if upstream.check.path
        }
        for key, check in list(self._checks.items()):
            if key not in wanted or wanted[key].check != check.document:
                self._end(self._checks.pop(key))
        for key, upstream in wanted.items():
            if key not in self._checks:
                self._checks[key] = self._begin(key, upstream)

    def verdict(self, cell: str, host: str) -> bool | None:
        """Whether a host is well; None while that is not known, or nobody asks."""
        check = self._checks.get((cell, host))
        return None if check is None else check.verdict

    def close(self) -> None:
        """Ask no more."""
        while self._checks:
            self._end(self._checks.popitem()[1])

    def _begin(self, key: tuple[str, str], upstream: UpstreamDocument) -> _Check:
        target = Target(key[1], upstream.tls)
        target.connect_ns = upstream.check.timeout_ns
        task = asyncio.get_running_loop().create_task(self._run(key))
        return _Check(target, upstream.check, task)

    @staticmethod
    def _end(check: _Check) -> None:
        check.task.cancel()
        check.target.close()

    async def _run(self, key: tuple[str, str]) -> None:
        check = self._checks[key]
        interval_ns = check.document.interval_ns
        phase_ns = phase_of(key[1], interval_ns, self._machine)
        while True:
            wait_ns = (phase_ns - self._clock()) % interval_ns or interval_ns
            await asyncio.sleep(wait_ns / NS_PER_S)
            async with self._turns:
                status = await self._ask(check)
            self._judge(key, check, status)

    async def _ask(self, check: _Check) -> int:
        """The status of the answer, 0 for none in time."""
        document, target = check.document, check.target
        target.refresh(self._clock())
        host = document.host.encode() or target.authority
        request = (
            b"GET %b HTTP/1.1\r\nhost: %b\r\nuser-agent: shedproxy\r\nconnection: close\r\n\r\n"
        ) % (document.path.encode(), host)
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(document.timeout_ns / NS_PER_S):
                transport, asked = await target.connect(
                    lambda: _FirstLine(request), now=self._clock()
                )
                return int(await asked.status)
        except (OSError, UnicodeError):
            return 0
        finally:
            if transport is not None:
                transport.abort()

    def _judge(self, key: tuple[str, str], check: _Check, status: int) -> None:
        document = check.document
        is_good = status in document.status
        if check.verdict is is_good:
            check.streak = 0
            return
        check.streak += 1
        if check.streak < (document.rises if is_good else document.falls):
            return
        was_known, check.verdict, check.streak = check.verdict is not None, is_good, 0
        if was_known or not is_good:
            cell, host = key
            event = "check passes" if is_good else "check fails"
            self._report(event, {"cell": cell, "upstream": host, "status": status or None})


def _status_of(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    return int(rest[:3]) if version.startswith(b"HTTP/1.") and rest[:3].isdigit() else 0
