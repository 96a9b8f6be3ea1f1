"""A rolling restart: every worker process is replaced by a new one, one at a time, under load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from shedproxy.core import Nanos
from shedproxy.supervisor.fleet import Fleet

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
        self._task: asyncio.Task[None] | None = None
        self._replaced = 0
        self._state = "none"
        self._why = ""

    def begin(self, cause: str) -> None:
        """Begin, unless one is under way or the workers have not all been ready yet."""
        if self._state == "running" or not self._fleet.is_started:
            return
        self._state, self._replaced, self._why = "running", 0, ""
        self._report("restarting", {"cause": cause, "workers": len(self._fleet.workers)})
        self._task = asyncio.create_task(self._run(), name="rolling restart")

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
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        for index in range(len(self._fleet.workers)):
            try:
                self._why = await self._fleet.replace(index, self._grace())
            except Exception as error:  # noqa: BLE001 - "running" would last for ever
                self._why = f"{type(error).__name__}: {error}"
            if self._why:
                self._state = "failed"
                self._report("restart failed", {"worker": index, "why": self._why})
                return
            self._replaced += 1
        self._state = "done"
        self._report("restarted", {"workers": self._replaced})
