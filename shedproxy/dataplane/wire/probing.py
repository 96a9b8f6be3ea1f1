"""Finding out, with no request at stake, whether an upstream that is out is back.

One that could not be connected to is connected to. One that took connections without answering is
asked `OPTIONS *`, which RFC 9110 9.3.7 calls a ping: any answer is one. Where a probe waits for
long, quick ones are sent beside it, so that a recovery is noticed within one interval and a slow
upstream is still heard; never more than these two.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from shedproxy.core import NS_PER_S, Nanos
from shedproxy.dataplane.wire.pool import Upstream
from shedproxy.dataplane.wire.target import Target
from shedproxy.dataplane.wire.upstream_side import UpstreamConnection

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["Ping", "Prober"]

_ANSWER = b"HTTP/1."


class Ping(asyncio.Protocol):
    """Asks `OPTIONS *` and hears whether an answer begins."""

    __slots__ = ("_authority", "_heard", "answered", "transport")

    def __init__(self, authority: bytes) -> None:
        self._authority = authority
        self._heard = b""
        self.transport: asyncio.Transport
        self.answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Whether what came is HTTP/1.x."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are transports by shape, not by class.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(
            b"OPTIONS * HTTP/1.1\r\nhost: %b\r\nuser-agent: shedproxy\r\nconnection: close\r\n\r\n"
            % self._authority
        )

    def data_received(self, data: bytes) -> None:
        self._heard = (self._heard + data)[: len(_ANSWER)]
        if len(self._heard) == len(_ANSWER):
            self._tell(is_answer=self._heard == _ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell(is_answer=False)

    def _tell(self, *, is_answer: bool) -> None:
        if not self.answered.done():
            self.answered.set_result(is_answer)


class Prober:
    """Probes the upstreams of one group."""

    __slots__ = ("_group", "_patient", "_quick")

    def __init__(self, group: UpstreamGroup) -> None:
        self._group = group
        self._patient: dict[Upstream[Any], asyncio.Task[None]] = {}
        """Probes that wait as long as a request would."""
        self._quick: dict[Upstream[Any], asyncio.Task[None]] = {}
        """Probes beside them, each given up for the next."""

    def start(self, upstream: Upstream[Any], target: Target) -> None:
        """Send one more probe; the group is told when it shows that the upstream is there."""
        timeouts = self._group.timeouts
        probes, patience_ns = self._patient, timeouts.connect_ns
        if upstream.must_answer:
            patience_ns = timeouts.response_ns
        if upstream in probes:
            probes, patience_ns = self._quick, self._group.document.retry_after_ns
            if upstream in probes:
                probes.pop(upstream).cancel()
        task = self._group.loop.create_task(self._probe(upstream, target, patience_ns))
        probes[upstream] = task
        task.add_done_callback(partial(self._on_done, probes, upstream))

    def close(self) -> None:
        """Give up what is out."""
        for task in (*self._patient.values(), *self._quick.values()):
            task.cancel()

    @staticmethod
    def _on_done(
        probes: dict[Upstream[Any], asyncio.Task[None]],
        upstream: Upstream[Any],
        task: asyncio.Task[None],
    ) -> None:
        if probes.get(upstream) is task:
            del probes[upstream]

    async def _probe(self, upstream: Upstream[Any], target: Target, patience_ns: Nanos) -> None:
        probe = self._ask if upstream.must_answer else self._connect
        try:
            async with asyncio.timeout(patience_ns / NS_PER_S):
                await probe(upstream, target)
        except (OSError, UnicodeError) as error:
            if upstream.out_until is not None:
                self._group.report_failure(upstream.key, error)

    async def _ask(self, upstream: Upstream[Any], target: Target) -> None:
        group = self._group
        group.connections += 1
        transport: asyncio.Transport | None = None
        try:
            factory = partial(Ping, target.authority)
            transport, ping = await target.connect(factory, now=group.clock())
            assert isinstance(ping, Ping)
            if await ping.answered:
                group.on_probe_answered(upstream)
        finally:
            group.connections -= 1
            if transport is not None:
                transport.abort()

    async def _connect(self, upstream: Upstream[Any], target: Target) -> None:
        group = self._group
        factory = partial(UpstreamConnection, group, upstream, target)
        _, connection = await target.connect(factory, now=group.clock())
        assert isinstance(connection, UpstreamConnection)
        if connection.is_open:
            group.on_probe_connected(connection)
