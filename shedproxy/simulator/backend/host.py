"""One machine with slots: so many calls at a time, the rest queues first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shedproxy.simulator.call import Call
from shedproxy.simulator.engine import Engine

__all__ = ["Host", "OnDone"]

OnDone = Callable[[Call, int], None]
"""The backend's answer to a call, with its status (0: the connection broke)."""


class Host:
    """Slots, a queue, and what can happen to them. Work under a lock holds its slot and waits."""

    __slots__ = (
        "_engine",
        "_inside",
        "_lock_is_held",
        "_lock_waiting",
        "_on_done",
        "_pause_total_ns",
        "_paused_until",
        "_queue",
        "_queue_max",
        "busy_ns",
        "factor",
        "is_up",
        "load",
        "running",
        "slots",
    )

    def __init__(
        self,
        engine: Engine,
        *,
        slots: int,
        on_done: OnDone,
        queue_max: int | None = None,
        may_die: bool = False,
    ) -> None:
        self._engine = engine
        self._on_done = on_done
        self._queue: deque[Call] = deque()
        self._queue_max = queue_max
        self._inside: set[Call] | None = set() if may_die else None
        self._paused_until = 0
        self._pause_total_ns = 0
        self._lock_is_held = False
        self._lock_waiting: deque[Call] = deque()
        self.slots = slots
        self.running = 0
        """Slots taken: a call takes as many as its cost."""
        self.load = 0
        """Calls running and queued, those that nobody waits for included."""
        self.factor = 1.0
        """Of this machine's service times."""
        self.is_up = True
        self.busy_ns = 0
        """Slot time of work done, whoever waited for it."""

    def submit(self, call: Call) -> None:
        """Work on it, now or in turn; 503 when the queue is full."""
        call.host = self
        if not self._queue and self._has_room(call):
            self.load += 1
            self._start(call)
        elif self._queue_max is not None and len(self._queue) >= self._queue_max:
            # Through the clock: whoever gets the slot instead may be turned away here as well.
            self._engine.at(self._engine.now, self._turn_away, call)
        else:
            self.load += 1
            self._queue.append(call)

    def stop(self, call: Call) -> None:
        """The client left and the work stops with it."""
        if call.left_backend:
            return
        call.left_backend = True
        if call.is_running:
            self.load -= 1
            self.busy_ns += self._done_so_far_ns(call)
            self._leave_slot(call)
        elif call in self._queue:
            self.load -= 1
            self._queue.remove(call)

    def pause(self, length_ns: int) -> None:
        """Nothing moves for so long (garbage collection)."""
        now = self._engine.now
        begins = max(now, self._paused_until)
        ends = now + length_ns
        if ends > begins:
            self._pause_total_ns += ends - begins
            self._paused_until = ends

    def resize(self, slots: int) -> None:
        """More or fewer slots; what runs beyond goes on to its end."""
        self.slots = slots
        self._fill()

    def lose(self) -> None:
        """The machine is gone: what it had breaks."""
        assert self._inside is not None, "the host was not made to die"
        self.is_up = False
        broken = [*sorted(self._inside, key=lambda call: call.serial), *self._queue]
        self.busy_ns += sum(self._done_so_far_ns(call) for call in self._inside)
        self._inside.clear()
        self._queue.clear()
        self._lock_waiting.clear()
        self.load = self.running = 0
        for call in broken:
            call.left_backend = True
            self._on_done(call, 0)

    def _has_room(self, call: Call) -> bool:
        # One wider than the machine runs alone, or it never would.
        return self.running + call.info.cost <= self.slots or not self.running

    def _turn_away(self, call: Call) -> None:
        if not call.left_backend:
            call.left_backend = True
            self._on_done(call, 503)

    def _start(self, call: Call) -> None:
        self.running += call.info.cost
        call.is_running = True
        if self._inside is not None:
            self._inside.add(call)
        if call.needs_lock:
            if self._lock_is_held:
                self._lock_waiting.append(call)
                return
            self._lock_is_held = True
        self._work(call)

    def _work(self, call: Call) -> None:
        now = self._engine.now
        begins = max(now, self._paused_until)
        call.mark = self._pause_total_ns
        length_ns = int(call.work_ns * self.factor)
        call.spent_ns = length_ns * call.info.cost
        call.due_at = begins + length_ns
        self._engine.at(begins + length_ns, self._finish, call)

    def _finish(self, call: Call) -> None:
        if call.left_backend:
            return
        if call.mark != self._pause_total_ns:
            # It stood still for as long as pauses began since.
            call.due_at += self._pause_total_ns - call.mark
            call.mark = self._pause_total_ns
            self._engine.at(call.due_at, self._finish, call)
            return
        call.left_backend = True
        self.busy_ns += call.spent_ns
        self.load -= 1
        self._leave_slot(call)
        self._on_done(call, 200)

    def _done_so_far_ns(self, call: Call) -> int:
        """Of a running call; nothing if it waits for the lock."""
        late_ns = self._pause_total_ns - call.mark
        rest_ns = call.due_at + late_ns - max(self._engine.now, self._paused_until)
        return call.spent_ns - rest_ns * call.info.cost if call.spent_ns else 0

    def _leave_slot(self, call: Call) -> None:
        self.running -= call.info.cost
        call.is_running = False
        if self._inside is not None:
            self._inside.discard(call)
        if call.needs_lock:
            if call in self._lock_waiting:
                self._lock_waiting.remove(call)
            else:
                self._pass_lock_on()
        self._fill()

    def _pass_lock_on(self) -> None:
        if self._lock_waiting:
            self._work(self._lock_waiting.popleft())
        else:
            self._lock_is_held = False

    def _fill(self) -> None:
        queue = self._queue
        while queue and self._has_room(queue[0]):
            self._start(queue.popleft())
