"""The upstreams of one cell: which one next, and which of its connections. Pure bookkeeping.

The pool never opens, closes or writes to anything. It holds opaque connection objects, is told
what happened and when, and answers with what the caller should do (`Effects`).

Which is chosen is `candidates`' to say. An attempt that failed counts as in use for a while longer,
because an upstream that fails fast is otherwise always the least loaded and draws all the traffic.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from shedproxy.core import Instant, Lane
from shedproxy.dataplane.wire.candidates import (
    CONTROL_CONNECTIONS_MAX,
    Chooser,
    Connections,
    Upstream,
)
from shedproxy.dataplane.wire.hands import Hand
from shedproxy.dataplane.wire.health import NEVER, WARM_STEP_NS

__all__ = [
    "CONTROL_CONNECTIONS_MAX",
    "NOTHING",
    "Effects",
    "Handover",
    "Slot",
    "Upstream",
    "UpstreamPool",
]

# Before Python 3.12 a look-up of an enum's member costs more than a call: this is hot.
_DATA: Final = Lane.DATA

C = TypeVar("C", bound=Hashable)
W = TypeVar("W", bound=Hashable)


class Slot(Generic[C]):
    """What a request may use: an idle connection, or None for "open one"."""

    __slots__ = ("connection", "idle_since", "lane", "upstream")

    def __init__(
        self,
        upstream: Upstream[C],
        connection: C | None,
        lane: Connections[C],
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
        "_has_hands",
        "_idle_max_ns",
        "_retry_after_ns",
        "_waiters",
        "chooser",
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
        self._waiters: OrderedDict[W, Hand[C] | None] = OrderedDict()
        self._has_hands = False
        """Somebody in line may use some upstreams only."""
        self.chooser: Chooser[C] = Chooser()
        self.upstreams: list[Upstream[C]] = [Upstream(key, connections_max) for key in keys]

    # --- Taking -----------------------------------------------------------------------------

    def acquire(
        self,
        *,
        now: Instant,
        lane: Lane = _DATA,
        tried: Sequence[Upstream[C]] = (),
        hand: Hand[C] | None = None,
    ) -> Slot[C] | None:
        """A connection of the best upstream, or None when there is none in service or no room.

        `tried` are those that earlier attempts failed on: they are taken only when there is no
        other. With a `hand`, nobody outside it is: a request that is poison must not go round. The
        slot goes back with `put_idle` or `forget`, exactly once.
        """
        candidates = self.upstreams if hand is None else hand
        upstream = self.chooser.choose(candidates, now, lane, tried)
        if upstream is None and tried:
            upstream = self.chooser.choose(candidates, now, lane, ())
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

    def wait(self, waiter: W, hand: Hand[C] | None = None) -> None:
        """Stand in line for a connection of the data lane, after `acquire` had none."""
        self._waiters[waiter] = hand
        self._has_hands = self._has_hands or hand is not None

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

    def healthy_count(self, *, now: Instant, hand: Hand[C] | None = None) -> int:
        """Upstreams that may be given a request now, one on trial included."""
        candidates = self.upstreams if hand is None else hand
        return sum(not upstream.is_retired and upstream.is_open(now) for upstream in candidates)

    def others(self, tried: Sequence[Upstream[C]], hand: Hand[C] | None = None) -> Hand[C]:
        """Upstreams in service but those that were tried, of all or of a hand."""
        candidates = self.upstreams if hand is None else hand
        return tuple(
            [
                upstream
                for upstream in candidates
                if upstream.out_until is None and not upstream.is_retired and upstream not in tried
            ]
        )

    @property
    def in_service_count(self) -> int:
        """Upstreams in service: not on trial, nor left aside by zone or weight."""
        return sum(
            upstream.out_until is None and not upstream.is_away and upstream.weight > 0
            for upstream in self.upstreams
        )

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

    def take_oldest_idle(self) -> C | None:
        """The connection that has been idle for the longest, to be closed; None: all are busy."""
        oldest: dict[C, Instant] | None = None
        oldest_since = NEVER
        for upstream in self.upstreams:
            for idle in (upstream.data.idle, upstream.control.idle):
                if idle and next(iter(idle.values())) < oldest_since:
                    oldest, oldest_since = idle, next(iter(idle.values()))
        if oldest is None:
            return None
        connection = next(iter(oldest))
        del oldest[connection]
        return connection

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
        zones: Sequence[str] = (),
        own_zone: str = "",
    ) -> Effects[C, W]:
        """Change the upstreams or their bounds. What is known of those that stay is kept; on
        those that go, exchanges end and idle connections are closed. `zones` are those of `keys`,
        in their order; without them there are none.
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
        for key, zone in zip(keys, zones, strict=False):
            next(upstream for upstream in self.upstreams if upstream.key == key).zone = zone
        self.chooser.own_zone = own_zone
        self.chooser.has_zones = len({upstream.zone for upstream in self.upstreams}) > 1
        close: list[C] = []
        for upstream in known.values():
            upstream.retire()
            close.extend(_take_idle(upstream))
        return self._settle(close, now)

    def weigh_away(self, zones: Collection[str]) -> None:
        """From now on upstreams of these zones get what no other can take. No zone: the usual."""
        for upstream in self.upstreams:
            upstream.is_away = upstream.zone in zones

    # --- Inside -----------------------------------------------------------------------------

    def _settle(self, close: Sequence[C], now: Instant) -> Effects[C, W]:
        """Give waiters what is free; without any upstream in service they wait for nothing."""
        if self._has_hands:
            return self._settle_by_hand(close, now)
        handovers: list[Handover[C, W]] = []
        waiters = self._waiters
        while waiters:
            slot = self.acquire(now=now)
            if slot is None:
                break
            handovers.append(Handover(waiters.popitem(last=False)[0], slot))
        orphans: list[W] = []
        if waiters and not _is_served(self.upstreams):
            orphans = list(waiters)
            waiters.clear()
        return Effects(close, handovers, orphans)

    def _settle_by_hand(self, close: Sequence[C], now: Instant) -> Effects[C, W]:
        """As `_settle`: who waits for a full hand is in nobody's way."""
        handovers: list[Handover[C, W]] = []
        orphans: list[W] = []
        full: dict[Hand[C] | None, bool] = {}
        for waiter, hand in tuple(self._waiters.items()):
            if hand not in full:
                slot = self.acquire(now=now, hand=hand)
                if slot is not None:
                    del self._waiters[waiter]
                    handovers.append(Handover(waiter, slot))
                    continue
                full[hand] = _is_served(self.upstreams if hand is None else hand)
            if not full[hand]:
                del self._waiters[waiter]
                orphans.append(waiter)
        self._has_hands = bool(self._waiters)
        return Effects(close, handovers, orphans)


def _is_served(candidates: Sequence[Upstream[C]]) -> bool:
    return any(upstream.out_until is None for upstream in candidates if not upstream.is_retired)


def _take_idle(upstream: Upstream[C]) -> list[C]:
    taken = [*upstream.data.idle, *upstream.control.idle]
    upstream.data.idle.clear()
    upstream.control.idle.clear()
    return taken
