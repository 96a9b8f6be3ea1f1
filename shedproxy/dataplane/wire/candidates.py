"""Upstreams as candidates for a request, and which of them is taken. Pure.

The fewest in use wins, ties go round. Where zones are named, the proxy's own comes first, as long
as enough of it is in service: what it lacks of 1/1.4 of its upstreams goes to other zones in
proportion (the over-provisioning factor of Envoy's priority levels), so that a zone that has lost
hosts is not given all of what it had. A second try goes to another zone than the first, and a zone
that is weighed away gets what nobody else can take. So does a host that was taken out, and one that
comes back counts as more in use than it is, by the part that it may have.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

from shedproxy.core import FULL_WEIGHT, Instant, Lane
from shedproxy.dataplane.wire.health import Health

__all__ = ["CONTROL_CONNECTIONS_MAX", "Chooser", "Connections", "Upstream"]

# Before Python 3.12 a look-up of an enum's member costs more than a call: this is hot.
_DATA: Final = Lane.DATA

C = TypeVar("C", bound=Hashable)

CONTROL_CONNECTIONS_MAX = 4
"""Connections per upstream that only control requests use, outside the configured bound."""

_ENOUGH_OF: Final = 7
_ENOUGH: Final = 5
"""A zone with 5 of 7 upstreams in service takes all of its own proxies' requests."""
_FAR: Final = 1
_TRIED: Final = 2
_AWAY: Final = 4


class Connections(Generic[C]):
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

    __slots__ = ("control", "data", "generation", "is_away", "is_retired", "key", "zone")

    def __init__(self, key: str, connections_max: int) -> None:
        super().__init__()
        self.key = key
        self.zone = ""
        self.is_away = False
        """Its zone is weighed away."""
        self.data: Connections[C] = Connections(connections_max)
        self.control: Connections[C] = Connections(CONTROL_CONNECTIONS_MAX)
        self.generation = 0
        """Of its addresses; the caller's: connections of an earlier one are not used again."""
        self.is_retired = False
        """No longer configured: what is in use ends, nothing new begins."""

    def retire(self) -> None:
        """Nobody is given it any more."""
        self.is_retired = True
        self.data.in_use_max = self.control.in_use_max = 0

    def lane(self, lane: Lane) -> Connections[C]:
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

    def has_room(self, side: Connections[C], now: Instant) -> bool:
        """Whether it may be given one more request now."""
        if side.in_use >= side.in_use_max:
            return False
        if self.out_until is not None and not self.is_open(now):
            return False
        return self.warm_since is None or side.in_use < self.room(side.in_use_max, now)


class Chooser(Generic[C]):
    """Chooses among candidates; remembers whose turn it is, and nothing else."""

    __slots__ = ("_next", "_owed", "has_zones", "own_zone")

    def __init__(self) -> None:
        self._next = 0
        self._owed = 0
        """What other zones are to get for the present turns, in parts of `_ENOUGH`."""
        self.own_zone = ""
        self.has_zones = False

    def choose(
        self,
        candidates: Sequence[Upstream[C]],
        now: Instant,
        lane: Lane,
        tried: Sequence[Upstream[C]],
    ) -> Upstream[C] | None:
        """The best one with room that was not tried before, or None."""
        if self.has_zones:
            return self._choose_by_zone(candidates, now, lane, tried)
        count = len(candidates)
        best: Upstream[C] | None = None
        spare: Upstream[C] | None = None
        best_load = best_index = 0
        for index in range(self._next, self._next + count):
            upstream = candidates[index % count]
            if tried and upstream in tried:
                continue
            if not upstream.has_room(upstream.lane(lane), now):
                continue
            load = upstream.load(now)
            if upstream.weight != FULL_WEIGHT:
                if not upstream.weight:
                    spare = upstream
                    continue
                load = upstream.weighed(load, count)
            if best is None or load < best_load:
                best, best_load, best_index = upstream, load, index
        if best is None:
            return spare
        best.credit = 0
        self._next = (best_index + 1) % count
        return best

    def _choose_by_zone(
        self,
        candidates: Sequence[Upstream[C]],
        now: Instant,
        lane: Lane,
        tried: Sequence[Upstream[C]],
    ) -> Upstream[C] | None:
        lost_zones = [upstream.zone for upstream in tried]
        count = len(candidates)
        best: list[Upstream[C] | None] = [None] * (2 * _AWAY)
        loads = [0] * (2 * _AWAY)
        near = near_in_service = 0
        for index in range(self._next, self._next + count):
            upstream = candidates[index % count]
            rank = _FAR
            if upstream.zone == self.own_zone:
                rank = 0
                near += 1
                near_in_service += upstream.out_until is None and upstream.weight > 0
            if upstream in tried or not upstream.has_room(upstream.lane(lane), now):
                continue
            if upstream.zone in lost_zones:
                rank += _TRIED
            load = upstream.load(now)
            if upstream.is_away or not upstream.weight:
                rank += _AWAY
            elif upstream.weight != FULL_WEIGHT:
                load = upstream.weighed(load, count)
            if best[rank] is None or load < loads[rank]:
                best[rank], loads[rank] = upstream, load
        chosen, far = best[0], best[_FAR]
        if chosen is None or (far is not None and self._owes(near, near_in_service)):
            chosen = far
        if chosen is None:
            chosen = next((upstream for upstream in best[_TRIED:] if upstream is not None), None)
        if chosen is not None:
            chosen.credit = 0
        if count:
            self._next = (self._next + 1) % count
        return chosen

    def _owes(self, near: int, in_service: int) -> bool:
        """Whether this turn is for another zone, because too little of the own one is there."""
        if in_service * _ENOUGH_OF >= near * _ENOUGH:
            self._owed = 0
            return False
        whole = near * _ENOUGH
        self._owed += whole - in_service * _ENOUGH_OF
        if self._owed < whole:
            return False
        self._owed -= whole
        return True
