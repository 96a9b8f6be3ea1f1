"""What the middleware needs on one event loop: a driver and the tables compiled for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import get_ident
from typing import Any, Final, TypeAlias

from shedproxy.core import (
    Criticality,
    Decision,
    Instant,
    Mode,
    Permit,
    Rejected,
    RequestInfo,
    Ticket,
)
from shedproxy.dataplane.asgi.body_head import BODY_FIELDS, may_have_body, waits_for_word
from shedproxy.dataplane.asgi.client_body import ClientBody, SlowBodies
from shedproxy.dataplane.asgi.exchange import Exchange
from shedproxy.dataplane.asgi.refusal import refusal_messages
from shedproxy.dataplane.asgi.route_table import RouteTable
from shedproxy.dataplane.asgi.state import ShedState
from shedproxy.dataplane.asgi.types import Message, Receive, Scope, Send
from shedproxy.dataplane.classify import Classified, Classifier, Read
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.key_moves import Present
from shedproxy.dataplane.rejection import Rejections
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import Document, Rule

__all__ = ["ClassifyHook", "Runtime", "compile_document"]

Exchanged: TypeAlias = "tuple[Exchange, Permit | Ticket]"
Began: TypeAlias = "Exchanged | Rejected"

ClassifyHook = Callable[[Scope, RequestInfo], Criticality | RequestInfo | None]
"""The app's own word on a request, after rules, marks and headers; must be cheap and not block."""


_ROUTES_LOOK: Final = 255
"""The router's table is looked at on the first request and on every 256th: apps add routes late,
not often."""
_STATES_MAX: Final = 1024
_FOR_BODY: Final = 1 << 16
"""Above all that the classifier reads headers for."""


_log = logging.getLogger("shedproxy")


def compile_document(
    document: Document, *, part: tuple[int, int] = (0, 1)
) -> tuple[Classifier, Rejections]:
    """What requests are read by, and what refusals look like.

    Raises:
        DocumentInvalidError: one of them cannot be made.
    """
    try:
        classifier = Classifier(document.classification, document.policy, part=part)
        return classifier, Rejections(document.reject)
    except ValueError as error:
        raise DocumentInvalidError([Problem(message=str(error))]) from error


