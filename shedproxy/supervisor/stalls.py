"""Event-loop stalls: noticed from outside by a heartbeat that stays away, and named by their stack.

A worker cannot say that it is stalled while it is. It is asked by a signal for the stack of its
main thread, once per stall; the answer is logged and shown on the status page, and stalls are
counted by place, and with their time. A system call that a library does not begin again may end by
the signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.core import Instant, Nanos, milliseconds, seconds, to_milliseconds, to_seconds
from shedproxy.dataplane.share_page import SharePage, WorkerState
from shedproxy.dataplane.stack import STACK_SIGNAL
from shedproxy.supervisor.fleet import Fleet
from shedproxy.supervisor.own_stalls import OwnStalls
from shedproxy.supervisor.process import WorkerProcess
from shedproxy.supervisor.stack_file import LOGGED_FRAMES, StackFile
from shedproxy.supervisor.stall_places import STOPPED, StallPlaces, place_of

__all__ = ["Stall", "StallWatch"]

_PERIOD = milliseconds(50)
"""Between two looks at the heartbeats."""
_BOUND_MIN = milliseconds(200)
"""Heartbeats come every 100 ms."""
_ANSWER_POLLS = 20
_ANSWER_POLL_S = 0.01
_LOG_PERIOD = seconds(10)
"""A worker that stalls in the same place again is logged once in this time."""
_SERVING = frozenset({WorkerState.SERVING, WorkerState.ANNOUNCED, WorkerState.DRAINING})


@dataclass(slots=True, kw_only=True)
class Stall:
    """One time that the loop of one worker did not turn."""

    worker: int
    pid: int
    began_at: Instant
    """Of the last heartbeat before."""
    wall: float
    """Seconds since the epoch, of when it was noticed."""
    length_ns: Nanos | None = None
    """Between the two heartbeats around it; None: it goes on."""
    stack: tuple[str, ...] = ()
    """Innermost first; empty when the worker could not be asked."""
    is_stopped: bool = False
    """The process was stopped by a signal; its code is not to blame."""

    def view(self, now: Instant) -> dict[str, Any]:
        """For the status page."""
        length_ns = now - self.began_at if self.length_ns is None else self.length_ns
        return {
            "at": round(self.wall, 3),
            "length_ms": round(to_milliseconds(length_ns), 1),
            "is_over": self.length_ns is not None,
            "is_stopped": self.is_stopped,
            "stack": list(self.stack),
        }


class StallWatch:
    """Looks at every worker's heartbeat.

    Args:
        bound: a heartbeat older than this is a stall; 0: nothing is looked at.
        report: takes an event and its facts.
    """

    def __init__(
        self,
        page: SharePage,
        fleet: Fleet,
        *,
        bound: Callable[[], Nanos],
        report: Callable[[str, dict[str, Any]], None],
        clock: Clock = monotonic_now,
    ) -> None:
        self._page = page
        self._fleet = fleet
        self._bound = bound
        self._report = report
        self._clock = clock
        self._looked_at = clock()
        self._open: dict[int, Stall] = {}
        self._last: dict[int, Stall] = {}
        self._logged: dict[tuple[int, tuple[str, ...]], Instant] = {}
        self._ended_ns = 0
        self.count = 0
        """Since the start, all workers."""
        self.places = StallPlaces()
        """The same by place, once it is known."""
        self.own = OwnStalls(bound=bound, report=report, clock=clock)

    @property
    def total_ns(self) -> int:
        """Time spent in stalls since the start, all workers, those that go on included."""
        now = self._clock()
        return self._ended_ns + sum(now - stall.began_at for stall in self._open.values())

    def last(self, index: int) -> dict[str, Any] | None:
        """The latest stall of a worker, for the status page."""
        stall = self._last.get(index)
        return None if stall is None else stall.view(self._clock())

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.gather(self._watch(), self.own.run())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(to_seconds(_PERIOD))
            for stall in self.look():
                await self.name(stall)

    def look(self) -> list[Stall]:
        """Notice the stalls that have begun and ended; those that have begun just now."""
        now, bound = self._clock(), self._bound() and max(self._bound(), _BOUND_MIN)
        late_ns, self._looked_at = now - self._looked_at - _PERIOD, now
        for index, stall in tuple(self._open.items()):
            self._see(self._fleet.workers[index], stall, now)
        if not bound or late_ns > bound // 2:
            # The supervisor was held up itself: if all of the host was, the workers do not know
            # yet that they may run on.
            return []
        return [
            self._begin(worker, now)
            for worker in self._fleet.workers
            if worker.index not in self._open and self._age(worker, now) > bound
        ]

    def _age(self, worker: WorkerProcess, now: Instant) -> int:
        """Of its heartbeat; 0 when it is not expected to have one."""
        view = self._page.worker(worker.region)
        if worker.ready_at is None or view.state not in _SERVING or not view.heartbeat:
            return 0
        return now - max(view.heartbeat, worker.ready_at)

    def _begin(self, worker: WorkerProcess, now: Instant) -> Stall:
        stall = Stall(
            worker=worker.index,
            pid=worker.pid,
            began_at=Instant(now - self._age(worker, now)),
            wall=wall_seconds(),
        )
        self.count += 1
        self._open[worker.index] = self._last[worker.index] = stall
        return stall

    def _see(self, worker: WorkerProcess, stall: Stall, now: Instant) -> None:
        """Whether it is over: the loop turned, or the process is another."""
        beat = self._page.worker(worker.region).heartbeat
        if worker.pid == stall.pid and beat <= stall.began_at:
            return
        end = beat if worker.pid == stall.pid else now
        stall.length_ns = Nanos(end - stall.began_at)
        self._ended_ns += stall.length_ns
        del self._open[worker.index]

    async def name(self, stall: Stall) -> None:
        """Ask the worker where it is, and say so."""
        stall.is_stopped = _is_stopped(stall.pid)
        worker = self._fleet.workers[stall.worker]
        if not stall.is_stopped and worker.pid == stall.pid and worker.stacks is not None:
            stall.stack = await _ask(worker.pid, worker.stacks)
        self.places.count(STOPPED if stall.is_stopped else place_of(stall.stack))
        self._log(stall)

    def _log(self, stall: Stall) -> None:
        now = self._clock()
        place = (stall.worker, stall.stack[:1])
        logged_at = self._logged.get(place)
        if logged_at is not None and now - logged_at < _LOG_PERIOD:
            return
        self._logged = {known: at for known, at in self._logged.items() if now - at < _LOG_PERIOD}
        self._logged[place] = now
        facts: dict[str, Any] = {"worker": stall.worker, "worker_pid": stall.pid}
        if stall.is_stopped:
            facts["why"] = "the process is stopped by a signal"
        else:
            facts["stack"] = list(stall.stack[:LOGGED_FRAMES])
        self._report("event loop stalled", facts)


async def _ask(pid: int, stacks: StackFile) -> tuple[str, ...]:
    """The stack of a process; empty when it does not get to answer."""
    stacks.clear()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, STACK_SIGNAL)
    for _ in range(_ANSWER_POLLS):
        await asyncio.sleep(_ANSWER_POLL_S)
        if stacks.is_closed:
            break
        if found := stacks.read():
            return found
    return ()


def _is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal; False where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - no Path for four bytes
            return stat.read().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    except (OSError, IndexError):
        return False
