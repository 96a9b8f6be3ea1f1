"""The process that carries traffic: `python -m shedproxy.dataplane.worker`, started by `run`.

It owns nothing: listening sockets, the page its numbers are written to and the channel it is told
things on are the supervisor's and come as file descriptors. It ends when the channel ends, after a
drain, so that a supervisor that died leaves nothing behind. It imports little: there may be many.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shedproxy.core import Instant, Memory, Mode, Nanos, seconds
from shedproxy.dataplane.channel import WorkerChannel, read_weights
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.key_moves import Moving
from shedproxy.dataplane.resources import MemoryBound, resident_size, room_for_connections
from shedproxy.dataplane.service import Service
from shedproxy.dataplane.share_page import WorkerState
from shedproxy.dataplane.stack import tell_stack_to
from shedproxy.dataplane.table_page import TableReader
from shedproxy.dataplane.worker_options import Options, parse_options
from shedproxy.dataplane.worker_page import WorkerPlace, take_place
from shedproxy.dataplane.worker_signals import leave_to_supervisor
from shedproxy.errors import DocumentInvalidError, Problem, ShedproxyError, StartupError
from shedproxy.observability.meter import Meter, ProcessCounter, ProcessGauge
from shedproxy.snapshot import Document, cut_limits, decode_document, plain_memory, read_memory

if TYPE_CHECKING:
    from shedproxy.dataplane.recorder import Recorder

__all__ = ["Worker", "main"]

EXIT_STARTUP = 3
_SECOND = 1.0
_LAST_WORD = seconds(5)
"""After a drain the supervisor has this long to say stop."""
_MEMORY_PERIOD = 10
"""Seconds between two reports of what was learnt."""


class Worker:
    """One worker's life: told what to do on the channel, seen through the page."""

    def __init__(self, options: Options, place: WorkerPlace) -> None:
        self._options = options
        self._view = place.view
        self._share = place.share
        self._page_lost = place.page_lost
        self._meter = Meter(place.view.slots)
        self._channel = WorkerChannel(self._on_message, self._on_supervisor_gone)
        self._driver: Driver | None = None
        self._service: Service | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._document: Document | None = None
        self._latest: Document | None = None
        """What came last while the service was starting; the first is what it starts with."""
        self._ended: asyncio.Future[int]
        self._was_terminated = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._tables = TableReader(options.table_fd)
        self._upstreams: dict[str, dict[str, bool]] = {}
        self._weights: dict[str, dict[str, int]] = {}
        self._memory: dict[str, Memory] = {}
        """What predecessors had learnt."""
        self._memory_bound = MemoryBound()
        self._lines_dropped = 0
        self._seconds = 0
        self._cpu_ns = 0

    async def run(self) -> int:
        """Serve until told otherwise; the exit code."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the supervisor, which drains us
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate)
        await self._channel.open(self._options.channel_fd)
        try:
            return await self._ended
        finally:
            for task in self._tasks:
                task.cancel()
            if self._service is not None:
                self._service.close()
            if self._driver is not None:
                self._driver.close()
            self._view.state = WorkerState.STOPPED
            # Connections that are closed have their say before the loop ends.
            await asyncio.sleep(0)
            self._channel.close()

    # --- messages ---------------------------------------------------------------------------

    def _on_message(self, message: dict[str, Any]) -> None:
        match message.get("op"):
            case "memory":
                # Of no use when it cannot be read; then everything is learnt again.
                with contextlib.suppress(DocumentInvalidError):
                    self._memory = read_memory(message.get("cells"))
            case "document":
                self._on_table(message.get("table"))
                self._on_document(str(message.get("document", "")))
            case "table":
                self._on_table(message.get("table"))
            case "mode" if self._driver is not None:
                mode = str(message.get("mode", "")).upper()
                if mode in Mode.__members__:
                    self._driver.set_mode(Mode[mode])
                    self._view.mode = Mode[mode]
            case "weights":
                self._weights = read_weights(message.get("cells"))
                if self._service is not None:
                    self._service.weigh_upstreams(self._weights)
            case "announce" if self._service is not None:
                self._service.announce()
                self._view.state = WorkerState.ANNOUNCED
            case "drain":
                self._own(self._drain(Nanos(int(message.get("grace_ns", 0))), _LAST_WORD))
            case "stop":
                self._end(0)

    def _on_document(self, text: str) -> None:
        try:
            document = self._cut(decode_document(text.encode()))
            present = self._document or self._latest
            if present is not None and document.revision < present.revision:
                self._refuse([_older(document.revision, present.revision)])
                return
            if self._service is None:
                is_first, self._latest = self._latest is None, document
                if is_first:
                    self._beginning = self._own(self._begin(document))
                return
        except DocumentInvalidError as error:
            self._refuse(error.problems)
            return
        self._apply(self._service, document)

    def _on_table(self, place: Any) -> None:
        """Change to another table of cells. What it took is told, for that is how long we stood."""
        if self._options.table_fd >= 0:
            self._tables.turn_to(place)
            if self._service is not None:
                self._service.take_table(self._tables.table)
            self._channel.post("table_taken", **self._tables.taken())

    def _cut(self, document: Document) -> Document:
        options = self._options
        if not (options.is_shared and self._page_lost):
            return document
        return cut_limits(document, options.index, options.workers)

    def _apply(self, service: Service, document: Document) -> None:
        try:
            service.apply(document)
        except DocumentInvalidError as error:
            self._refuse(error.problems)
            return
        self._on_applied(document)

    def _on_applied(self, document: Document) -> None:
        self._document = document
        self._view.revision = document.revision
        self._view.mode = document.policy.mode
        self._channel.post("applied", revision=document.revision)

    def _refuse(self, problems: Sequence[Problem]) -> None:
        told = [
            {"message": problem.message, "path": list(problem.path), "help": problem.help}
            for problem in problems
        ]
        self._channel.post("refused", problems=told)
        if self._service is None:
            self._end(EXIT_STARTUP)

    async def _begin(self, document: Document) -> None:
        """The first document: build everything, serve, say so."""
        view = self._view
        view.mode = document.policy.mode
        driver = Driver(
            document,
            meter=self._meter,
            ring=view.ring,
            on_heartbeat=self._on_heartbeat,
            recorder=self._make_recorder(),
            share=self._share,
            part=(self._options.index, self._options.workers),
            is_service=self._options.kind == "asgi",
        )
        self._driver = driver
        driver.moves.on_change = self._tell_moving
        self._tell_page_lost(driver)
        if self._memory:
            driver.shedder.remember(self._memory)
        try:
            service = self._make_service(driver)
            service.take_table(self._tables.table)
            sockets = [socket.socket(fileno=fd) for fd in self._options.listen_fds]
            driver.start()
            await service.start(sockets)
        except DocumentInvalidError as error:
            self._refuse(error.problems)
            return
        except (OSError, ImportError, AttributeError, ShedproxyError) as error:
            self._refuse([Problem(message=str(error))])
            return
        self._service = service
        service.weigh_upstreams(self._weights)
        # What lives now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        if view.state is not WorkerState.DRAINING:
            view.state = WorkerState.SERVING
        self._on_applied(document)
        self._channel.post("ready")
        self._every_second()
        if self._latest is not None and self._latest is not document:
            self._apply(service, self._latest)

    def _make_recorder(self) -> Recorder | None:
        file, index, workers = self._options.record, self._options.index, self._options.workers
        if not file:
            return None
        from shedproxy.dataplane.recorder import Recorder, Stop, numbered  # noqa: PLC0415 - rare

        def on_stop(stop: Stop) -> None:
            self._channel.post("recorded", **stop._asdict())

        return Recorder(
            numbered(file, index) if workers > 1 else file,
            worker=index,
            workers=workers,
            on_stop=on_stop,
        )

    def _make_service(self, driver: Driver) -> Service:
        if self._options.kind == "asgi":
            from shedproxy.dataplane.asgi_worker import AsgiService  # noqa: PLC0415 - uvicorn

            options = self._options
            return AsgiService(
                driver, options.app, app_dir=options.app_dir, is_factory=options.is_factory
            )
        from shedproxy.dataplane.wire.server import WireServer  # noqa: PLC0415 - httptools

        return WireServer(driver, connections_max=room_for_connections())

    # --- time -------------------------------------------------------------------------------

    def _on_heartbeat(self, now: Instant) -> None:
        self._view.heartbeat = now
        if self._service is not None and self._document is not None:
            self._look_at_memory(self._service, self._document.proxy.memory_max)

    def _look_at_memory(self, service: Service, memory_max: int) -> None:
        bound = self._memory_bound
        was_short = bound.is_short
        bound.look(memory_max)
        if bound.is_short or was_short:
            service.save_memory(is_short=bound.is_short)
        if bound.is_short is not was_short:
            share = round(bound.used_share, 3)
            self._channel.post("memory_short", is_short=bound.is_short, used_share=share)

    def _every_second(self) -> None:
        service = self._service
        assert service is not None
        lines = service.log_lines()
        if lines:
            self._channel.post_log(lines)
        health = service.upstream_health()
        if health != self._upstreams:
            self._upstreams = health
            self._channel.post("upstreams", cells=health)
        assert self._driver is not None
        self._tell_page_lost(self._driver)
        if (tallies := service.upstream_tallies()) and self._channel.has_room:
            self._channel.post("hosts", cells=tallies)
        self._seconds += 1
        if self._seconds % _MEMORY_PERIOD == 0:
            self._tell_memory()
        dropped = self._channel.lines_dropped - self._lines_dropped
        self._lines_dropped += dropped
        self._meter.count(ProcessCounter.LOG_LINES_DROPPED, dropped)
        cpu_ns = time.process_time_ns()
        self._meter.count(ProcessCounter.CPU_NS, cpu_ns - self._cpu_ns)
        self._cpu_ns = cpu_ns
        self._meter.set_process(ProcessGauge.RSS_BYTES, resident_size())
        asyncio.get_running_loop().call_later(_SECOND, self._every_second)

    def _tell_page_lost(self, driver: Driver) -> None:
        """Say by the channel what the page cannot: we live, and with which limits."""
        if self._page_lost and self._channel.has_room:
            cells = driver.shedder.stats().cells
            limits = {str(driver.cell_index(cell.name)): cell.host_limit for cell in cells}
            self._channel.post("page_lost", why=self._page_lost, limits=limits)

    def _tell_moving(self, moving: Moving) -> None:
        self._channel.post("moving", **moving._asdict())

    def _tell_memory(self) -> None:
        """Say what was learnt, a cell a message; a supervisor that is behind gets it later."""
        if self._driver is None:
            return
        for cell, routes in plain_memory(self._driver.shedder.memory()).items():
            if self._channel.has_room:
                self._channel.post("memory", cells={cell: routes})

    # --- the end ----------------------------------------------------------------------------

    def _on_terminate(self) -> None:
        """Only the supervisor can put another in our place first; we go alone at a second."""
        if self._service is None or self._was_terminated:
            self._own(self._drain(self._grace(), Nanos(0)))
        else:
            self._was_terminated = True
            self._channel.post("terminated")

    def _on_supervisor_gone(self) -> None:
        self._own(self._drain(self._grace(), Nanos(0)))

    def _grace(self) -> Nanos:
        return Nanos(0) if self._document is None else self._document.proxy.drain_grace_ns

    async def _drain(self, grace_ns: Nanos, last_word_ns: Nanos) -> None:
        """Finish what is under way, report, and end unless something is still to be said."""
        self._view.state = WorkerState.DRAINING
        left, began_at = 0, time.monotonic_ns()
        if self._service is None and self._beginning is not None:
            # Others accept no more: whoever connects meanwhile is served here.
            await asyncio.wait({self._beginning}, timeout=grace_ns / seconds(1))
            grace_ns = Nanos(max(0, grace_ns - (time.monotonic_ns() - began_at)))
        if self._service is not None:
            left = await self._service.drain(grace_ns)
            lines = self._service.log_lines()
            if lines:
                self._channel.post_log(lines)
        self._tell_memory()
        self._channel.post("drained", left=left)
        if last_word_ns:
            await asyncio.sleep(last_word_ns / seconds(1))
        self._end(0)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _own(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._ended.done():
            error = task.exception()
            assert error is not None
            self._ended.set_exception(error)


def _older(revision: int, present: int) -> Problem:
    return Problem(
        message=f"revision {revision} is older than {present}", help="the newer one stays in force"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker with the given command line; the exit code."""
    import uvloop  # noqa: PLC0415 - not wanted by who only reads the options

    leave_to_supervisor()
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
        place = take_place(options)
    except ShedproxyError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_STARTUP
    if options.stack_fd >= 0:
        tell_stack_to(options.stack_fd)

    async def serve() -> int:
        return await Worker(options, place).run()

    try:
        return uvloop.run(serve())
    except StartupError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_STARTUP


if __name__ == "__main__":
    sys.exit(main())
