"""One request from its arrival to the release of its permit.

The middleware is immutable; everything that changes during a request is here. The permit is given
back exactly once: by whoever takes it out of the exchange first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Final

from shedproxy.core import NS_PER_S, Instant, Kind, Outcome, Permit, Rejected, Ticket
from shedproxy.dataplane.asgi.client_watch import ClientWatch
from shedproxy.dataplane.asgi.types import App, Message, Receive, Scope, Send
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.key_moves import Present

__all__ = ["Exchange", "outcome_of"]

READER_PATIENCE_NS: Final = NS_PER_S
"""A client that takes no byte of a started answer for this long no longer holds a slot."""

_CLIENT_GONE: Final = 499
_APP_FAILED: Final = 500

# Before Python 3.12 a look-up of an enum's member costs more than a call; these are hot.
_AUTO: Final = Kind.AUTO
_SUCCESS: Final = Outcome.SUCCESS
_ABANDONED: Final = Outcome.ABANDONED
_IGNORE: Final = Outcome.IGNORE


class Exchange:
    """A request, its place in the queue, its permit. To the app, `send` and `receive`."""

    __slots__ = (
        "_driver",
        "_patience",
        "_receive",
        "_send",
        "_sending_since",
        "_stalled_ns",
        "_status",
        "_ticket",
        "_verdict",
        "_watch",
        "expires_at",
        "is_body_whole",
        "is_collected",
        "is_disowned",
        "permit",
        "receive_body",
        "source",
    )

    def __init__(self, driver: Driver, receive: Receive, send: Send) -> None:
        self._driver = driver
        self._receive = receive
        self._send = send
        self.permit: Permit | None = None
        """Until the answer has ended."""
        self._status = 0
        self.is_body_whole = True
        """False while more of its body is to come."""
        self.is_collected = False
        """Its client sends the body by now, whatever it had waited for."""
        self.receive_body: Receive | None = None
        """What the app gets as `receive` where something of a body is held already."""
        self.is_disowned = False
        """For the app its client has left; who answers that is not the app."""
        self._stalled_ns = 0
        self._sending_since: int | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._verdict: asyncio.Future[Permit | Rejected] | None = None
        self._watch: ClientWatch | None = None
        self.source: tuple[Any, Scope] | None = None
        """Its runtime and what it came as, where cells have a key."""
        self.expires_at: Instant | None = None
        """Its deadline then."""

    # --- waiting ----------------------------------------------------------------------------

    def on_verdict(self, decision: Permit | Rejected) -> None:
        """The driver's answer to the ticket."""
        verdict = self._verdict
        if verdict is not None and not verdict.done():
            verdict.set_result(decision)
            if type(decision) is Permit:
                self.permit = decision
        elif type(decision) is Permit:
            self._driver.release(decision, _IGNORE)

    def on_hold(self, ticket: Ticket) -> None:
        """Its key is held: it waits for the end of that."""
        self._ticket = ticket

    def on_place(self) -> None:
        """Its key has a cell again."""
        assert self.source is not None
        runtime, scope = self.source
        decision = runtime.arrive(scope, self)
        if type(decision) is Ticket:
            self._ticket = decision
        else:
            self.on_verdict(decision)

    def present(self, key: int) -> Present | None:
        """What it has under way; None: nothing any more."""
        verdict = self._verdict
        if self.permit is not None or verdict is None or verdict.done():
            return None if self.permit is None else Present(self, key, self.permit, None)
        return Present(self, key, None, self._ticket)

    @property
    def is_over(self) -> bool:
        """Whether it has neither permit nor ticket any more."""
        verdict = self._verdict
        return self.permit is None and (verdict is None or verdict.done())

    async def wait(self, ticket: Ticket, scope: Scope) -> Permit | Rejected | None:
        """The answer to the ticket; None when the client left first."""
        self._ticket = ticket
        self._verdict = verdict = asyncio.get_running_loop().create_future()
        self._watch = watch = ClientWatch(self._receive)
        self._receive = watch.receive
        is_allowed = self.is_body_whole if self.is_collected else _may_read(scope)
        try:
            is_gone = await watch.until(verdict, is_allowed=is_allowed)
            decision = None if is_gone else await verdict
        except BaseException:
            self._leave_queue(verdict)
            raise
        if decision is None:
            self._leave_queue(verdict)
        if type(decision) is not Permit:
            watch.close()
        return decision

    def _leave_queue(self, verdict: asyncio.Future[Permit | Rejected]) -> None:
        assert self._watch is not None
        self._watch.close()
        if verdict.done() and not verdict.cancelled():
            decision = verdict.result()
            if type(decision) is Permit:
                self.permit = None
                self._driver.release(decision, _IGNORE)
        else:
            verdict.cancel()
            self._driver.abandon(self._ticket)

    # --- running ----------------------------------------------------------------------------

    @property
    def is_unanswered(self) -> bool:
        """Whether it holds a slot, and the app has not begun to answer."""
        return self.permit is not None and not self._status

    def disown(self, status: int) -> None:
        """Take the slot, and the client, from an app that has not begun to answer it."""
        if self.is_unanswered:
            self.is_disowned = True
            self._send = _to_nobody
            # How long the client has taken for its body says nothing of the app.
            self._finish(_IGNORE, status)

    def receive(self) -> Awaitable[Message]:
        """What comes from the server, or came while it waited."""
        return self._receive()

    def note_stalled(self, stalled_ns: int) -> None:
        """So long the app has waited for its client."""
        self._stalled_ns += stalled_ns

    async def run(self, app: App, scope: Scope, permit: Permit) -> None:
        """Run the app and give the permit back when its answer, or it, has ended."""
        self.permit = permit
        try:
            await app(scope, self.receive_body or self._receive, self.send)
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self.close()

    async def run_socket(self, app: App, scope: Scope, permit: Permit) -> None:
        """The same for a WebSocket: open until the app returns; no message is looked at."""
        self.permit = permit
        outcome, status = _SUCCESS, 101
        try:
            await app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            outcome, status = _ABANDONED, _CLIENT_GONE
            raise
        except BaseException:
            outcome, status = _IGNORE, _APP_FAILED
            raise
        finally:
            self._finish(outcome, status)
            self.close()

    def fail(self, error: BaseException) -> None:
        """The app raised; what follows from it is for whoever called the app."""
        if self.permit is None or isinstance(error, asyncio.CancelledError):
            return
        # Since ASGI 2.4 `send` raises OSError when the client has gone.
        if not (self._status and isinstance(error, OSError)):
            self._finish(_IGNORE, _APP_FAILED)

    def close(self) -> None:
        """The app has ended. Without an answer it has most likely seen its client leave."""
        if self.permit is not None:
            self._finish(_ABANDONED if self.is_body_whole else _IGNORE, _CLIENT_GONE)
        if self._watch is not None:
            self._watch.close()

    def send(self, message: Message) -> Awaitable[None]:
        """What the app gets as `send`: sees the head and the end of the answer.

        Not a coroutine function, because one more frame per message costs more than the rest.
        """
        permit = self.permit
        if permit is not None:
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
                # What is no status is the server's to refuse; here it counts as a failure.
                self._status = status if 100 <= status < 1000 else _APP_FAILED
                if not self.is_body_whole:
                    permit.is_sampled = (
                        True  # it works beside its client: whose time it is nobody knows
                    )
                self._driver.respond(permit)
                if permit.request.kind is _AUTO and _is_event_stream(message.get("headers", ())):
                    self._driver.to_resident(permit)
            elif kind in _ENDINGS:
                if message.get("more_body", False):
                    return self._send_part(message)
                status = self._status
                self._finish(_SUCCESS if status < 400 else outcome_of(status), status)
        return self._send(message)

    async def _send_part(self, message: Message) -> None:
        """A part of a longer answer: the time the client takes is not the app's."""
        clock = self._driver.clock
        if self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(READER_PATIENCE_NS / NS_PER_S, self._look_at_reader)
        self._sending_since = since = clock()
        try:
            await self._send(message)
        finally:
            self._sending_since = None
            self._stalled_ns += clock() - since

    def _look_at_reader(self) -> None:
        """A slow reader keeps its answer, not its slot: else a few of them would hold them all."""
        permit = self.permit
        if permit is None or permit.is_resident:
            return
        left_ns = READER_PATIENCE_NS
        since = self._sending_since
        if since is not None:
            left_ns -= self._driver.clock() - since
            if left_ns <= 0:
                self._driver.to_resident(permit)
                return
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(left_ns / NS_PER_S, self._look_at_reader)

    def _finish(self, outcome: Outcome, status: int) -> None:
        """Give the permit back. The one place that does."""
        permit, self.permit = self.permit, None
        assert permit is not None
        if self._patience is not None:
            self._patience.cancel()
        self._driver.finish(permit, outcome, status, self._stalled_ns)


_ENDINGS: Final = frozenset(
    ("http.response.body", "http.response.zerocopysend", "http.response.pathsend")
)
"""Messages that end an answer unless they say that more follows."""


async def _to_nobody(_message: Message) -> None:
    """What becomes of messages to a client that has left."""


def outcome_of(status: int) -> Outcome:
    """What an answer with this status says of the app's capacity."""
    if status < 400:
        return _SUCCESS
    return Outcome.OVERLOAD if status in {503, 504} else _IGNORE


def _is_event_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        # Lengths first: most answers are settled by them.
        if len(name) == 12 and len(value) >= 17 and name.lower() == b"content-type":
            return value.lstrip()[:17].lower() == b"text/event-stream"
    return False


def _may_read(scope: Scope) -> bool:
    """Whether we may ask the server for messages while the request waits.

    Not when the client waits for 100 Continue: the server sends it when it is first asked, and the
    body of a request that may yet be refused would begin to flow.
    """
    return all(name != b"expect" for name, _ in scope.get("headers", ()))
