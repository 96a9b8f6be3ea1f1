"""One coarse wheel for every deadline of a worker: no timer per request, no timer per connection.

A hashed wheel (Varghese and Lauck 1987) with lazy deadlines: moving a deadline to a later time is
one attribute store, because an item that is visited too early is simply put back. An item lies in
at most one slot, so that a closed connection is forgotten at once and not kept alive by the wheel.
Pure: time is an argument, and whoever owns the wheel decides when to turn it.
"""

from __future__ import annotations

from shedproxy.core import NS_PER_MS, Instant

__all__ = ["TICK_NS", "Timed", "TimerWheel"]

TICK_NS = 25 * NS_PER_MS
"""Resolution: an item is due at most this much after its deadline, and never before it."""


class Timed:
    """What has a deadline. A base and no protocol: its attributes are looked at all the time."""

    __slots__ = ("deadline_at", "wheel_tick")

    def __init__(self) -> None:
        self.deadline_at = 0
        """Instant in ns, written by whoever it is; 0 means none."""
        self.wheel_tick = -1
        """Belongs to the wheel."""

    def on_deadline(self, now: Instant) -> None:
        """The deadline has passed: see what it was for."""
        raise NotImplementedError


class TimerWheel:
    """Slots of one tick each; deadlines beyond the horizon are put back when it is reached."""

    def __init__(self, *, now: Instant, tick_ns: int = TICK_NS, slots: int = 1024) -> None:
        self.tick_ns = tick_ns
        self._slots: list[dict[Timed, None]] = [{} for _ in range(slots)]
        self._count = slots
        self._tick = now // tick_ns

    def __len__(self) -> int:
        return sum(map(len, self._slots))

    def watch(self, item: Timed) -> None:
        """Make sure that the item is visited once its `deadline_at` has passed.

        Needed after a deadline was set, and after it was moved to an earlier time; harmless and
        cheap otherwise.
        """
        # The tick that begins at or after the deadline: visits are never early.
        tick = -(-item.deadline_at // self.tick_ns)
        if 0 <= item.wheel_tick <= tick:
            return
        if item.wheel_tick >= 0:
            del self._slots[item.wheel_tick % self._count][item]
        self._put(item, tick)

    def forget(self, item: Timed) -> None:
        """Take the item out, if it is in."""
        if item.wheel_tick >= 0:
            del self._slots[item.wheel_tick % self._count][item]
            item.wheel_tick = -1

    def advance(self, now: Instant) -> list[Timed]:
        """Turn to `now` and return the items whose deadline has passed, each taken out."""
        tick_now = now // self.tick_ns
        due: list[Timed] = []
        # After a pause longer than the horizon one turn visits every slot.
        first = max(self._tick + 1, tick_now - self._count + 1)
        self._tick = max(self._tick, tick_now)
        for tick in range(first, tick_now + 1):
            slot = self._slots[tick % self._count]
            if not slot:
                continue
            self._slots[tick % self._count] = {}
            for item in slot:
                item.wheel_tick = -1
                deadline_at = item.deadline_at
                if not deadline_at:
                    continue
                if deadline_at <= now:
                    due.append(item)
                else:
                    self._put(item, -(-deadline_at // self.tick_ns))
        return due

    def _put(self, item: Timed, tick: int) -> None:
        tick = max(self._tick + 1, min(tick, self._tick + self._count - 1))
        item.wheel_tick = tick
        self._slots[tick % self._count][item] = None
