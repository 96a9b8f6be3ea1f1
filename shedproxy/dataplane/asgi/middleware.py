"""The middleware: one line in any ASGI application.

    app = ShedMiddleware(app)

Pure ASGI 3.0, standard library only. It refuses before the body is asked for, takes a slot when a
small one is in, adds no task to a request that does not have to wait, and gives every permit back
exactly once. The address of the
client is what the server says it is: uvicorn believes X-Forwarded-For from 127.0.0.1 unless it is
told otherwise (`--no-proxy-headers`).
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from shedproxy.core import Mode, Permit, Policy, Rejected, Ticket
from shedproxy.dataplane.asgi.client_body import ClientBody
from shedproxy.dataplane.asgi.exchange import Exchange
from shedproxy.dataplane.asgi.refusal import fault_messages, refuse
from shedproxy.dataplane.asgi.runtime import ClassifyHook, Runtime, compile_document
from shedproxy.dataplane.asgi.types import App, Message, Receive, Scope, Send
from shedproxy.dataplane.driver import Driver
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.observability.fault import Fault
from shedproxy.snapshot import Classification, Document, RejectDocument, Rule

if TYPE_CHECKING:
    from shedproxy.dataplane.asgi.control_thread import ControlThread
    from shedproxy.dataplane.asgi.worker_group import WorkerGroup

__all__ = ["ShedMiddleware"]

_MODE_VARIABLE = "SHEDPROXY_MODE"
_ADMITTED = frozenset(("http", "websocket"))
_numbers = itertools.count()
"""Of the middleware in this process: workers of a server make theirs in the same order."""


class ShedMiddleware:
    """Keeps an ASGI app inside its measured capacity.

    Args:
        app: the application, or the next middleware.
        policy: a Policy, a whole Document, the path of a TOML file, or None for the defaults.
        rules: put before the rules of the classification.
        classification: replaces the document's.
        reject: replaces how the document's refusals look.
        classify: called with (scope, RequestInfo) after rules, marks and headers; returns a
            Criticality, another RequestInfo, or None to leave it.
        config: path of a TOML file; the same as a path as `policy`.
        driver: a running driver to use instead of one of its own; its owner starts and closes it.
        control: "host:port" of a control lane on a thread of its own: /livez, /readyz, /-/status,
            /metrics. It answers while the event loop is blocked, unless by C code that holds the
            GIL; only another process (`shedproxy run`, `shedproxy app`) answers then.
        record: file to record decisions to, for `shedproxy replay`: bounded, with the number of the
            process before its suffix. See `shedproxy.workload.trace` for what is in it. What is
            recorded must be replayed without other processes: limits are not shared.
        share: who has the limits of the cells together. "auto" (default): the workers of one
            server, as `uvicorn --workers 4` and `gunicorn -w 4` start them; nobody where there is
            one process. "off": each process has them for itself. Any other text: all processes of
            this user on this host that give it. Linux only. Workers find each other in a folder of
            the user (XDG_RUNTIME_DIR, else /dev/shm). Where that fails each has an equal part of
            the limits, at least one, and the log and `/-/status` say why. Lengths of queues and
            other bounds are cut into equal parts.

    SHEDPROXY_MODE in the environment (enforce, observe, off) wins over the mode in code and file,
    so that the glass can be broken without a release; a given driver has its owner's mode.

    Raises:
        DocumentInvalidError: the file, SHEDPROXY_MODE or an entry of `trusted_peers` is wrong.
        StartupError: `record` cannot be written.
        TypeError: both `policy` and `config` name a document, or `record` comes with a driver.
    """

    def __init__(
        self,
        app: App,
        policy: Policy | Document | str | os.PathLike[str] | None = None,
        *,
        rules: Sequence[Rule] = (),
        classification: Classification | None = None,
        reject: RejectDocument | None = None,
        classify: ClassifyHook | None = None,
        config: str | os.PathLike[str] | None = None,
        driver: Driver | None = None,
        control: str | None = None,
        record: str | os.PathLike[str] | None = None,
        share: str = "auto",
    ) -> None:
        self.app = app
        document = _document_from(policy, config) if driver is None else driver.document
        if classification is not None:
            document = replace(document, classification=classification)
        if rules:
            combined = (*rules, *document.classification.rules)
            document = replace(
                document, classification=replace(document.classification, rules=combined)
            )
        if reject is not None:
            document = replace(document, reject=reject)
        compile_document(document)  # what is wrong is said here, and not at each request
        if driver is not None and document is not driver.document:
            driver.apply(document)
        self._document = document
        self._driver = driver
        self._hook = classify
        self._control = _control_for(control)
        self._record = None if record is None else _record_file(record, driver)
        self._recordings = 0
        self._share = share
        self._number = next(_numbers)
        self._runtimes: dict[asyncio.AbstractEventLoop, Runtime] = {}
        self._last: Runtime | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection: a request, a WebSocket, or the lifespan."""
        scope_type = scope["type"]
        if scope_type not in _ADMITTED:
            if scope_type == "lifespan":
                await self._lifespan(scope, receive, send)
            else:
                await self.app(scope, receive, send)
            return
        runtime = self._last
        began = None if runtime is None else runtime.begin(scope, receive, send)
        if runtime is None or began is None:
            runtime = self._runtime()
            runtime.move_here()
            began = runtime.begin(scope, receive, send)
            assert began is not None
        # Below are `refuse` and `Exchange.run`: a coroutine more would cost more than they do.
        if isinstance(began, list):
            try:
                for message in began:
                    await send(message)
            except OSError:
                pass  # a client that has left does not need it
            return
        if isinstance(began, ClientBody):
            await self._after_body(runtime, began, scope, receive, send)
            return
        exchange, decision = began
        if type(decision) is not Permit or scope_type != "http":
            await self._aside(runtime, exchange, decision, scope, send)
            return
        exchange.permit = decision
        try:
            await self.app(scope, receive, exchange.send)
        except BaseException as error:
            exchange.fail(error)
            raise
        finally:
            if exchange.permit is not None:
                exchange.close()

    async def _after_body(
        self, runtime: Runtime, body: ClientBody, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """A request with a body: it is taken first, as far as it may be held."""
        began = await runtime.collect(body, scope, receive, send)
        if began is None:
            if body.is_too_slow:
                body.count(Fault.BODY_TIMEOUT)
                await refuse(fault_messages(runtime.rejections, Fault.BODY_TIMEOUT, scope), send)
            return
        if isinstance(began, Rejected):
            await refuse(runtime.refusal(began, scope), send)
            return
        exchange, decision = began
        try:
            await self._aside(runtime, exchange, decision, scope, send)
        except Exception:
            # Frameworks raise when they hear in the middle of a body that the client has left.
            if not exchange.is_disowned:
                raise
        finally:
            body.close()
        if exchange.is_disowned:
            await refuse(fault_messages(runtime.rejections, body.fault, scope), send)

    async def _aside(
        self,
        runtime: Runtime,
        exchange: Exchange,
        decision: Permit | Ticket | Rejected | None,
        scope: Scope,
        send: Send,
    ) -> None:
        """What is not simply a request that runs at once, or never: waiters and WebSockets."""
        if type(decision) is Ticket:
            decision = await exchange.wait(decision, scope)
            if type(decision) is Permit:
                runtime.tell(scope, decision.request)
        if type(decision) is Permit:
            if scope["type"] == "http":
                await exchange.run(self.app, scope, decision)
            else:
                await exchange.run_socket(self.app, scope, decision)
        elif decision is not None:
            assert isinstance(decision, Rejected)
            await refuse(runtime.refusal(decision, scope), send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passed through untouched; our timers begin and end with it."""
        self._runtime()
        is_over = False

        async def listen() -> Message:
            nonlocal is_over
            message = await receive()
            is_over = message["type"] == "lifespan.shutdown"
            return message

        await self.app(scope, listen, send)
        # An app that does not know of it may raise, or return: the server goes on without.
        if is_over:
            self.close()

    def refresh(self) -> None:
        """Take the driver's document now, and not at the next request."""
        for runtime in self._runtimes.values():
            runtime.refresh()

    def close(self) -> None:
        """Stop the timers of the running loop and the control lane. Requests may still end."""
        runtime = self._runtimes.pop(asyncio.get_running_loop(), None)
        if runtime is not None:
            runtime.close()
        self._last = None
        if self._control is not None and not self._runtimes:
            self._control.close()
        elif self._control is not None and runtime is not None:
            self._control.forget(runtime)

    def _runtime(self) -> Runtime:
        """This event loop's runtime: made when it is first needed."""
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last.loop is loop:
            return last
        runtime = self._runtimes.get(loop)
        if runtime is None:
            for other in [other for other in self._runtimes if other.is_closed()]:
                del self._runtimes[other]
            given = self._driver
            runtime = Runtime(
                self.app,
                self._make_driver() if given is None else given,
                hook=self._hook,
                is_owner=given is None,
            )
            self._runtimes[loop] = runtime
            if self._control is not None:
                self._control.watch(runtime)
        self._last = runtime
        return runtime

    def _make_driver(self) -> Driver:
        if self._record is None:
            group = self._find_group()
            if group is not None:
                return group.make_driver()
            return Driver(self._document, is_service=True)
        from shedproxy.dataplane.recorder import recorder_of_process  # noqa: PLC0415 - optional

        self._recordings += 1
        recorder = recorder_of_process(self._record, self._recordings)
        return Driver(self._document, recorder=recorder, is_service=True)

    def _find_group(self) -> WorkerGroup | None:
        if sys.platform != "linux":
            return None
        # Only who serves pays for it, not who imports.
        from shedproxy.dataplane.asgi.worker_group import group_of_process  # noqa: PLC0415

        return group_of_process(self._share, self._number, self._document)


def _document_from(
    policy: Policy | Document | str | os.PathLike[str] | None,
    config: str | os.PathLike[str] | None,
) -> Document:
    if isinstance(policy, str | os.PathLike):
        policy, path = None, policy
        if config is not None:
            raise TypeError("give the path of the configuration once, as policy or as config")
    else:
        path = config
    if path is not None:
        if policy is not None:
            raise TypeError("give a policy or a configuration file, not both")
        # By name: only who uses a file pays for reading one, in imports too.
        settings = importlib.import_module("shedproxy.settings")
        document = settings.load_document(path)
        assert isinstance(document, Document)
        return document
    if isinstance(policy, Document):
        return _in_mode_of_environment(policy)
    return _in_mode_of_environment(Document() if policy is None else Document(policy=policy))


def _in_mode_of_environment(document: Document) -> Document:
    """The document in the mode that SHEDPROXY_MODE asks for; who reads a file reads it there."""
    word = os.environ.get(_MODE_VARIABLE)
    if word is None:
        return document
    modes = {mode.label: mode for mode in Mode}
    if word not in modes:
        known = ", ".join(reversed(modes))
        problem = Problem(
            message=f"{_MODE_VARIABLE} must be one of {known}",
            source="environment",
            note=f'"{word}" is none of them',
        )
        raise DocumentInvalidError([problem])
    return replace(document, policy=replace(document.policy, mode=modes[word]))


def _record_file(record: str | os.PathLike[str], driver: Driver | None) -> str:
    if driver is not None:
        raise TypeError("a driver is recorded by its owner: give no record with it")
    from shedproxy.dataplane.recorder import check_record_file  # noqa: PLC0415 - optional

    file = os.fspath(record)
    check_record_file(file)
    return file


def _control_for(address: str | None) -> ControlThread | None:
    if address is None:
        return None
    from shedproxy.dataplane.asgi.control_thread import ControlThread  # noqa: PLC0415 - optional

    return ControlThread(address)
