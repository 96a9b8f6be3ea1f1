"""The supervisor: composes the parts, starts them in order, and ends them in order.

Order of the start: configuration, page, sockets, control listener, workers, so that health is
answered from the first moment and a taken port is found before anything runs. Order of the end:
readiness off, announce, drain, stop, so that balancers notice before anybody is turned away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shedproxy.core import Memory, Mode, Nanos, to_seconds
from shedproxy.dataplane.host_share import close_bells, make_bells
from shedproxy.dataplane.share_page import SharePage
from shedproxy.settings import ControlSettings, Loaded, require_upstream
from shedproxy.snapshot import Document
from shedproxy.supervisor.banner import render_banner
from shedproxy.supervisor.bullet_file import bullet_file_of
from shedproxy.supervisor.configuration import Configuration, ReloadResult
from shedproxy.supervisor.control_lane import ControlLane
from shedproxy.supervisor.exporters import Exporters
from shedproxy.supervisor.fleet import Fleet
from shedproxy.supervisor.inspection import Inspection
from shedproxy.supervisor.journal import Journal
from shedproxy.supervisor.managed_mode import ManagedMode
from shedproxy.supervisor.notify import Notifier
from shedproxy.supervisor.operations import LiveOperations
from shedproxy.supervisor.outlier_watch import OutlierWatch
from shedproxy.supervisor.rolling import RollingRestart
from shedproxy.supervisor.sockets import Listener, bind_all, close_all
from shedproxy.supervisor.stalls import StallWatch
from shedproxy.supervisor.state_file import StateFile, lasting
from shedproxy.supervisor.worker_command import WORKER_PROGRAM, WorkerCommand

__all__ = ["RunOptions", "Supervisor", "run_supervisor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line decided."""

    file: Path | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)
    """Settings given as flags, by dotted name; None: not given."""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    kind: str = "wire"
    worker_program: tuple[str, ...] = WORKER_PROGRAM
    worker_arguments: tuple[str, ...] = ()
    target: str = ""
    """What an `asgi` worker serves, for the banner."""
    verbose: bool = False
    """Print the banner although stderr is no terminal."""


def run_supervisor(options: RunOptions) -> int:
    """Serve until told to end; returns the exit code.

    Raises:
        ConfigInvalidError: the configuration was refused; carries every problem.
        StartupError: a port is taken, a worker did not start.
    """
    configuration = Configuration(
        options.file,
        environ=options.environ,
        overrides=options.overrides,
        check=_require_upstream if options.kind == "wire" else _accept,
    )
    asyncio.run(Supervisor(configuration, options).run())
    return 0


