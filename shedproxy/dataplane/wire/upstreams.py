"""The upstreams of one cell with their real connections: what the pool decides is done here.

A task exists only while a connection is being opened: one per connection, none per request.
"""

from __future__ import annotations

import asyncio
import errno
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from shedproxy.core import NS_PER_S, Instant, Lane
from shedproxy.dataplane.wire.hands import Hand, Hands
from shedproxy.dataplane.wire.health import NEVER
from shedproxy.dataplane.wire.host_watch import HostWatch
from shedproxy.dataplane.wire.pool import NOTHING, Effects, Slot, Upstream, UpstreamPool
from shedproxy.dataplane.wire.probing import Prober
from shedproxy.dataplane.wire.retrying import Retries
from shedproxy.dataplane.wire.target import Target, Targets, targets_of
from shedproxy.dataplane.wire.timer_wheel import Timed
from shedproxy.dataplane.wire.upstream_side import UpstreamConnection
from shedproxy.observability.fault import Fault
from shedproxy.snapshot import ProxyDocument, UpstreamDocument

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.ending import Ending
    from shedproxy.dataplane.wire.server import WireServer

__all__ = ["UNBOUNDED", "UpstreamGroup"]

_CONTROL: Final = Lane.CONTROL
SAFE_IDLE_NS = NS_PER_S
"""A request that cannot be sent again takes no connection that was idle for longer: its upstream
may be closing it just now. (Servers close idle connections after 2 s and more.)"""
UNBOUNDED: Final = 1 << 60
_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""Connects that fail for want of something on this side say nothing of the upstream."""


class UpstreamGroup(Timed):
    """Connections of one cell. Survives a reload of its document.

    Raises:
        ValueError: a URL of the document is not one.
        OSError: a TLS file cannot be read.
    """

    def __init__(
        self, server: WireServer, document: UpstreamDocument, proxy: ProxyDocument
    ) -> None:
        super().__init__()
        self.server = server
        self.loop = server.loop
        self.clock = server.clock
        self.wheel = server.wheel
        self.read_buffer = server.read_buffer
        self.answer_fields = server.answer_fields
        self.is_out = False
        """No upstream in service; looked at again by `tick` and by every answer."""
        self.connections = 0
        """Open or being opened."""
        self.clients = 0
        """Clients that requests of the cell keep busy."""
        self.clients_max = self.connections_max = UNBOUNDED
        self._dials: set[asyncio.Task[None]] = set()
        self._line: OrderedDict[Ending, int] = OrderedDict()
        """Who waits for a connection, and until when; who has left is still in here."""
        self.targets: Targets = {}
        """By URL."""
        self._prober = Prober(self)
        self.watch = HostWatch()
        self.retries = Retries(document.retries, now=self.clock())
        self._reported: dict[str, str] = {}
        """By URL: why it could not be connected to last."""
        self._hands: Hands[UpstreamConnection] = Hands()
        self._pool: UpstreamPool[UpstreamConnection, Ending] = UpstreamPool(())
        self.apply(document, proxy, targets_of(document))

    def apply(self, document: UpstreamDocument, proxy: ProxyDocument, targets: Targets) -> None:
        """Take a new document; upstreams that stay keep their connections and their health."""
        self.document = document
        self.timeouts = proxy.timeouts
        self.buffer_size = proxy.buffer_size
        self.is_cancelled_by_close = document.cancels == "true"
        self.is_never_cancelled = document.cancels == "false"
        for url, target in targets.items():
            target.connect_ns = self.timeouts.connect_ns
            target.inherit(self.targets.get(url, target))
        for url in self.targets.keys() - targets.keys():
            self.targets[url].leave()
        self.targets = targets
        self.retries.apply(document.retries)
        effects = self._pool.apply(
            document.urls,
            connections_max=document.connections_max,
            fail_after=document.fail_after,
            retry_after_ns=document.retry_after_ns,
            idle_max_ns=proxy.timeouts.pool_idle_ns,
            now=self.clock(),
            zones=document.zones,
            own_zone=proxy.zone,
        )
        self._pool.weigh_away(proxy.zones_away)
        self._hands.apply(document, self._pool.upstreams)
        self.watch.apply(document, self._pool.upstreams)
        self._look_at_health()
        self._carry_out(effects)

    # --- taking and giving back -------------------------------------------------------------

    def acquire(self, exchange: Ending, now: Instant, *, is_fresh: bool = False) -> None:
        """Give the exchange a connection, now or later: it is told by `on_upstream` or a failure.

        It waits rather than go back to who failed it. `is_fresh`: not one that was used before.
        """
        lane = exchange.info.lane
        hand = self._hand_of(exchange)
        if exchange.tried:
            hand = self._pool.others(exchange.tried, hand) or hand
        slot = self._pool.acquire(now=now, lane=lane, tried=exchange.tried, hand=hand)
        if slot is None and lane is _CONTROL:
            slot = self._pool.acquire(now=now, tried=exchange.tried)
        if slot is not None:
            self._use(slot, exchange, now, is_fresh)
        elif not self._pool.healthy_count(now=now, hand=hand):
            self.is_out = not self._pool.healthy_count(now=now)
            exchange.on_no_upstream()
        else:
            self._pool.wait(exchange, hand)
            self._line[exchange] = now + self.timeouts.connect_ns
            self._line.move_to_end(exchange)
            self._plan(now)

    def withdraw(self, exchange: Ending) -> None:
        """The exchange no longer wants a connection. One that is being opened goes to the pool."""
        self._pool.withdraw(exchange)

    def give_back(self, connection: UpstreamConnection) -> None:
        """The exchange on it is over and it may carry another."""
        slot, connection.slot = connection.slot, None
        assert slot is not None
        connection.deadline_at = 0
        if connection.generation != connection.entry.generation and self._is_outdated(connection):
            connection.slot = slot
            connection.close()
            return
        effects = self._pool.put_idle(slot, connection, now=self.clock())
        if effects is not NOTHING:
            self._carry_out(effects)

    def on_closed(self, connection: UpstreamConnection) -> None:
        """A connection is closed, by whoever."""
        if not connection.is_established:
            return
        self.connections -= 1
        slot, connection.slot = connection.slot, None
        if slot is None:
            self._pool.forget_idle(connection.entry, connection)
        else:
            self._carry_out(self._pool.forget(slot, now=self.clock()))

    # --- health -----------------------------------------------------------------------------

    def on_answer(self, connection: UpstreamConnection, *, is_error: bool) -> None:
        """The upstream answered."""
        if connection.entry.answered(self.clock(), is_error=is_error):
            self._reported.pop(connection.entry.key, None)
            self._report("upstream answers again", upstream=connection.entry.key)
            self._look_at_health()

    def on_dead(self, connection: UpstreamConnection) -> None:
        """It took the connection and closed it without a byte, or never said one."""
        self._count_failure(connection.entry, is_connected=True)

    def on_vanished(self, connection: UpstreamConnection) -> None:
        """The host acknowledged nothing for so long that the kernel gave up."""
        upstream = connection.entry
        for idle in (*upstream.data.idle, *upstream.control.idle):
            idle.close()
        self._count_failure(upstream, is_connected=True)

    def on_probe_connected(self, connection: UpstreamConnection) -> None:
        """An upstream that was out takes connections."""
        self.connections += 1
        connection.is_established = True
        upstream = connection.entry
        effects = self._pool.on_connected(upstream, connection, now=self.clock())
        if upstream.out_until is None:
            self._reported.pop(upstream.key, None)
        self._look_at_health()
        self._carry_out(effects)

    def on_probe_answered(self, upstream: Upstream[Any]) -> None:
        """An upstream that was out answers a ping."""
        upstream.probe_answered(self.clock())
        self._look_at_health()

    def report_failure(self, url: str, error: Exception) -> None:
        """Say why an upstream cannot be connected to: once, until it can, or for another reason."""
        why = str(error) or ("no connection in time" if isinstance(error, TimeoutError) else "")
        why = why or type(error).__name__
        if self._reported.get(url) != why:
            self._reported[url] = why
            self._report("upstream connect failed", upstream=url, error=why)

    def _report(self, event: str, **facts: object) -> None:
        self.server.report(event, cell=self.document.cell, **facts)

    def _count_failure(self, upstream: Upstream[Any], *, is_connected: bool) -> None:
        now = self.clock()
        if self._pool.on_failure(upstream, now=now, is_connected=is_connected):
            if is_connected:
                self._report("upstream does not answer", upstream=upstream.key)
            self._look_at_health()
        elif upstream.out_until is not None:
            self._plan(now)

    def health(self) -> tuple[int, int]:
        """Upstreams in service, and all."""
        return self._pool.healthy_count(now=self.clock()), len(self._pool.upstreams)

    def health_by_url(self) -> dict[str, bool]:
        """Each upstream: whether it is in service or waits for a request that tries it.

        Readiness follows from this: were it not ready, that request would never come.
        """
        now = self.clock()
        return {upstream.key: upstream.is_open(now) for upstream in self._pool.upstreams}

    def has_other(self, exchange: Ending, avoid: Upstream[Any] | None) -> bool:
        """Whether a second try can go anywhere, or to another upstream than `avoid`."""
        healthy = self._pool.healthy_count(now=self.clock(), hand=self._hand_of(exchange))
        is_counted = avoid is not None and avoid.out_until is None and not avoid.is_retired
        return healthy > (1 if is_counted else 0)

    def _hand_of(self, exchange: Ending) -> Hand[UpstreamConnection] | None:
        """The upstreams that its tenant may use; None: all."""
        return None if exchange.info.lane is _CONTROL else self._hands.of(exchange.flow_hash)

    def _look_at_health(self) -> None:
        now = self.clock()
        self.is_out = not self._pool.healthy_count(now=now)
        self.server.on_healthy_weight(self, self._pool.in_service_count)
        self._plan(now)

    def _plan(self, now: Instant) -> None:
        """Be called again when time alone changes something."""
        at = self._pool.next_change_at(now=now)
        if self._line:
            at = min(at, Instant(next(iter(self._line.values()))))
        self.deadline_at = 0 if at == NEVER else at
        if self.deadline_at:
            self.wheel.watch(self)

    def tick(self) -> None:
        """Called about once a second: names, idle connections."""
        now = self.clock()
        for upstream in self._pool.upstreams:
            target = self.targets[upstream.key]
            target.refresh(now)
            if target.generation != upstream.generation:
                self._leave_addresses(upstream, target)
        self._look_at_health()
        self._carry_out(self._pool.tick(now=now))

    def _leave_addresses(self, upstream: Upstream[Any], target: Target) -> None:
        """The name of an upstream means other addresses now: no new request to the old ones."""
        upstream.generation = target.generation
        for connection in (*upstream.data.idle, *upstream.control.idle):
            if self._is_outdated(connection):
                connection.close()

    def _is_outdated(self, connection: UpstreamConnection) -> bool:
        """Whether it leads to an address that its upstream no longer has."""
        upstream = connection.entry
        connection.generation = upstream.generation
        peer = connection.transport.get_extra_info("peername")
        target = self.targets.get(upstream.key)
        return peer is not None and (target is None or peer[0] not in target.addresses)

    def retire(self) -> None:
        """The cell is gone, or the process is going: idle connections close, others end."""
        self._prober.close()
        for target in self.targets.values():
            target.close()
        for connection in self._pool.close_idle():
            connection.close()
        self._carry_out(
            self._pool.apply(
                (),
                connections_max=1,
                fail_after=1,
                retry_after_ns=NS_PER_S,
                idle_max_ns=NS_PER_S,
                now=self.clock(),
            )
        )
        # Everybody in line was told; nothing is left that time could change.
        self._line.clear()
        self.deadline_at = 0
        self.wheel.forget(self)

    # --- inside -----------------------------------------------------------------------------

    def on_deadline(self, now: Instant) -> None:
        """A probe is due, there is more room, or somebody has stood in line for too long."""
        for upstream in self._pool.due_probes(now=now):
            self._prober.start(upstream, self.targets[upstream.key])
        self.is_out = not self._pool.healthy_count(now=now)
        while self._line:
            exchange, until = next(iter(self._line.items()))
            if until > now:
                break
            del self._line[exchange]
            if self._pool.withdraw(exchange):
                exchange.fail(Fault.UPSTREAM_CONNECT_TIMEOUT)
        if self._line:
            self._carry_out(self._pool.tick(now=now))
        self._plan(now)

    def _carry_out(self, effects: Effects[UpstreamConnection, Ending]) -> None:
        for connection in effects.close:
            connection.close()
        for waiter, slot in effects.handovers:
            self._line.pop(waiter, None)
            self._use(slot, waiter, self.clock())
        for orphan in effects.orphans:  # of a hand that has nobody; others may be well
            self.is_out = not self._pool.healthy_count(now=self.clock())
            orphan.on_no_upstream()

    def _use(
        self, slot: Slot[UpstreamConnection], exchange: Ending, now: Instant, is_fresh: bool = False
    ) -> None:
        connection = slot.connection
        if connection is not None:
            if (
                connection.is_open
                and not is_fresh
                and (now - slot.idle_since < SAFE_IDLE_NS or self.retries.may_repeat(exchange))
                # What the loop has not read yet would be taken for the answer to this request.
                and not connection.is_readable()
            ):
                connection.slot, connection.was_idle = slot, True
                self._hand(connection, exchange, now)
                return
            connection.close()
        full = self.connections >= self.connections_max
        if full and (idle := self._pool.take_oldest_idle()) is not None:
            idle.close()
        self.connections += 1
        target = self.targets[slot.upstream.key]  # which may have gone when the task begins
        task = self.loop.create_task(self._dial(slot, target, exchange))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, slot: Slot[UpstreamConnection], target: Target, exchange: Ending) -> None:
        upstream = slot.upstream
        fault, is_ours = Fault.UPSTREAM_CONNECT, False
        factory = partial(UpstreamConnection, self, upstream, target)
        connection: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(self.timeouts.connect_ns / NS_PER_S):
                _, protocol = await target.connect(factory, now=self.clock())
            assert isinstance(protocol, UpstreamConnection)
            connection = protocol if protocol.is_open else None
        except TimeoutError as error:
            fault = Fault.UPSTREAM_CONNECT_TIMEOUT
            self.report_failure(upstream.key, error)
        except OSError as error:
            is_ours = error.errno in _OURS
            self.report_failure(upstream.key, error)
        except Exception as error:  # noqa: BLE001 - whatever it was, the slot must go back
            self.report_failure(upstream.key, error)
        if connection is None:
            self.connections -= 1
            if not is_ours:
                self.watch.on_no_connection(upstream)
                self._count_failure(upstream, is_connected=False)
            self._carry_out(self._pool.forget(slot, now=self.clock()))
            if not exchange.is_finished:
                exchange.on_connect_failed(fault, upstream)
            return
        connection.slot = slot
        connection.is_established = True
        self._reported.pop(upstream.key, None)
        self._hand(connection, exchange, self.clock())

    def _hand(self, connection: UpstreamConnection, exchange: Ending, now: Instant) -> None:
        """The exchange's turn has come; it may have left meanwhile."""
        if exchange.is_finished:
            self.give_back(connection)
            return
        try:
            exchange.on_upstream(connection, now)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs one answer, and no slot
            if exchange.upstream is not connection:
                connection.close()
            exchange.on_broken(error)