class Runtime:
    """One per event loop. The driver may be shared with whoever made it (a worker)."""

    __slots__ = (
        "_changed",
        "_classifier",
        "_document",
        "_exchanges",
        "_exchanges_max",
        "_has_marks",
        "_hook",
        "_may_have_body",
        "_routes",
        "_serial",
        "_slow_bodies",
        "_states",
        "_thread_id",
        "_wanted",
        "driver",
        "is_owner",
        "loop",
        "rejections",
    )

    def __init__(
        self, app: Any, driver: Driver, *, hook: ClassifyHook | None, is_owner: bool
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._thread_id = get_ident()
        self.driver = driver
        self.is_owner = is_owner
        self._hook = hook
        self._serial = 0
        self._states: dict[int, ShedState] = {}
        """By the id of their info: what they say is the same for all requests that share one."""
        self._routes = RouteTable(app)
        self._has_marks = False
        self._may_have_body = False
        """The request that was read last."""
        self._exchanges: list[Exchange] = []
        self._exchanges_max = 64
        self._slow_bodies = SlowBodies(self.loop, driver)
        self._document: Document | None = None
        """What was looked at last."""
        self.refresh()
        if is_owner:
            driver.start()

    def refresh(self) -> None:
        """Compile the driver's document; called again when it took another one.

        Where that cannot be done the tables of the former stay in force, and the log says so.
        """
        document = self.driver.document
        try:
            classifier, rejections = compile_document(document, part=self.driver.part)
        except DocumentInvalidError as error:
            if self._document is None:
                raise
            if self._document is not document:
                _log.error("the former document stays in force: %s", error)
            self._document = document
            return
        self._document = document
        self._classifier, self.rejections = classifier, rejections
        self._wanted = dict(classifier.wanted)
        for framing in BODY_FIELDS:
            self._wanted[framing] = self._wanted.get(framing, 0) | _FOR_BODY
        self._changed: dict[tuple[int, Criticality], tuple[RequestInfo, RequestInfo]] = {}
        self.driver.moves.turn(self._classifier.keys, self._present)

    def move_here(self) -> None:
        """Its loop runs on this thread now."""
        self._thread_id = get_ident()

    def close(self) -> None:
        """Stop the timers; permits that are out may still come back."""
        self._slow_bodies.close()
        if self.is_owner:
            self.driver.close()

    def begin(
        self, scope: Scope, receive: Receive, send: Send
    ) -> list[Message] | Exchanged | ClientBody | None:
        """Decide on a request that has come. None: on another loop; this one is not asked.

        Who is refused at once has no exchange, only what is to be sent. One that may have a body is
        decided by `collect`.
        """
        # What `get_running_loop` would say, which asks the system for the process first: that costs
        # as much as classifying a request.
        if self._thread_id != get_ident() or not self.loop.is_running():
            return None
        read = self._read(scope)
        keys = self._classifier.keys
        moving = 0 if keys is None else keys.take_moving()
        if self._may_have_body:
            return ClientBody(receive, self._slow_bodies, read, moving)
        began = self._begin(read, moving, scope, receive, send)
        return self.refusal(began, scope) if isinstance(began, Rejected) else began

    async def collect(
        self, body: ClientBody, scope: Scope, receive: Receive, send: Send
    ) -> Began | None:
        """Decide on a request whose body is to come; None: its client left first, or was too slow.

        As in the proxy: its head alone may be refused, and a slot is taken when the body, or enough
        of it, is in.
        """
        driver, slow, moving, since = self.driver, self._slow_bodies, body.moving, body.moved_at
        document = driver.document
        info, flow_hash, cohort, time_left_ns, rule = body.read
        if not driver.moves.holds(moving):
            rejected = driver.screen(
                info, flow_hash=flow_hash, cohort=cohort, time_left_ns=time_left_ns
            )
            if rejected is not None:
                return rejected
        # Who takes no slot need not be ready for one. In the other modes nobody is kept waiting.
        if (
            driver.mode is Mode.ENFORCE
            and not info.is_aside
            and not waits_for_word(scope, slow.size_max)
            and not await body.collect(info.cell)
        ):
            return None
        try:
            if driver.document is not document:  # its key may have another cell now
                info, keys = self._read(scope)[0], self._classifier.keys
                moving = 0 if keys is None else keys.take_moving()
            if time_left_ns is not None:
                time_left_ns = max(0, time_left_ns - (slow.now() - since))
            read = info, flow_hash, cohort, time_left_ns, rule
            began = self._begin(read, moving, scope, receive, send)
        except BaseException:
            body.close()
            raise
        if isinstance(began, Rejected):
            body.close()
        else:
            body.join(began[0])
        return began

    def _begin(self, read: Read, moving: int, scope: Scope, receive: Receive, send: Send) -> Began:
        driver = self.driver
        decision: Decision
        if self._classifier.keys is not None:
            exchange = Exchange(driver, receive, send)
            decision = self._arrive(read, moving, scope, exchange)
        else:
            info, flow_hash, cohort, time_left_ns, _ = read
            clock = driver.clock  # a property: called at once it would be taken for a method
            decision = driver.decide(info, clock(), flow_hash, cohort, time_left_ns)
            if type(decision) is Rejected:
                return decision
            exchange = Exchange(driver, receive, send)
            if type(decision) is Ticket:
                decision = driver.wait(decision, exchange)
            if type(decision) is Permit:
                self.tell(scope, decision.request)
        return decision if isinstance(decision, Rejected) else (exchange, decision)

    def arrive(self, scope: Scope, exchange: Exchange) -> Decision:
        """Decide once more on a request whose key has moved."""
        info, flow_hash, cohort, time_left_ns, rule = self._read(scope)
        if exchange.expires_at is not None:
            clock = self.driver.clock  # a property: called at once it would be taken for a method
            time_left_ns = max(0, exchange.expires_at - clock())
        keys = self._classifier.keys
        moving = 0 if keys is None else keys.take_moving()
        read = info, flow_hash, cohort, time_left_ns, rule
        return self._arrive(read, moving, scope, exchange)

    def refusal(self, rejected: Rejected, scope: Scope) -> list[Message]:
        """What it is answered with."""
        refusal_id = self.driver.ring.text_of(rejected.record_id)
        return refusal_messages(self.rejections, rejected, refusal_id, scope)

    def _arrive(self, read: Read, moving: int, scope: Scope, exchange: Exchange) -> Decision:
        """Decide, and tell it of the load if it may run at once."""
        info, flow_hash, cohort, time_left_ns, _ = read
        if self._classifier.keys is not None:
            self._note(exchange, scope, time_left_ns)
        if moving:
            decision = self.driver.moves.arrive(
                exchange, moving, info, flow_hash, cohort, time_left_ns
            )
        else:
            decision = self.driver.arrive(info, exchange, flow_hash, cohort, time_left_ns)
        if type(decision) is Permit:
            self.tell(scope, decision.request)
        return decision

    def _note(self, exchange: Exchange, scope: Scope, time_left_ns: int | None) -> None:
        """Remember it as long as it lasts: its key may begin to move."""
        if exchange.source is not None:
            return
        exchange.source = self, scope
        if time_left_ns is not None:
            clock = self.driver.clock  # a property: called at once it would be taken for a method
            exchange.expires_at = Instant(clock() + time_left_ns)
        exchanges = self._exchanges
        exchanges.append(exchange)
        if len(exchanges) > self._exchanges_max:
            self._exchanges = exchanges = [one for one in exchanges if not one.is_over]
            exchanges.append(exchange)  # it has no answer yet
            self._exchanges_max = 64 + 2 * len(exchanges)

    def _present(self) -> Iterator[Present]:
        """Requests under way whose key moves."""
        classifier = self._classifier
        keys = classifier.keys
        for exchange in self._exchanges:
            if keys is None or exchange.is_over or exchange.source is None:
                continue
            method, path, headers, peer = _head_of(exchange.source[1])
            key = classifier.key_of(method, path, headers, peer)
            found = exchange.present(key) if key and keys.phase_of(key) else None
            if found is not None:
                yield found

    def tell(self, scope: Scope, info: RequestInfo) -> None:
        """Put what the app may ask of the load where it looks for it."""
        told = self._states.get(id(info))
        if told is None:
            if len(self._states) >= _STATES_MAX:
                self._states.clear()
            # It keeps the info, or another one could get its id.
            told = self._states[id(info)] = ShedState(self.driver, info)
        state = scope.get("state")
        if state is None:
            state = scope["state"] = {}
        state["shedproxy"] = told

    def classify(self, scope: Scope) -> Classified:
        """What the core wants to know of this request. The Host decides nothing."""
        return Classified(*self._read(scope))

    def _read(self, scope: Scope) -> Read:
        if self.driver.document is not self._document:
            self.refresh()
        self._serial = serial = self._serial + 1
        if serial & _ROUTES_LOOK == 1:
            self._routes.refresh()
            self._has_marks = self._routes.has_marks
        client = scope.get("client")
        is_socket = scope["type"] == "websocket"
        headers, wanted = scope["headers"], self._wanted
        said = 0
        found: dict[bytes, bytes] = {}
        for name, value in headers:  # once, for all that is read
            if name in wanted and name not in found:
                found[name] = value
                said |= wanted[name]
        self._may_have_body = not is_socket and may_have_body(scope, found, said & _FOR_BODY)
        read = self._classifier.read(  # with `_head_of`, without the call
            "GET" if is_socket else scope["method"],
            scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass"),
            headers,
            client[0] if client else "",
            serial,
            is_socket,
            None,
            self._find_mark(scope) if self._has_marks else None,
            said & ~_FOR_BODY,
            found,
        )
        if self._hook is None:
            return read
        try:
            return (self._ask_hook(scope, read[0]), *read[1:])
        except BaseException:
            if self._classifier.keys is not None:
                self._classifier.keys.take_moving()  # or the next request is taken for it
            raise

    def _find_mark(self, scope: Scope) -> Rule | None:
        path: str = scope["path"]
        root_path: str = scope.get("root_path", "")
        if root_path:
            path = path.removeprefix(root_path)
        return self._routes.mark_for(scope["type"], scope.get("method", "GET"), path)

    def _ask_hook(self, scope: Scope, info: RequestInfo) -> RequestInfo:
        assert self._hook is not None
        said = self._hook(scope, info)
        if said is None or said is info:
            return info
        if isinstance(said, RequestInfo):
            return said
        key = (id(info), said)
        known = self._changed.get(key)
        if known is None:
            # The old info is kept with the new one, or another one could get its id.
            known = self._changed[key] = (info, replace(info, criticality=Criticality(said)))
        return known[1]


def _head_of(scope: Scope) -> tuple[str, bytes, Sequence[tuple[bytes, bytes]], str]:
    """Method, path, headers and the address of the client."""
    client = scope.get("client")
    return (
        "GET" if scope["type"] == "websocket" else scope["method"],
        scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass"),
        scope["headers"],
        client[0] if client else "",
    )