class Supervisor:
    """One running instance."""

    def __init__(self, configuration: Configuration, options: RunOptions) -> None:
        self._configuration = configuration
        self._options = options
        self._notifier = Notifier(options.environ)
        self._journal = Journal(configuration.loaded.settings.log)
        self._state = StateFile(
            configuration.loaded.settings.server.state_file,
            self._journal.report,
            select=self._lasting,
        )
        self._end = asyncio.Event()
        """Set by the first signal: begin to drain."""
        self._hurry = asyncio.Event()
        """Set by the second: do not wait for anything."""
        self._operations: LiveOperations | None = None
        self._managed: ManagedMode | None = None

    async def run(self) -> None:
        """Start, serve, end."""
        for signum in (signal.SIGHUP, signal.SIGUSR2):  # nothing to reload or restart yet
            asyncio.get_running_loop().add_signal_handler(signum, lambda: None)
        settings = self._configuration.loaded.settings
        if self._configuration.is_managed:
            self._managed = ManagedMode(
                self._configuration,
                self._journal.report,
                needs_upstream=self._options.kind == "wire",
            )
            await self._managed.boot()
        # One region more, for a successor beside the worker that it replaces.
        page = SharePage.create(settings.server.workers + 1)
        bells = make_bells(len(page)) if len(page) > 2 else ()
        data: list[Listener] = []
        control: list[Listener] = []
        try:
            data = bind_all(settings.server.listen, environ=self._options.environ)
            control = bind_all([settings.control.listen], environ=self._options.environ)
            fleet = self._make_fleet(page, data, bells)
            await self._serve(page, fleet, data, control)
        finally:
            close_all([*data, *control])
            page.close()
            close_bells(bells)
            if self._managed is not None:
                self._managed.close()
            self._journal.close()

    def _make_fleet(self, page: SharePage, data: list[Listener], bells: tuple[int, ...]) -> Fleet:
        tables = None if self._managed is None else self._managed.tables
        command = WorkerCommand(
            page_fd=page.fd,
            workers=len(page) - 1,
            bell_fds=bells,
            listen_fds=tuple(listener.socket.fileno() for listener in data),
            kind=self._options.kind,
            table_fd=-1 if tables is None else tables.fd,
            program=self._options.worker_program,
            arguments=self._options.worker_arguments,
        )
        return Fleet(
            command,
            workers=command.workers,
            document=self._configuration.document,
            reset_worker=page.reset,
            reserve=page.reserve,
            report=self._journal.report,
            on_log_lines=self._pass_on,
            memory=self._state.read(),
            tables=tables,
        )

    def _pass_on(self, lines: Iterable[str]) -> None:
        lines = list(lines)
        if self._managed is not None:
            self._managed.take_lines(lines)
        self._journal.pass_on(lines)

    def _lasting(self, memory: Mapping[str, Memory]) -> dict[str, Memory]:
        document, has_marks = self._configuration.document, self._options.kind == "asgi"
        return lasting(memory, document, has_marks=has_marks)

    async def _serve(
        self, page: SharePage, fleet: Fleet, data: list[Listener], control: list[Listener]
    ) -> None:
        stalls = StallWatch(page, fleet, bound=self._stall_bound, report=self._journal.report)
        rolling = RollingRestart(fleet, grace=self._grace, report=self._journal.report)
        inspection = Inspection(page, fleet, stalls)
        watch = OutlierWatch(
            fleet,
            inspection,
            document=lambda: self._configuration.document,
            file=bullet_file_of(self._configuration.loaded.settings.server.state_file),
            report=self._journal.report,
        )
        operations = self._compose(inspection, fleet, rolling, watch)
        operations.listening = [listener.bound for listener in data]
        lane = self._control_lane(control, operations)
        exporters = Exporters(
            self._configuration.loaded.settings,
            operations.samples,
            environ=self._options.environ,
        )
        self._handle_signals(rolling)
        await lane.start()
        tasks: set[asyncio.Task[None]] = set()
        try:
            if not await self._start(fleet):
                await self._drain(fleet, operations, data)
                return
            exporters.start()
            self._announce_start(operations)
            tasks = {
                asyncio.create_task(self._configuration.run(), name="configuration"),
                asyncio.create_task(self._beat(operations), name="beat"),
                asyncio.create_task(stalls.run(), name="stalls"),
                asyncio.create_task(watch.run(), name="outliers"),
                asyncio.create_task(self._state.run(fleet.memory), name="state"),
            }
            if self._managed is not None:
                self._managed.join(fleet)
                snapshots = self._managed.run(operations.counters, operations.report_facts)
                tasks.add(asyncio.create_task(snapshots, name="snapshots"))
            end = asyncio.create_task(self._end.wait())
            done, _ = await asyncio.wait({end, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            end.cancel()
            for task in done - {end}:
                await task  # a part of ours broke: end with its error
            await rolling.cancel()
            await self._drain(fleet, operations, data)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await rolling.cancel()
            await fleet.stop(in_hurry=self._hurry.is_set())
            await self._state.save(fleet.memory)
            await lane.stop()
            await asyncio.to_thread(exporters.close)

    def _compose(
        self, inspection: Inspection, fleet: Fleet, rolling: RollingRestart, watch: OutlierWatch
    ) -> LiveOperations:
        configuration = self._configuration
        operations = LiveOperations(
            configuration,
            fleet,
            inspection,
            rolling,
            watch=watch,
            begin_drain=self._begin_end,
            lines_dropped=lambda: self._journal.dropped,
            managed=self._managed,
            report=self._journal.report,
        )
        self._operations = operations

        def on_document(document: Document) -> None:
            fleet.apply(document)
            self._journal.configure(configuration.loaded.settings.log)

        def on_mode(mode: Mode, cause: str) -> None:
            fleet.set_mode(configuration.document, mode)
            self._journal.report("mode", {"mode": mode.label, "cause": cause})
            self._notifier.status(self._status_line())

        configuration.on_document = on_document
        configuration.on_mode = on_mode
        configuration.on_result = self._on_reload
        return operations

    def _control_lane(self, control: list[Listener], operations: LiveOperations) -> ControlLane:
        environ, report = self._options.environ, self._journal.report
        lane = ControlLane(control, operations, self._control, environ=environ, report=report)
        operations.control = [listener.bound for listener in control]
        operations.order_key = lane.key.file
        return lane

    def _control(self) -> ControlSettings:
        return self._configuration.loaded.settings.control

    def _stall_bound(self) -> Nanos:
        return self._control().stall_bound

    def _grace(self) -> Nanos:
        return self._configuration.document.proxy.drain_grace_ns

    # --- start ----------------------------------------------------------------------------------

    async def _start(self, fleet: Fleet) -> bool:
        """Start the workers; False when told to end meanwhile."""
        return not await _interrupted(asyncio.create_task(fleet.start()), self._end)

    def _announce_start(self, operations: LiveOperations) -> None:
        settings = self._configuration.loaded.settings
        self._journal.report(
            "started",
            {
                "listening": operations.listening,
                "control": operations.control,
                "order_key": operations.order_key(),
                "config": str(self._configuration.file or ""),
                "mode": self._configuration.mode.label,
                "workers": settings.server.workers,
            },
        )
        for problem in self._configuration.loaded.warnings:
            self._journal.report("configuration warning", {"message": problem.message})
        if self._options.verbose or sys.stderr.isatty():
            sys.stderr.write(
                render_banner(
                    self._configuration.document,
                    listening=operations.listening,
                    control=operations.control,
                    order_key=operations.order_key(),
                    file=str(self._configuration.file or ""),
                    target=self._options.target,
                )
            )
        self._notifier.ready(self._status_line())

    async def _beat(self, operations: LiveOperations) -> None:
        """Once a second: what readiness remembers, and the watchdog while the workers live."""
        period = 1.0
        if self._notifier.watchdog_ns:
            period = min(period, to_seconds(self._notifier.watchdog_ns) / 2)
        while True:
            operations.sample()
            if operations.liveness().ok:
                self._notifier.alive()
            await asyncio.sleep(period)

    # --- signals and reloads --------------------------------------------------------------------

    def _handle_signals(self, rolling: RollingRestart) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._begin_end, signal.Signals(signum).name)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.add_signal_handler(signal.SIGUSR2, self._on_restart, rolling)

    def _begin_end(self, cause: str) -> None:
        if self._end.is_set():
            self._hurry.set()
        self._journal.report("hurry" if self._hurry.is_set() else "draining", {"cause": cause})
        if self._operations is not None:
            self._operations.is_draining = True
        self._end.set()

    def _on_hangup(self) -> None:
        self._notifier.reloading()
        self._configuration.request_reload("sighup")

    def _on_restart(self, rolling: RollingRestart) -> None:
        if not self._end.is_set():
            rolling.begin("SIGUSR2")

    def _on_reload(self, result: ReloadResult) -> None:
        facts: dict[str, Any] = {"cause": result.cause, "revision": result.revision}
        if result.ok:
            if result.needs_restart:
                facts["needs_restart"] = list(result.needs_restart)
            self._journal.report("reloaded", facts)
        else:
            self._journal.report("reload refused", facts)
            self._journal.show_problems(result.problems)
        self._notifier.ready(self._status_line())

    def _status_line(self) -> str:
        configuration = self._configuration
        line = f"mode {configuration.mode.label}, revision {configuration.revision}"
        return line if configuration.last_result.ok else line + ", last reload refused"

    # --- end ------------------------------------------------------------------------------------

    async def _drain(self, fleet: Fleet, operations: LiveOperations, data: list[Listener]) -> None:
        if not any(worker.has_been_ready for worker in fleet.workers):
            return
        proxy = self._configuration.document.proxy
        operations.is_draining = True
        self._notifier.stopping("draining")
        fleet.announce()
        if await self._hurried(
            asyncio.create_task(asyncio.sleep(to_seconds(proxy.drain_announce_ns)))
        ):
            return
        # Workers hold copies: a socket closes for good when they have taken what was waiting.
        close_all(data)
        drained = asyncio.create_task(fleet.drain(proxy.drain_grace_ns))
        if not await self._hurried(drained):
            self._journal.report("drained", {"is_complete": drained.result()})

    async def _hurried(self, waiting: asyncio.Task[Any]) -> bool:
        """Wait for `waiting`; True when a second signal came first."""
        return await _interrupted(waiting, self._hurry)


async def _interrupted(waiting: asyncio.Task[Any], event: asyncio.Event) -> bool:
    """Wait for `waiting`; True when the event came first: it is cancelled then."""
    came = asyncio.create_task(event.wait())
    await asyncio.wait({waiting, came}, return_when=asyncio.FIRST_COMPLETED)
    came.cancel()
    if waiting.done():
        await waiting
        return False
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    return True


def _require_upstream(loaded: Loaded) -> None:
    """A snapshot may name it."""
    if not loaded.settings.snapshot.source:
        require_upstream(loaded)


def _accept(_: Loaded) -> None:
    """An application needs no upstream."""
