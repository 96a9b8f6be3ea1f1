"""The raw HTTP/1.1 proxy of one process: listeners, connections, time, reload and drain."""

from __future__ import annotations

import asyncio
import mmap
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence

from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.core import NS_PER_S, CellTable, Instant, Nanos
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.key_moves import Present
from shedproxy.dataplane.stalls import Stalls
from shedproxy.dataplane.wire.client_end import ClientEnd
from shedproxy.dataplane.wire.client_place import FIRST_WORD_NS
from shedproxy.dataplane.wire.client_side import ClientConnection
from shedproxy.dataplane.wire.field_memory import AnswerFields
from shedproxy.dataplane.wire.live import Live
from shedproxy.dataplane.wire.reception import Reception
from shedproxy.dataplane.wire.timer_wheel import Timed, TimerWheel
from shedproxy.dataplane.wire.tls import renew, server_context
from shedproxy.dataplane.wire.turns import Turns
from shedproxy.dataplane.wire.upstreams import UNBOUNDED, UpstreamGroup
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.observability.access_log import AccessLog, AccessRecord, format_event
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import Gauge, ProcessGauge
from shedproxy.snapshot import Document, ProxyDocument

__all__ = ["WireServer"]

_READ_SIZE = 32 * 1024
"""Most bytes of an answer that one read takes, and so what a reader that stalls makes us hold.
Larger reads make large answers no cheaper."""
_SECOND_NS = NS_PER_S
_AT_ONCE = Nanos(0)


