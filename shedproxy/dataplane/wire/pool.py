"""The upstreams of one cell: which one next, and which of its connections. Pure bookkeeping.

The pool never opens, closes or writes to anything. It holds opaque connection objects, is told
what happened and when, and answers with what the caller should do (`Effects`).

Choice: the fewest in use wins, ties go round. An attempt that failed counts as in use for a while
longer, because an upstream that fails fast is otherwise always the least loaded and draws all the
traffic.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from shedproxy.core import Instant, Lane
from shedproxy.dataplane.wire.health import NEVER, WARM_STEP_NS, Health

__all__ = ["NOTHING", "Effects", "Handover", "Slot", "Upstream", "UpstreamPool"]

# Before Python 3.12 a look-up of an enum's member costs more than a call: this is hot.
_DATA: Final = Lane.DATA

C = TypeVar("C", bound=Hashable)
W = TypeVar("W", bound=Hashable)

CONTROL_CONNECTIONS_MAX = 4
"""Connections per upstream that only control requests use, outside the configured bound."""


class _Lane(Generic[C]):
    """The connections of one lane to one upstream."""

    __slots__ = ("idle", "in_use", "in_use_max")

    def __init__(self, in_use_max: int) -> None:
        self.in_use_max = in_use_max
        self.in_use = 0
        """Connections a request holds, those being opened included."""
        self.idle: dict[C, Instant] = {}
        """Since when each has been idle, oldest first; the newest is taken first, so that a burst's
        connections age out."""


class Upstream(Health, Generic[C]):
    """One address of the cell and what is known of it. `key` is the caller's name for it."""

    __slots__ = ("control", "data", "generation", "is_retired", "key")

    def __init__(self, key: str, connections_max: int) -> None:
        super().__init__()
        self.key = key
        self.data: _Lane[C] = _Lane(connections_max)
        self.control: _Lane[C] = _Lane(CONTROL_CONNECTIONS_MAX)
        self.generation = 0
        """Of its addresses; the caller's: connections of an earlier one are not used again."""
        self.is_retired = False
        """No longer configured: what is in use ends, nothing new begins."""

    def lane(self, lane: Lane) -> _Lane[C]:
        """The connections of one lane."""
        return self.data if lane is _DATA else self.control

    def load(self, now: Instant) -> int:
        """Requests on it, and the failed ones that still count."""
        ghosts = self.ghosts
        if not ghosts:
            return self.data.in_use + self.control.in_use
        while ghosts and ghosts[0] <= now:
            ghosts.popleft()
        return self.data.in_use + self.control.in_use + len(ghosts)


class Slot(Generic[C]):
    """What a request may use: an idle connection, or None for "open one"."""

    __slots__ = ("connection", "idle_since", "lane", "upstream")

    def __init__(
        self,
        upstream: Upstream[C],
        connection: C | None,
        lane: _Lane[C],
        idle_since: Instant = NEVER,
    ) -> None:
        self.upstream = upstream
        self.connection = connection
        self.lane = lane
        self.idle_since = idle_since
        """Of that connection."""


class Handover(NamedTuple, Generic[C, W]):
    """A waiter's turn has come."""

    waiter: W
    slot: Slot[C]


class Effects(NamedTuple, Generic[C, W]):
    """What the caller is to do now."""

    close: Sequence[C] = ()
    """Connections the pool has let go of."""
    handovers: Sequence[Handover[C, W]] = ()
    orphans: Sequence[W] = ()
    """Waiters that no upstream in service is left for."""


NOTHING: Final[Effects[Any, Any]] = Effects()
"""The usual ones."""


