"""The workers together: started, told the document, watched, drained and stopped as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import Instant, Memory, Mode, Nanos, to_seconds
from shedproxy.errors import StartupError
from shedproxy.snapshot import Document, document_for_worker, encode_document, plain_memory
from shedproxy.supervisor.channel import Message
from shedproxy.supervisor.host_tallies import HostTallies
from shedproxy.supervisor.learnt import Learnt
from shedproxy.supervisor.move_watch import HostMoves, MoveWatch
from shedproxy.supervisor.process import Backoff, WorkerProcess, WorkerState
from shedproxy.supervisor.table_board import TableBoard
from shedproxy.supervisor.worker_command import WorkerCommand

__all__ = ["Fleet"]

_SERVING = frozenset({WorkerState.READY, WorkerState.DRAINING})
_HURRY_STEP = 0.3
"""Seconds between the steps of ending a process when nobody wants to wait."""


def _reserve_nothing(_region: int, _limits: Mapping[int, int], _now: Instant) -> None:
    """Without a page there is nothing to write to."""


class Fleet:
    """Owns every worker process. What a (re)started worker gets is the document it holds, and what
    all of them have learnt.
    """

    def __init__(
        self,
        command: WorkerCommand,
        *,
        workers: int,
        document: Document,
        reset_worker: Callable[[int], None],
        report: Callable[[str, dict[str, Any]], None],
        on_log_lines: Callable[[Iterable[str]], None],
        reserve: Callable[[int, Mapping[int, int], Instant], None] = _reserve_nothing,
        memory: Mapping[str, Memory] | None = None,
        tables: TableBoard | None = None,
        clock: Clock = monotonic_now,
        make_backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._command = command
        self._clock = clock
        self._make_backoff = make_backoff
        self._document = document
        self._told: dict[WorkerProcess, Document] = {}
        """The document that each worker was told last."""
        self._tables = tables
        self._reset_worker = reset_worker
        self._reserve = reserve
        self._report = report
        self._on_log_lines = on_log_lines
        self._upstreams: dict[WorkerProcess, dict[str, dict[str, bool]]] = {}
        self.tallies = HostTallies()
        self.moves = MoveWatch(self._settle_ns, clock=clock)
        self._weights: dict[str, dict[str, int]] = {}
        self._learnt = Learnt(workers, memory or {})
        self.is_started = False
        """Every worker has been ready."""
        self.on_terminated: Callable[[WorkerProcess], None] | None = None
        """Somebody else has told a process to end that serves."""
        self.is_announced = False
        """Draining was announced: answers ask clients to go elsewhere."""
        self.workers = [self._make(index, index) for index in range(workers)]
        """In office, by index."""
        self._others: set[WorkerProcess] = set()
        """A successor before it takes over, or who has handed over and drains."""
        self._free_region = workers
        self._restarts = 0
        """Of workers that have handed over."""

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start every worker and wait until all are ready.

        A worker that somebody kills meanwhile is started again, like later.

        Raises:
            StartupError: one gave up before it was ready; nothing is left running.
        """
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            while not worker.has_been_ready:
                if _has_given_up(worker):
                    await self.stop()
                    raise StartupError(_startup_failure(worker))
                worker.changed.clear()
                await worker.changed.wait()
        self.is_started = True

    def announce(self) -> None:
        """Answers say `connection: close` from now on; everything is still served."""
        self.is_announced = True
        self._post("announce")

    async def drain(self, grace: Nanos) -> bool:
        """Let requests in flight end; True when all did within `grace`."""
        workers = self._all()
        for worker in workers:
            worker.drain(grace)
        # A worker reports at its own grace; a blocked one does not, so the wait has a bound too.
        bound = _drain_bound(grace)
        return all(await asyncio.gather(*(worker.drained(bound) for worker in workers)))

    async def stop(self, *, in_hurry: bool = False) -> None:
        """End every process in order; bounded."""
        steps = (_HURRY_STEP,) if in_hurry else ()
        await asyncio.gather(*(worker.stop(*steps) for worker in self._all()))

    # --- successors ---------------------------------------------------------------------------

    async def replace(self, index: int, grace: Nanos) -> str:
        """Put a new process in the place of worker `index`; why that failed, or "".

        The successor is ready before the former drains, so that somebody accepts at every moment.
        Until the former is empty, or its `grace` is over, both have the worker's part of the
        limits. A successor that does not become ready is given up, and nothing has changed.
        """
        former = self.workers[index]
        successor = self._make(index, self._free_region)
        self._others.add(successor)
        successor.start()
        while not successor.has_been_ready:
            if _has_given_up(successor):
                why = _startup_failure(successor)
                await self._dismiss(successor)
                return why
            successor.changed.clear()
            await successor.changed.wait()
        self._others.remove(successor)
        self._others.add(former)
        self.workers[index] = successor
        self._restarts += former.restarts
        former.drain(grace)
        await former.drained(_drain_bound(grace))
        await self._dismiss(former)
        self._free_region = former.region
        return ""

    async def _dismiss(self, worker: WorkerProcess) -> None:
        await worker.stop()
        self._others.discard(worker)
        self._told.pop(worker, None)
        self._upstreams.pop(worker, None)
        self.tallies.forget(worker)
        self.moves.forget(worker)
        self._reset_worker(worker.region)
        if self._tables is not None:
            self._tables.forget(worker)

    def _make(self, index: int, region: int) -> WorkerProcess:
        return WorkerProcess(
            index,
            self._command,
            self,
            clock=self._clock,
            backoff=self._make_backoff(),
            region=region,
        )

    def _all(self) -> list[WorkerProcess]:
        return [*self.workers, *self._others]

    # --- documents ----------------------------------------------------------------------------

    def apply(self, document: Document) -> None:
        """Give every worker a new document; workers that start later get it first."""
        self._document = document
        for worker in self._all():
            if worker.ready_at is not None:
                self._tell(worker)

    def set_mode(self, document: Document, mode: Mode) -> None:
        """Change the mode alone; `document` is the one in force with that mode."""
        self._document = document
        for worker in self._all():
            if worker.ready_at is not None:
                self._told[worker] = document
                worker.post("mode", mode=mode.label)

    async def applied(self, revision: int, bound: Nanos) -> int:
        """Wait, bounded, until the workers run `revision`; returns how many do."""
        deadline = asyncio.get_running_loop().time() + to_seconds(bound)
        for worker in self.workers:
            while worker.revision < revision and not worker.problems:
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0 or worker.state is WorkerState.STOPPED:
                    break
                worker.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await worker.changed.wait()
        return sum(worker.revision >= revision for worker in self.workers)

    # --- read-outs ----------------------------------------------------------------------------

    @property
    def restarts(self) -> int:
        """Since the start, all workers."""
        return self._restarts + sum(worker.restarts for worker in self.workers)

    @property
    def pids(self) -> list[int]:
        """Of all running processes, successors and those that hand over included."""
        return [worker.pid for worker in self._all() if worker.pid]

    def upstreams(self) -> dict[str, dict[str, bool]]:
        """Health by cell and URL: healthy when any serving worker could use it last."""
        merged: dict[str, dict[str, bool]] = {}
        for worker in self.workers:
            if worker.state not in _SERVING:
                continue
            for cell, health in self._upstreams.get(worker, {}).items():
                known = merged.setdefault(cell, {})
                for url, ok in health.items():
                    known[url] = known.get(url, False) or ok
        return merged

    def set_weights(self, weights: dict[str, dict[str, int]]) -> None:
        """The parts of the requests that upstreams may have, by cell and URL, for every worker."""
        self._weights = weights
        self._post("weights", cells=weights)

    def memory(self) -> dict[str, Memory]:
        """What all workers have learnt, by cell and route, as far as they said."""
        return self._learnt.merged()

    def host_moves(self) -> HostMoves:
        """What this host may say of keys that change their cell."""
        return self.moves.said(worker for worker in self._all() if worker.pid)

    def _settle_ns(self) -> Nanos:
        proxy = self._document.proxy
        return Nanos(proxy.drain_grace_ns + proxy.timeouts.response_ns)

    # --- Owner of the processes ---------------------------------------------------------------

    def first_messages(self, worker: WorkerProcess) -> list[dict[str, Any]]:
        """What is known already, for the document to begin with, with the mode in force."""
        self._told[worker] = self._document
        return [
            {"op": "memory", "cells": plain_memory(self.memory())},
            {"op": "weights", "cells": self._weights},
            {"op": "document", "document": self._text_for(worker), **self._table_for(worker)},
        ]

    def on_spawn(self, worker: WorkerProcess) -> None:
        """Clear what described the dead worker; its counters stay."""
        self._upstreams.pop(worker, None)
        self.tallies.forget(worker)
        self._reset_worker(worker.region)
        if self._tables is not None:
            self._tables.forget(worker)

    def on_message(self, worker: WorkerProcess, message: Message) -> None:
        """Messages that concern all, or a log."""
        match message["op"]:
            case "log":
                self._on_log_lines(str(line) for line in message.get("lines", ()))
            case "memory":
                self._learnt.take(worker.index, message.get("cells"))
            case "moving":
                self.moves.take(worker, message)
            case "hosts":
                self.tallies.take(worker, message.get("cells"))
            case "upstreams":
                before = self.upstreams()
                self._upstreams[worker] = _read_upstreams(message.get("cells"))
                self._report_health(before)
            case "refused":
                problems = list(message.get("problems", ()))
                has_begun = worker.ready_at is not None
                event = "worker refused a document" if has_begun else "worker cannot start"
                self._report(event, {"worker": worker.index, "problems": problems})
            case "memory_short":
                event = "memory short" if message.get("is_short") else "memory enough"
                share = message.get("used_share")
                self._report(event, {"worker": worker.index, "used_share": share})
            case "page_lost":
                self._on_page_lost(worker, message)
            case "recorded":
                facts = {name: message.get(name) for name in ("file", "why", "records", "size")}
                self._report("recording ended", {"worker": worker.index, **facts})
            case "ready":
                self._on_ready(worker)
            case "terminated" if self.on_terminated is not None:
                self.on_terminated(worker)
            case "table_taken" if self._tables is not None:
                slot, took_ns = (int(message.get(name, -1)) for name in ("slot", "took_ns"))
                self._tables.on_taken(worker, slot, took_ns)
                self.tell_table()

    def _on_page_lost(self, worker: WorkerProcess, message: Message) -> None:
        """It tells us what it cannot write, each second; the others leave it its slots."""
        if not worker.page_lost:
            worker.page_lost = str(message.get("why") or "unknown")
            self._report("page lost", {"worker": worker.index, "why": worker.page_lost})
        limits = message.get("limits")
        if isinstance(limits, dict):
            slots = {int(cell): int(limit) for cell, limit in limits.items()}
            self._reserve(worker.region, slots, self._clock())

    def _report_health(self, before: dict[str, dict[str, bool]]) -> None:
        """Say which upstreams left service or came back, for all workers together."""
        for cell, health in self.upstreams().items():
            for url, ok in health.items():
                if ok is not before.get(cell, {}).get(url, True):
                    event = "upstream back" if ok else "upstream out"
                    self._report(event, {"cell": cell, "upstream": url})

    def on_exit(self, worker: WorkerProcess, how: str, *, failures: int) -> None:
        """A worker died: said in the log, once more loudly when it does nothing else."""
        # The others wait for slots that it had.
        self._reset_worker(worker.region)
        self.moves.forget(worker)
        event = "worker crash loop" if worker.is_crash_looping else "worker died"
        facts: dict[str, Any] = {"worker": worker.index, "how": how, "failures": failures}
        if worker.last_stack:
            facts["stack"] = list(worker.last_stack)
        self._report(event, facts)

    def _on_ready(self, worker: WorkerProcess) -> None:
        """A starting worker heeds its first document only: say what changed meanwhile."""
        self._report("worker ready", {"worker": worker.index, "worker_pid": worker.pid})
        if self._told[worker] is not self._document:
            self._tell(worker)
        if self.is_announced:
            worker.post("announce")

    def _tell(self, worker: WorkerProcess) -> None:
        self._told[worker] = self._document
        worker.problems = []  # of the one before
        worker.post("document", document=self._text_for(worker), **self._table_for(worker))

    def _table_for(self, worker: WorkerProcess) -> dict[str, Any]:
        return {} if self._tables is None else {"table": self._tables.tell(worker)}

    def tell_table(self) -> None:
        """Let every worker turn to the table that was published last; a busy one does it later."""
        if self._tables is None:
            return
        for worker in self._all():
            if worker.ready_at is not None and self._tables.is_due(worker):
                worker.post("table", **self._table_for(worker))

    def _text_for(self, worker: WorkerProcess) -> str:
        part = document_for_worker(
            self._document, worker.index, len(self.workers), is_shared=self._command.is_shared
        )
        return encode_document(part).decode()

    def _post(self, op: str, **fields: Any) -> None:
        for worker in self._all():
            worker.post(op, **fields)


def _drain_bound(grace: Nanos) -> Nanos:
    return Nanos(grace + grace // 10 + 500_000_000)


def _has_given_up(worker: WorkerProcess) -> bool:
    if worker.state is WorkerState.STOPPED:
        return True
    return worker.state is WorkerState.BACKOFF and (
        worker.has_ended_itself or worker.is_crash_looping
    )


def _startup_failure(worker: WorkerProcess) -> str:
    lines = [f"worker {worker.index} did not start: {worker.last_exit or 'stopped'}"]
    lines += [
        str(found.get("message", found)) if isinstance(found, dict) else str(found)
        for found in worker.problems
    ]
    return "\n".join(lines).replace("\n", "\n  ")


def _read_upstreams(cells: Any) -> dict[str, dict[str, bool]]:
    """Health by cell and URL from a worker's message; anything else is left out."""
    if not isinstance(cells, dict):
        return {}
    found: dict[str, dict[str, bool]] = {}
    for cell, health in cells.items():
        if isinstance(health, dict):
            found[str(cell)] = {str(url): bool(ok) for url, ok in health.items()}
    return found