class WireServer:
    """Serves one document at a time on given sockets, on the running loop.

    Args:
        driver: decides; its document is served first.
        connections_max: what the process can hold (file descriptors); the document's bound counts
            when it is lower.

    Raises:
        DocumentInvalidError: the document cannot be served.
    """

    def __init__(
        self, driver: Driver, *, clock: Clock = monotonic_now, connections_max: int = 0
    ) -> None:
        self.driver = driver
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.wheel = TimerWheel(now=clock())
        self.stalls = Stalls(driver.shedder.waiting)
        self.log = AccessLog(meter=driver.meter)
        self.requests = 0
        self.tunnels = 0
        self.is_announcing = False
        """Answers carry Connection: close."""
        self.is_draining = False
        self.is_tls = driver.document.proxy.tls is not None
        self.read_buffer = mmap.mmap(-1, _READ_SIZE)
        """Where all upstream connections read into, one after the other; a slice is bytes at once.
        """
        self.answer_fields = AnswerFields()
        self.reception = Reception(self, room=connections_max)
        self._groups: dict[str, UpstreamGroup] = {}
        self._events: list[str] = []
        self._context: ssl.SSLContext | None = None
        self._timer: asyncio.Handle | None = None
        self._second_at = 0
        self._is_short = False
        self._table: CellTable | None = None
        self._turns = Turns(clock, self._wake_turns)
        self.turns: Turns | None = None
        """Who may work when; None: there is one cell, and nobody to take turns with."""
        self.live = self._compile(driver.document)
        self._take_turns()
        self._turn_moves()

    @property
    def clients(self) -> dict[ClientConnection, None]:
        """The connections that are served."""
        return self.reception.clients

    # --- documents --------------------------------------------------------------------------

    def apply(self, document: Document) -> None:
        """Serve another document from the next request on; nothing under way is disturbed.

        Raises:
            DocumentInvalidError: it cannot be served; nothing has changed.
        """
        self.live = self._compile(document)
        self.reception.on_applied()
        self.driver.apply(document)
        self._take_turns()
        self._turn_moves()

    def _compile(self, document: Document) -> Live:
        proxy = document.proxy
        groups: dict[str, UpstreamGroup] = {}
        if not proxy.upstreams:
            raise DocumentInvalidError([Problem(message="no upstream is configured")])
        try:
            # What can fail comes first, so that a bad document changes nothing.
            fresh: dict[str, UpstreamGroup] = {}
            for upstream in proxy.upstreams:
                cell = upstream.cell
                group = self._groups.get(cell)
                # With TLS settings the files may hold other certificates now.
                if group is None or group.document != upstream or upstream.tls is not None:
                    fresh[cell] = UpstreamGroup(self, upstream, proxy)
                groups[cell] = group or fresh[cell]
            live = Live(self, document, groups)
            self._renew_certificate(proxy)
        except (ValueError, OSError) as error:
            raise DocumentInvalidError([Problem(message=str(error))]) from error
        former, self._groups = self._groups, groups
        places = self.reception.places(proxy.connections_max)
        for upstream in proxy.upstreams:
            group = groups[upstream.cell]
            group.apply(upstream, proxy, fresh.get(upstream.cell, group).targets)
            # Who is alone may have all, and is not refused what is there; the others leave some.
            is_alone = len(groups) == 1
            share = 1.0 if is_alone else upstream.connections_share
            group.connections_max = max(1, int(places * share))
            group.clients_max = UNBOUNDED if is_alone else group.connections_max
        for cell, group in former.items():
            if cell not in groups:
                group.retire()
        self.log.configure(proxy.access_log, proxy.access_log_share)
        live.classifier.take_table(self._table)
        return live

    def _take_turns(self) -> None:
        cells = [cell.name for cell in self.live.document.policy.cells]
        self._turns.keep(cells)
        self.turns = self._turns if len(cells) > 1 else None

    def _wake_turns(self) -> None:
        self.loop.call_soon(self._turns.serve)

    def on_healthy_weight(self, group: UpstreamGroup, weight: int) -> None:
        """So many upstreams of a cell are in service: each weighs one."""
        cell = group.document.cell
        # A group that is tried out, or gone, says nothing.
        if self._groups.get(cell) is group:
            self.driver.set_healthy_weight(cell, weight)

    def take_table(self, table: CellTable | None) -> None:
        """Look keys of cells up in this table, with this document and those to come."""
        self._table = table
        self.live.classifier.take_table(table)
        self._turn_moves()

    def _turn_moves(self) -> None:
        live = self.live
        self.driver.moves.turn(live.classifier.keys, lambda: self._present(live))

    def _present(self, live: Live) -> Iterator[Present]:
        """Requests under way whose key moves."""
        for client in tuple(self.clients):
            exchange = client.exchange
            found = None if exchange is None else exchange.present(live)
            if found is not None:
                yield found

    def _renew_certificate(self, proxy: ProxyDocument) -> None:
        """Present what the files hold now, from the next handshake on.

        Raises:
            OSError: they cannot be used; the ones before stay.
        """
        context = self._context
        if context is not None and proxy.tls is not None:
            renew(context, proxy.tls)

    def save_memory(self, *, is_short: bool) -> None:
        """Memory is short, or no more: nobody beyond those who are here, nothing held for them."""
        self._is_short = is_short
        self.reception.save_memory(is_short=is_short)

    @property
    def held_max(self) -> int:
        """Bytes of an answer that may wait for a client, so that the upstream is done with it."""
        return 0 if self._is_short else self.live.proxy.buffer_size

    # --- life -------------------------------------------------------------------------------

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on sockets that are bound already.

        Raises:
            OSError: a TLS file cannot be read, or a socket is no listener.
        """
        tls = self.live.proxy.tls
        self._context = None if tls is None else server_context(tls)
        await self.reception.open(sockets, self._context)
        self._on_tick()

    def announce(self) -> None:
        """Ask clients to go elsewhere; they are still served."""
        self.is_announcing = True

    async def drain(self, grace_ns: Nanos) -> int:
        """Accept nothing new, let what is under way end, cut off what has not after `grace_ns`.

        Returns:
            How many connections had to be cut off.
        """
        self.is_announcing = True
        # Who is new may have a request on the way, or be shaking hands.
        patience_ns = min(grace_ns, FIRST_WORD_NS)
        await self.reception.close_listeners(patience_ns)
        # A turn of the loop, so that who was accepted in this one is here, too.
        await asyncio.sleep(0)
        # Who was answered a moment ago may be asking again already: the next answer says good-bye.
        self._say_goodbye(
            tuple(client for client in self.clients if client.written), idle_for_ns=patience_ns
        )
        await self.reception.until_empty(patience_ns)
        self.is_draining = True
        self._say_goodbye(tuple(self.clients))
        self.reception.hurry_handshakes(patience_ns)
        await self.reception.until_empty(Nanos(grace_ns - patience_ns))
        left = tuple(self.clients)
        for client in left:
            exchange = client.exchange
            if exchange is not None:
                is_owed = exchange.is_collecting
                exchange.fail(Fault.BODY_TIMEOUT if is_owed else Fault.UPSTREAM_TIMEOUT)
            else:
                client.turn_away()
        if left:
            # One turn of the loop, so that the last answers leave.
            await asyncio.sleep(0)
        for client in left:
            client.cut()
        return len(left)

    @staticmethod
    def _say_goodbye(clients: Sequence[ClientConnection], *, idle_for_ns: Nanos = _AT_ONCE) -> None:
        for client in clients:
            client.say_goodbye(idle_for_ns=idle_for_ns)

    def close(self) -> None:
        """Stop: listeners, clients, upstream connections, the timer."""
        self.reception.close()
        for group in self._groups.values():
            group.retire()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- connections ------------------------------------------------------------------------

    def on_bad_head(self, client: ClientEnd, fault: Fault) -> None:
        """Something came that is no request of ours."""
        self.driver.meter.on_fault(-1, fault)
        now = self.clock()
        if self.log.wants_refused(now):
            self.log.append(
                AccessRecord(
                    wall_seconds(), client.peer, "", b"", fault.status, "", "", "", 0, 0, 0,
                    fault.label,
                )
            )  # fmt: skip

    @property
    def upstream_connections(self) -> int:
        """Open or being opened, of all cells."""
        return sum(group.connections for group in self._groups.values())

    def weigh_upstreams(self, weights: Mapping[str, Mapping[str, int]]) -> None:
        """Take the parts of upstreams by cell and URL; those not named have all of theirs."""
        for cell, group in self._groups.items():
            group.watch.weigh(weights.get(cell, {}))
            self._tell_weight(cell, group)

    def upstream_tallies(self) -> dict[str, dict[str, list[float]]]:
        """By cell and URL: what upstreams did, where that is watched."""
        tallies = ((cell, group.watch.tallies()) for cell, group in self._groups.items())
        return {cell: told for cell, told in tallies if told}

    def upstream_health(self) -> dict[str, dict[str, bool]]:
        """By cell and URL: in service or not."""
        return {cell: group.health_by_url() for cell, group in self._groups.items()}

    def log_lines(self) -> list[str]:
        """Lines for the access log since the last call."""
        events, self._events = self._events, []
        return [*events, *self.log.flush()]

    def report(self, event: str, **facts: object) -> None:
        """Say, in the log, what an operator should know. The caller sees to it that it is rare."""
        self._events.append(format_event(wall_seconds(), "warning", event, facts))

    # --- time -------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        """Look at the sockets, then turn to this instant: the loop may have stood still, and what
        came in time is still to be read. One look, so that nothing is put off for ever.
        """
        # What is called soon may come before that look; what is called from there comes after.
        self._timer = self.loop.call_soon(self._look_first, self.clock())

    def _look_first(self, now: Instant) -> None:
        self._timer = self.loop.call_soon(self._on_looked, now)

    def _on_looked(self, now: Instant) -> None:
        try:
            self._turn(now)
        finally:
            self._timer = self.loop.call_later(self.wheel.tick_ns / NS_PER_S, self._on_tick)

    def turn(self) -> None:
        """Let time pass: tell everybody whose deadline has passed."""
        self._turn(self.clock())

    def _turn(self, now: Instant) -> None:
        for item in self.wheel.advance(now):
            # One that was due may have moved, or taken away, the deadline of another.
            if 0 < item.deadline_at <= now:
                self._tell(item, now)
            elif item.deadline_at:
                self.wheel.watch(item)
        timeouts = self.live.timeouts
        self.stalls.turn(
            now,
            rate_min=timeouts.body_rate_min,
            contended_rate_min=timeouts.contended_rate_min,
        )
        if now >= self._second_at:
            self._second_at = now + _SECOND_NS
            self._on_second()

    def _tell(self, item: Timed, now: Instant) -> None:
        try:
            item.on_deadline(now)
        except Exception as error:  # noqa: BLE001 - the others must still be told
            self.loop.call_exception_handler(
                {"message": f"{item!r} failed on its deadline", "exception": error}
            )

    def _tell_weight(self, cell: str, group: UpstreamGroup) -> None:
        driver, weight = self.driver, group.watch.in_service()
        driver.meter.set_gauge(driver.cell_index(cell), Gauge.UPSTREAM_WEIGHT, weight)

    def _on_second(self) -> None:
        meter = self.driver.meter
        for cell, group in self._groups.items():
            group.tick()
            healthy, total = group.health()
            index = self.driver.cell_index(cell)
            meter.set_gauge(index, Gauge.UPSTREAMS_HEALTHY, healthy)
            meter.set_gauge(index, Gauge.UPSTREAMS, total)
            self._tell_weight(cell, group)
        for party in self._turns.parties():
            index = self.driver.cell_index(party.cell) if party.cell else -1
            meter.on_held(index, *party.take_held())
        meter.set_process(ProcessGauge.CONNECTIONS, len(self.clients))
        meter.set_process(ProcessGauge.TUNNELS, self.tunnels)
        meter.set_process(ProcessGauge.UPSTREAM_CONNECTIONS, self.upstream_connections)
