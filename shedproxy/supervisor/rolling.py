"""A rolling restart: every worker process is replaced by a new one, one at a time, under load.

And one alone, when somebody has told it to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from shedproxy.core import Nanos
from shedproxy.supervisor.fleet import Fleet
from shedproxy.supervisor.process import WorkerProcess

__all__ = ["RollingRestart"]


class RollingRestart:
    """At most one at a time. It ends at the first worker whose successor does not become ready:
    what cannot start must not take the place of what serves.

    Args:
        fleet: whose workers.
        grace: what those that hand over have to finish.
        report: takes an event and its facts.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        grace: Callable[[], Nanos],
        report: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._fleet = fleet
        self._grace = grace
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        """There is room for one successor."""
        self._replaced = 0
        self._state = "none"
        self._why = ""
        fleet.on_terminated = self.replace

    def begin(self, cause: str) -> None:
        """Begin, unless one is under way or the workers have not all been ready yet."""
        if self._state == "running" or not self._fleet.is_started:
            return
        self._state, self._replaced, self._why = "running", 0, ""
        self._report("restarting", {"cause": cause, "workers": len(self._fleet.workers)})
        self._own(self._run())

    def view(self) -> dict[str, Any]:
        """`state` is none, running, done or failed, of the last one; for the status page."""
        return {
            "state": self._state,
            "replaced": self._replaced,
            "workers": len(self._fleet.workers),
            "why": self._why,
        }

    async def cancel(self) -> None:
        """The service ends: who is between two processes is ended with the rest of the fleet."""
        self._fleet.on_terminated = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def replace(self, worker: WorkerProcess) -> None:
        """Somebody has told this one to end, and it serves: another takes its place first.

        Where all are told, the service ends in its own order, which `cancel` begins.
        """
        if self._fleet.is_started:
            self._own(self._replace(worker))

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="rolling restart")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        async with self._turn:
            for index in range(len(self._fleet.workers)):
                self._why = await self._succeed(index)
                if self._why:
                    self._state = "failed"
                    return
                self._replaced += 1
            self._state = "done"
            self._report("restarted", {"workers": self._replaced})

    async def _replace(self, worker: WorkerProcess) -> None:
        async with self._turn:
            if worker in self._fleet.workers:  # nobody has taken its place meanwhile
                index = self._fleet.workers.index(worker)
                self._report("worker terminated", {"worker": index, "worker_pid": worker.pid})
                await self._succeed(index)

    async def _succeed(self, index: int) -> str:
        """Put a successor in the place of a worker; why that failed, or ""."""
        try:
            why = await self._fleet.replace(index, self._grace())
        except Exception as error:  # noqa: BLE001 - "running" would last for ever
            why = f"{type(error).__name__}: {error}"
        if why:
            self._report("restart failed", {"worker": index, "why": why})
        return why
