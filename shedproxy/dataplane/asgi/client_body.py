"""The body of a request, which comes at its client's pace and not at the app's.

A small body is taken whole before its request asks for a slot, so that who sends slowly, or stops,
holds none. Of a larger one so much is taken first; the app reads the rest with its slot, and the
time that it waits is the client's. While others wait for a slot of its cell, a client that does not
move gives way, as before the proxy: the app hears that it has left. With nobody waiting it may take
`timeouts.client_body` for each byte, until the app begins to answer.

Who stops in a small body may be waiting for the app to say something first. Where a slot is free
that nobody wants, or held by another who has stopped, it is let in with what there is, and gives
way as soon as somebody wants the slot. One of a cell at a look, so that they do not crowd a queue
that was empty: who stopped longest ago first.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import Final

from shedproxy.core import NS_PER_S, Instant, Mode, Nanos
from shedproxy.dataplane.asgi.exchange import Exchange
from shedproxy.dataplane.asgi.types import Message, Receive
from shedproxy.dataplane.classify import Read
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.stalls import LOOK_NS, STALL_NS, Stalls
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric import ProcessCounter

__all__ = ["HELD_ALL_MAX", "ClientBody", "SlowBodies"]

HELD_ALL_MAX: Final = 64 * 1024 * 1024
"""Bytes of bodies that are held on an event loop; above that nobody waits for more of one."""

_DISCONNECT: Final = "http.disconnect"


class SlowBodies:
    """Those of an event loop that are waited for: before their slot, or by an app that has it.

    Bounds are those of the driver's document, as of the proxy: `timeouts`, `permit_body_size`.
    """

    __slots__ = (
        "_armed_at",
        "_driver",
        "_loop",
        "_stalls",
        "_timer",
        "_with_slot",
        "_without_slot",
        "held",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, driver: Driver) -> None:
        self._loop = loop
        self._driver = driver
        self._stalls = Stalls(driver.shedder.waiting)
        self._without_slot: dict[ClientBody, None] = {}
        """A dict for its order."""
        self._with_slot: dict[ClientBody, None] = {}
        """Those that an app has asked for more of."""
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = Instant(0)
        self.held = 0
        """Bytes that no app has taken yet, those of who waits in a queue included."""

    def now(self) -> Instant:
        """The time that the driver goes by."""
        clock = self._driver.clock  # a property: called at once it would be taken for a method
        return clock()

    @property
    def size_max(self) -> int:
        """Bytes of a body that are taken before its slot."""
        return self._driver.document.proxy.permit_body_size

    def await_first(self, body: ClientBody) -> None:
        """It has no slot yet. Harmless when it is awaited already."""
        self._without_slot[body] = None
        self._arm()

    def watch(self, body: ClientBody, still_ns: int) -> None:
        """The app waits for it: look at it from now on. Harmless when it is watched already."""
        self._without_slot.pop(body, None)
        self._with_slot[body] = None
        self._stalls.watch(body, self.now(), still_ns)
        self._arm()

    def forget(self, body: ClientBody) -> None:
        """It is here, or nobody asks for it any more."""
        self._without_slot.pop(body, None)
        self._with_slot.pop(body, None)
        self._stalls.forget(body)

    def count(self, cell: str, fault: Fault) -> None:
        """A request has ended so."""
        meter = self._driver.meter
        meter.on_fault(self._driver.cell_index(cell), fault)
        if fault is Fault.SLOW_CLIENT:
            meter.count(ProcessCounter.EVICTED_UPLOAD)

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None:
            self._armed_at = self.now()
            self._timer = self._loop.call_later(LOOK_NS / NS_PER_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now, timeouts = self.now(), self._driver.document.proxy.timeouts
        # A loop that stood still reads first what has come meanwhile.
        if now - self._armed_at < 2 * LOOK_NS:
            is_queued = self._driver.mode is Mode.ENFORCE  # else nobody is kept waiting
            if is_queued:
                self._end_silent(now, timeouts.client_body_ns)
            self._let_in(now, is_queued=is_queued)
            self._stalls.turn(
                now,
                rate_min=timeouts.body_rate_min,
                contended_rate_min=timeouts.contended_rate_min,
            )
        if self._without_slot or self._with_slot:
            self._arm()

    def _end_silent(self, now: Instant, patience_ns: Nanos) -> None:
        for body in tuple(self._with_slot):
            # Once the app has begun to answer it knows what it waits for.
            if body.is_unanswered and body.still_ns(now) >= patience_ns:
                body.end_stalled(Fault.BODY_TIMEOUT)
        for body in tuple(self._without_slot):
            if body.still_ns(now) >= patience_ns:
                body.call_off(is_for_good=True)

    def _let_in(self, now: Instant, *, is_queued: bool) -> None:
        """One of a cell, where it takes nothing from anybody who moves."""
        driver = self._driver
        stopped = {body.held_cell for body in self._with_slot if body.still_ns(now) >= STALL_NS}
        let_in: set[int] = set()
        for body in sorted(self._without_slot, key=attrgetter("moved_at")):
            name, cell = body.cell, driver.cell_index(body.cell)
            if not is_queued:
                body.call_off()
            elif body.still_ns(now) >= STALL_NS and cell not in let_in:
                # One who has stopped too gives way to it, as soon as it waits.
                has_place = name in stopped or driver.shedder.has_room(name, body.read[0].cost)
                if has_place and not driver.shedder.waiting(name) and body.call_off():
                    let_in.add(cell)


class ClientBody:
    """Of one request. To the app, `receive`."""

    __slots__ = (
        "_asked_at",
        "_gone",
        "_held",
        "_is_closed",
        "_is_complete",
        "_one",
        "_reading",
        "_receive",
        "_slow",
        "_still_ns",
        "cell",
        "exchange",
        "fault",
        "is_too_slow",
        "moved",
        "moved_at",
        "moving",
        "read",
    )

    def __init__(self, receive: Receive, slow: SlowBodies, read: Read, moving: int) -> None:
        self.read = read
        """What is known of its request."""
        self.moving = moving
        """The hash of its key, if that moves."""
        self._receive = receive
        self._slow = slow
        self.cell = ""
        """Where its request is going."""
        self.exchange: Exchange | None = None
        """Once it has, or waits for, a slot: see `join`."""
        self.is_too_slow = False
        """No byte of it came for so long that nobody waits any more."""
        self.moved = 0
        """Bytes that have come,"""
        self.moved_at = slow.now()
        """and when the last did."""
        self.fault = Fault.SLOW_CLIENT
        """What it is ended with, if it is."""
        self._held: Message | None = None
        self._is_complete = self._is_closed = False
        self._reading: asyncio.Task[Message] | None = None
        """A read that goes on, whoever waits for it: servers may lose what one had that is
        cancelled (granian).
        """
        self._asked_at = self.moved_at
        """Since when it is read, if it is."""
        self._gone: asyncio.Future[None] | None = None
        """Waited for beside what is read; None: nothing is awaited."""
        self._one: asyncio.Lock | None = None
        self._still_ns = 0
        """How long it had not moved when it was called off; time in a queue is not its own."""

    # --- before the slot ----------------------------------------------------------------------

    async def collect(self, cell: str) -> bool:
        """Take what may be held of it, or what has come when nobody waits for more. False: the
        client left first, or `is_too_slow`.
        """
        slow = self._slow
        self.cell = cell
        slow.await_first(self)
        parts: list[bytes] = []
        is_ready = False
        try:
            while not self._is_complete and self.moved < slow.size_max and slow.held < HELD_ALL_MAX:
                message = await self._read_on()
                if message is None:
                    self._still_ns = slow.now() - self.moved_at
                    break
                self.is_too_slow = False  # it has come although it was called off
                if message["type"] == _DISCONNECT:
                    return False
                part: bytes = message.get("body", b"")
                if part:
                    parts.append(part)
                    slow.held += len(part)
                self._note(message)
            is_ready = not self.is_too_slow
        finally:
            slow.forget(self)
            # As one, so that who watches for the client to leave has only one to put aside.
            self._held = {
                "type": "http.request",
                "body": parts[0] if len(parts) == 1 else b"".join(parts),
                "more_body": not self._is_complete,
            }
            if not is_ready:
                self.close()
        return is_ready

    def call_off(self, *, is_for_good: bool = False) -> bool:
        """Stop waiting for more before the slot. False: that had been said before."""
        if self._gone is None or self._gone.done():
            return False
        self.is_too_slow = is_for_good
        self._gone.set_result(None)
        return True

    def count(self, fault: Fault) -> None:
        """Its request has ended so."""
        self._slow.count(self.cell, fault)

    def join(self, exchange: Exchange) -> None:
        """It has a slot, or waits for one."""
        self.exchange = exchange
        exchange.receive_body = self.receive
        self._receive = exchange.receive
        exchange.is_collected = self._held is not None
        exchange.is_body_whole = self._is_complete

    # --- with the slot ------------------------------------------------------------------------

    async def receive(self) -> Message:
        """What the app gets as `receive`."""
        held, self._held = self._held, None
        if held is not None:
            self._slow.held -= len(held["body"])
            return held
        if self._is_complete:
            return await self._receive()
        if self._one is None:
            self._one = asyncio.Lock()
        async with self._one:
            return await self._next()

    async def _next(self) -> Message:
        exchange, slow = self.exchange, self._slow
        if self._is_closed or exchange is None:
            return {"type": _DISCONNECT}
        if self._is_complete:
            return await self._receive()
        since = slow.now()
        slow.watch(self, self._still_ns)
        try:
            message = await self._read_on()
        finally:
            exchange.note_stalled(slow.now() - since)
        if message is None:
            return {"type": _DISCONNECT}
        if message["type"] == _DISCONNECT:
            self._is_closed = True  # what is missing of the body will not come
            slow.forget(self)
        else:
            self._note(message)
        return message

    async def _read_on(self) -> Message | None:
        """The next message; None: nobody shall wait for it any more."""
        loop = asyncio.get_running_loop()
        reading = self._reading
        if reading is None:
            self._reading = reading = loop.create_task(self._read())
            reading.add_done_callback(_retrieve)
        self._asked_at = self._slow.now()
        self._gone = loop.create_future()
        try:
            await asyncio.wait((reading, self._gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._gone = None
        if not reading.done() or reading.cancelled():
            return None
        self._reading = None
        return reading.result()

    def close(self) -> None:
        """Nobody will ask for more."""
        self._is_closed = True
        held, self._held = self._held, None
        if held is not None:
            self._slow.held -= len(held["body"])
        self._slow.forget(self)
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self) -> Message:
        return await self._receive()

    def _note(self, message: Message) -> None:
        size = len(message.get("body", b""))
        if size:
            self.moved += size
            self.moved_at = self._slow.now()
        if not message.get("more_body", False):
            self._is_complete = True
            self._slow.forget(self)
            if self.exchange is not None:
                self.exchange.is_body_whole = True

    # --- as a holder of a slot ----------------------------------------------------------------

    @property
    def held_cell(self) -> str | None:
        """The cell of which its request holds a slot now."""
        permit = None if self.exchange is None else self.exchange.permit
        if permit is None or permit.is_resident or not permit.cost:
            return None
        return permit.request.cell

    @property
    def is_unanswered(self) -> bool:
        """Whether its request holds a slot, and the app has not begun to answer."""
        exchange = self.exchange
        return exchange is not None and exchange.is_unanswered and self.held_cell is not None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for more of it."""
        return self._gone is not None

    def still_ns(self, now: Instant) -> Nanos:
        """For how long it has been awaited without a byte."""
        return Nanos(now - max(self.moved_at, self._asked_at) if self.is_awaited else 0)

    def end_stalled(self, fault: Fault = Fault.SLOW_CLIENT) -> None:
        """Let the app hear that the client has left."""
        exchange = self.exchange
        assert exchange is not None
        self._is_closed = True
        self.fault = fault
        if exchange.permit is not None:
            self.cell = exchange.permit.request.cell
            exchange.disown(fault.status)
        if exchange.is_disowned:
            self.count(fault)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)


def _retrieve(reading: asyncio.Task[Message]) -> None:
    """An error of a read that nobody waits for any more is nobody's error."""
    if not reading.cancelled():
        reading.exception()