class UpstreamPool(Generic[C, W]):
    """The upstreams of one cell."""

    __slots__ = (
        "_connections_max",
        "_fail_after",
        "_idle_max_ns",
        "_next",
        "_retry_after_ns",
        "_waiters",
        "upstreams",
    )

    def __init__(
        self,
        keys: Sequence[str],
        *,
        connections_max: int = 512,
        fail_after: int = 3,
        retry_after_ns: int = 1_000_000_000,
        idle_max_ns: int = 15_000_000_000,
    ) -> None:
        self._connections_max = connections_max
        self._fail_after = fail_after
        self._retry_after_ns = retry_after_ns
        self._idle_max_ns = idle_max_ns
        self._waiters: OrderedDict[W, None] = OrderedDict()
        self._next = 0
        self.upstreams: list[Upstream[C]] = [Upstream(key, connections_max) for key in keys]

    # --- Taking -----------------------------------------------------------------------------

    def acquire(
        self,
        *,
        now: Instant,
        lane: Lane = _DATA,
        avoid: Upstream[C] | None = None,
    ) -> Slot[C] | None:
        """A connection of the best upstream, or None when there is none in service or no room.

        `avoid` is the upstream an earlier attempt failed on: it is taken only when it is the only
        one. The slot goes back with `put_idle` or `forget`, exactly once.
        """
        upstream = self._choose(now, lane, avoid)
        if upstream is None and avoid is not None:
            upstream = self._choose(now, lane, None)
        if upstream is None:
            return None
        if upstream.out_until is not None:
            upstream.begin_trial(now)
        side = upstream.lane(lane)
        side.in_use += 1
        if side.idle:
            connection, idle_since = side.idle.popitem()
            return Slot(upstream, connection, side, idle_since)
        return Slot(upstream, None, side)

    def wait(self, waiter: W) -> None:
        """Stand in line for a connection of the data lane, after `acquire` had none."""
        self._waiters[waiter] = None

    def withdraw(self, waiter: W) -> bool:
        """Leave the line; False when not in it (any more)."""
        if waiter not in self._waiters:
            return False
        del self._waiters[waiter]
        return True

    @property
    def waiting(self) -> int:
        """Waiters in line."""
        return len(self._waiters)

    def healthy_count(self, *, now: Instant) -> int:
        """Upstreams that may be given a request now, one on trial included."""
        return sum(upstream.is_open(now) for upstream in self.upstreams)

    # --- Giving back ------------------------------------------------------------------------

    def put_idle(self, slot: Slot[C], connection: C, *, now: Instant) -> Effects[C, W]:
        """The exchange is over and the connection may carry another."""
        side = slot.lane
        side.in_use -= 1
        if slot.upstream.is_retired:
            return self._settle((connection,), now)
        side.idle[connection] = now
        return self._settle((), now) if self._waiters else NOTHING

    def forget(self, slot: Slot[C], *, now: Instant) -> Effects[C, W]:
        """The exchange is over and its connection is closed, or was never opened."""
        slot.lane.in_use -= 1
        return self._settle((), now) if self._waiters else NOTHING

    def forget_idle(self, upstream: Upstream[C], connection: C) -> bool:
        """An idle connection was closed by its upstream; False when it was not idle here."""
        return (
            upstream.data.idle.pop(connection, None) is not None
            or upstream.control.idle.pop(connection, None) is not None
        )

    def tick(self, *, now: Instant) -> Effects[C, W]:
        """What time alone changes: connections idle for too long, and more room after a return."""
        close: list[C] = []
        for upstream in self.upstreams:
            for side in (upstream.data, upstream.control):
                idle = side.idle
                while idle and now - next(iter(idle.values())) >= self._idle_max_ns:
                    oldest = next(iter(idle))
                    del idle[oldest]
                    close.append(oldest)
        return self._settle(close, now) if close or self._waiters else NOTHING

    def close_idle(self) -> Sequence[C]:
        """All idle connections, to be closed: the process is going."""
        return [connection for upstream in self.upstreams for connection in _take_idle(upstream)]

    # --- Health -----------------------------------------------------------------------------

    def on_failure(
        self, upstream: Upstream[C], *, now: Instant, is_connected: bool = False
    ) -> bool:
        """A connect failed, or (`is_connected`) a connection gave no answer; True when this takes
        the upstream out of service. To be called before `forget`.
        """
        return upstream.failed(
            now,
            fail_after=self._fail_after,
            probe_every_ns=self._retry_after_ns,
            is_connected=is_connected,
        )

    def due_probes(self, *, now: Instant) -> Sequence[Upstream[C]]:
        """Those out that are to be probed now; when to do so next is planned."""
        due = [upstream for upstream in self.upstreams if upstream.probe_at <= now]
        for upstream in due:
            upstream.plan_probe(now, probe_every_ns=self._retry_after_ns)
        return due

    def on_connected(self, upstream: Upstream[C], connection: C, *, now: Instant) -> Effects[C, W]:
        """A probe connected; what it opened may carry a request."""
        side = upstream.data
        close: tuple[C, ...] = ()
        if upstream.is_retired or side.in_use + len(side.idle) >= side.in_use_max:
            close = (connection,)
        else:
            side.idle[connection] = now
        upstream.probe_connected(now, fail_after=self._fail_after)
        return self._settle(close, now) if close or self._waiters else NOTHING

    def next_change_at(self, *, now: Instant) -> Instant:
        """When time alone changes something that cannot wait for a `tick`; NEVER included."""
        at = NEVER
        for upstream in self.upstreams:
            at = min(at, upstream.probe_at)
            if upstream.out_until is not None and upstream.out_until > now:
                at = min(at, upstream.out_until)
            if self._waiters and upstream.warm_since is not None:
                at = min(at, Instant(now + WARM_STEP_NS))
        return at

    # --- Configuration ----------------------------------------------------------------------

    def apply(
        self,
        keys: Sequence[str],
        *,
        connections_max: int,
        fail_after: int,
        retry_after_ns: int,
        idle_max_ns: int,
        now: Instant,
    ) -> Effects[C, W]:
        """Change the upstreams or their bounds. What is known of those that stay is kept; on
        those that go, exchanges end and idle connections are closed.
        """
        self._connections_max = connections_max
        self._fail_after = fail_after
        self._retry_after_ns = retry_after_ns
        self._idle_max_ns = idle_max_ns
        known = {upstream.key: upstream for upstream in self.upstreams}
        self.upstreams = [
            known.pop(key) if key in known else Upstream(key, connections_max)
            for key in dict.fromkeys(keys)
        ]
        for upstream in self.upstreams:
            upstream.data.in_use_max = connections_max
        close: list[C] = []
        for upstream in known.values():
            upstream.is_retired = True
            close.extend(_take_idle(upstream))
        return self._settle(close, now)

    # --- Inside -----------------------------------------------------------------------------

    def _choose(self, now: Instant, lane: Lane, avoid: Upstream[C] | None) -> Upstream[C] | None:
        upstreams = self.upstreams
        count = len(upstreams)
        best: Upstream[C] | None = None
        best_load = best_index = 0
        for index in range(self._next, self._next + count):
            upstream = upstreams[index % count]
            side = upstream.lane(lane)
            if side.in_use >= side.in_use_max or upstream is avoid:
                continue
            if upstream.out_until is not None and not upstream.is_open(now):
                continue
            if upstream.warm_since is not None and side.in_use >= upstream.room(
                side.in_use_max, now
            ):
                continue
            load = upstream.load(now)
            if best is None or load < best_load:
                best, best_load, best_index = upstream, load, index
        if best is not None:
            self._next = (best_index + 1) % count
        return best

    def _settle(self, close: Sequence[C], now: Instant) -> Effects[C, W]:
        """Give waiters what is free; without any upstream in service they wait for nothing."""
        handovers: list[Handover[C, W]] = []
        waiters = self._waiters
        while waiters:
            slot = self.acquire(now=now)
            if slot is None:
                break
            handovers.append(Handover(waiters.popitem(last=False)[0], slot))
        orphans: list[W] = []
        if waiters and not any(u.out_until is None for u in self.upstreams):
            orphans = list(waiters)
            waiters.clear()
        return Effects(close, handovers, orphans)


def _take_idle(upstream: Upstream[C]) -> list[C]:
    taken = [*upstream.data.idle, *upstream.control.idle]
    upstream.data.idle.clear()
    upstream.control.idle.clear()
    return taken
