"""The body of a request, which comes at its client's pace and not at the app's.

A small body is taken whole before its request asks for a slot, so that who sends slowly, or stops,
holds none. Of a larger one so much is taken first; the app reads the rest with its slot, and the
time that it waits is the client's. While others wait for a slot of its cell, a client that does not
move gives way, as before the proxy: the app hears that it has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from shedproxy.clock import Clock
from shedproxy.core import NS_PER_S
from shedproxy.dataplane.asgi.exchange import Exchange
from shedproxy.dataplane.asgi.types import Message, Receive, Scope
from shedproxy.dataplane.stalls import LOOK_NS, Stalls
from shedproxy.observability.fault import Fault
from shedproxy.snapshot import Timeouts

__all__ = ["BODY_HELD_MAX", "ClientBody", "SlowBodies", "expects_body"]

BODY_HELD_MAX: Final = 64 * 1024
"""Bytes of a body that are held before its request takes a slot; as the proxy's default."""

_BODILESS: Final = frozenset(("GET", "HEAD"))
"""Methods whose body nobody reads: it means nothing (RFC 9110 9.3.1)."""


_RATES: Final = Timeouts()
"""What the proxy asks of a client by default while others wait."""


class SlowBodies:
    """Those of an event loop that an app waits for, with its slot.

    Args:
        loop: calls back while there are any.
        clock: that the loop's driver goes by.
        waiting: says how many requests wait for a slot of a cell.
    """

    __slots__ = ("_loop", "_stalls", "_timer", "clock")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, waiting: Callable[[str], int]
    ) -> None:
        self._loop = loop
        self.clock = clock
        self._stalls = Stalls(waiting)
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, body: ClientBody) -> None:
        """Look at it from now on; harmless when it is watched already."""
        self._stalls.watch(body, self.clock())
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_NS / NS_PER_S, self._turn)

    def forget(self, body: ClientBody) -> None:
        """It is here, or nobody asks for it any more."""
        self._stalls.forget(body)

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self._timer = None
        self._stalls.turn(
            self.clock(),
            rate_min=_RATES.body_rate_min,
            contended_rate_min=_RATES.contended_rate_min,
        )
        if len(self._stalls):
            self._timer = self._loop.call_later(LOOK_NS / NS_PER_S, self._turn)


class ClientBody:
    """Of one request. To the app, `receive`."""

    __slots__ = (
        "_gone",
        "_held",
        "_is_complete",
        "_reading",
        "_receive",
        "_slow",
        "exchange",
        "is_given_up",
        "moved",
    )

    def __init__(self, receive: Receive, slow: SlowBodies) -> None:
        self._receive = receive
        self._slow = slow
        self._held: Message | None = None
        self._is_complete = False
        self._reading: asyncio.Task[Message] | None = None
        self._gone: asyncio.Future[None] | None = None
        """Waited for beside what is read; None: nothing is awaited."""
        self.exchange: Exchange | None = None
        """Set once it has, or waits for, a slot."""
        self.is_given_up = False
        """It gave way to others: for the app the client has left."""
        self.moved = 0
        """Bytes that have come."""

    async def collect(self) -> bool:
        """Take what may be held. False: the client left first."""
        parts: list[bytes] = []
        while not self._is_complete and self.moved < BODY_HELD_MAX:
            message = await self._receive()
            if message["type"] != "http.request":
                return False
            part: bytes = message.get("body", b"")
            parts.append(part)
            self._note(message)
        # As one, so that who watches for the client to leave has only one to put aside.
        self._held = {
            "type": "http.request",
            "body": parts[0] if len(parts) == 1 else b"".join(parts),
            "more_body": not self._is_complete,
        }
        return True

    async def receive(self) -> Message:
        """What the app gets as `receive`."""
        held, self._held = self._held, None
        if held is not None:
            return held
        if self._is_complete:
            return await self._receive()
        exchange = self.exchange
        if self.is_given_up or exchange is None:
            return {"type": "http.disconnect"}
        loop = asyncio.get_running_loop()
        reading = self._reading
        if reading is None:
            self._reading = reading = loop.create_task(self._read())
        clock = self._slow.clock
        since = clock()
        self._slow.watch(self)
        self._gone = loop.create_future()
        try:
            await asyncio.wait((reading, self._gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._gone = None
            exchange.note_stalled(clock() - since)
        if not reading.done():
            return {"type": "http.disconnect"}
        self._reading = None
        message = reading.result()
        self._note(message)
        return message

    def close(self) -> None:
        """Nobody will ask for more."""
        self._slow.forget(self)
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self) -> Message:
        return await self._receive()

    def _note(self, message: Message) -> None:
        self.moved += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._is_complete = True
            self._slow.forget(self)

    # --- as a holder of a slot ----------------------------------------------------------------

    @property
    def held_cell(self) -> str | None:
        """The cell of which its request holds a slot now."""
        permit = None if self.exchange is None else self.exchange.permit
        return None if permit is None or permit.is_resident else permit.request.cell

    @property
    def is_awaited(self) -> bool:
        """Whether the app waits for more of it."""
        return self._gone is not None

    def end_stalled(self) -> None:
        """Let the app hear that the client has left."""
        self.is_given_up = True
        if self.exchange is not None:
            self.exchange.disown(Fault.SLOW_CLIENT.status)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)


def expects_body(scope: Scope) -> bool:
    """Whether a body that an app would read follows the head of an HTTP request."""
    if scope["method"] in _BODILESS:
        return False
    name: Any
    for name, value in scope["headers"]:
        if name == b"content-length":
            return bool(value != b"0")
        if name == b"transfer-encoding":
            return True
    # From HTTP/2 on the end of the body needs no field.
    return not scope.get("http_version", "1.1").startswith("1")
