"""Machines whose speed depends on how many are inside: shared cores, contention, coherency.

Every call inside advances at the same pace, `pace(n)` of full speed with n inside, so that one
virtual clock per machine ("work done for each") orders all departures: a call that enters at
virtual time v with work w leaves at v + w (Kleinrock's processor sharing).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush

from shedproxy.simulator.backend.host import OnDone
from shedproxy.simulator.call import Call
from shedproxy.simulator.engine import Engine

__all__ = ["SharingHost", "best_usl_concurrency", "shared_pace", "usl_pace"]

Pace = Callable[[int], float]
"""Speed of each of n calls inside, 1.0 being that of one alone."""


def shared_pace(cores: int) -> Pace:
    """Processor sharing: full speed up to one call per core, then the cores are divided."""
    return lambda count: 1.0 if count <= cores else cores / count


def usl_pace(alpha: float, beta: float) -> Pace:
    """Gunther's universal scalability law: X(n) = n / (1 + alpha (n - 1) + beta n (n - 1))."""
    return lambda count: 1.0 / (1.0 + alpha * (count - 1) + beta * count * (count - 1))


def best_usl_concurrency(alpha: float, beta: float, *, at_most: int = 1000) -> int:
    """Where the law's throughput is highest."""
    if beta <= 0:
        return at_most
    return max(1, min(at_most, round(math.sqrt((1 - alpha) / beta))))


class SharingHost:
    """One machine; everybody inside at once, each slower the more there are."""

    __slots__ = (
        "_engine",
        "_generation",
        "_leaving",
        "_on_done",
        "_pace",
        "_paused_until",
        "_serial",
        "_updated_at",
        "_virtual_ns",
        "busy_ns",
        "factor",
        "is_up",
        "load",
        "slots",
    )

    def __init__(self, engine: Engine, *, slots: int, pace: Pace, on_done: OnDone) -> None:
        self._engine = engine
        self._pace = pace
        self._on_done = on_done
        self._leaving: list[tuple[float, int, Call]] = []
        self._serial = 0
        self._generation = 0
        self._virtual_ns = 0.0
        self._updated_at = 0
        self._paused_until = 0
        self.slots = slots
        """Cores, or the best concurrency: only for choosing between machines."""
        self.load = 0
        self.factor = 1.0
        self.is_up = True
        self.busy_ns = 0
        """Work done, whoever waited for it."""

    def submit(self, call: Call) -> None:
        """Let it in."""
        self._advance()
        call.host = self
        self.load += 1
        self._serial += 1
        call.spent_ns = int(call.work_ns * self.factor)
        due = self._virtual_ns + call.spent_ns
        call.due_at = int(due)
        heappush(self._leaving, (due, self._serial, call))
        self._plan()

    def stop(self, call: Call) -> None:
        """The client left and the work stops with it."""
        if not call.left_backend:
            self._advance()
            self._leave(call)
            self._plan()

    def pause(self, length_ns: int) -> None:
        """Nothing moves for so long."""
        self._advance()
        self._paused_until = max(self._paused_until, self._engine.now + length_ns)
        self._plan()

    def resize(self, slots: int) -> None:
        """More or fewer cores."""
        self._advance()
        self.slots = slots
        self._pace = shared_pace(slots)
        self._plan()

    def lose(self) -> None:
        """The machine is gone: what it had breaks."""
        self._advance()
        self.is_up = False
        self._generation += 1
        leaving, self._leaving = self._leaving, []
        for _, _, call in leaving:
            if not call.left_backend:
                self._leave(call)
                self._on_done(call, 0)

    def _leave(self, call: Call) -> None:
        """Out before its work is done."""
        call.left_backend = True
        self.load -= 1
        self.busy_ns += call.spent_ns - max(0, call.due_at - int(self._virtual_ns))

    def _advance(self) -> None:
        now = self._engine.now
        begins = max(self._updated_at, min(self._paused_until, now))
        self._updated_at = now
        if self.load and now > begins:
            self._virtual_ns += (now - begins) * self._pace(self.load)

    def _plan(self) -> None:
        """The next departure, as things stand; a change makes the plan stale."""
        self._generation += 1
        leaving = self._leaving
        while leaving and leaving[0][2].left_backend:
            heappop(leaving)
        if leaving:
            begins = max(self._engine.now, self._paused_until)
            rest_ns = (leaving[0][0] - self._virtual_ns) / self._pace(self.load)
            at = begins + max(0, math.ceil(rest_ns))
            self._engine.at(at, self._depart, self._generation)

    def _depart(self, generation: int) -> None:
        if generation != self._generation:
            return
        self._advance()
        _, _, call = heappop(self._leaving)
        call.left_backend = True
        self.busy_ns += call.spent_ns
        self.load -= 1
        self._plan()
        self._on_done(call, 200)
