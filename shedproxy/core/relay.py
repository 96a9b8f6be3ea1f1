"""What followers measure, handed to the leader of the workers that share a limit.

Of connections dealt evenly among four workers the leader sees a quarter: its windows fill four
times as slowly, and a time at low in-flight, which everybody pays for, lasts four times as long. So
each follower leaves what it saw in a ring of its own in the shared page, and the leader takes it
from there when it judges its window.

A ring has one writer and one reader. The writer counts up after it has written; the reader leaves
out what may have been overwritten while it read. A ring that nobody empties keeps the newest, and
what is lost is a sample among many. So is what is above some 1600 a second: where so much is
measured, the leader has as much of its own. But of all that is told in a turn, one is kept for
whoever was served: what speaks against the service must not be heard alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from shedproxy.core.heavy_flows import FLOW_BITS
from shedproxy.core.sharding import NO_PLACE, PLACE_BITS
from shedproxy.core.units import NS_PER_MS, Instant

__all__ = [
    "CENSORED",
    "LEFT",
    "ORPHANED",
    "OVERLOAD",
    "RELAY_WORDS",
    "SAMPLE",
    "Relayed",
    "SampleRelay",
]

_SLOTS: Final = 16
_SLOT_WORDS: Final = 3
RELAY_WORDS: Final = 1 + _SLOTS * _SLOT_WORDS
"""Words of a worker per cell: how many it has written, and the last of them."""

_TURN_NS: Final = 5 * NS_PER_MS
_TURN_MOST: Final = 8
"""So many in a turn: the reader comes once in it, and finds two turns at most."""

_ROUTES_MAX: Final = 1024
_PRIME: Final = 4_294_967_291
"""The largest below 2^32. `hash` of a route is another number in every process."""
# The third word: kind, place, in flight and route, from the top. Its highest bit is a sign.
_ROUTE_BITS: Final = 32
_ROUTE_MASK: Final = (1 << _ROUTE_BITS) - 1
_IN_FLIGHT_BITS: Final = 19
_IN_FLIGHT_MAX: Final = (1 << _IN_FLIGHT_BITS) - 1
_PLACE_AT: Final = _ROUTE_BITS + _IN_FLIGHT_BITS
_PLACE_SHIFT: Final = PLACE_BITS - FLOW_BITS
_PLACE_MASK: Final = (1 << FLOW_BITS + 1) - 1
_KIND_AT: Final = _PLACE_AT + FLOW_BITS + 1


SAMPLE: Final = 0
"""What was seen: a latency,"""
ORPHANED: Final = 1
"""one whose client had left before,"""
CENSORED: Final = 2
"""a client that left, and what its work took at least,"""
LEFT: Final = 3
"""a client that left after a long wait, without an answer,"""
OVERLOAD: Final = 4
"""or hard evidence."""


class Relayed(NamedTuple):
    """Something that another worker saw."""

    kind: int
    route: str
    """Empty: one that we have not seen."""
    elapsed_ns: int
    in_flight: int
    """Of all workers, when it was admitted."""
    admitted_at: Instant
    place: int
    """The tenant's, as far as `core/heavy_flows` looks at it; `NO_PLACE`: nobody's."""


class SampleRelay:
    """One worker's view of the rings of a cell.

    Args:
        words: `RELAY_WORDS` integers of eight bytes for each worker, one worker's after another's.
        workers: how many have a ring.
        own: which is ours.
    """

    __slots__ = (
        "_known",
        "_names",
        "_numbers",
        "_own",
        "_read",
        "_turn_ends_at",
        "_turn_left",
        "_words",
        "_workers",
        "_written",
    )

    def __init__(self, words: memoryview[int], *, workers: int, own: int) -> None:
        self._words = words
        self._workers = workers
        self._own = own
        # Who had the ring before has told so many.
        self._written = words[own * RELAY_WORDS]
        self._read = [0] * workers
        self._turn_ends_at = 0
        self._turn_left = 0
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._known = 0
        self.skip()

    def tell(
        self,
        kind: int,
        route: str,
        elapsed_ns: int,
        in_flight: int,
        admitted_at: Instant,
        now: Instant,
        place: int = NO_PLACE,
    ) -> None:
        """Leave something for the leader, unless there was enough lately."""
        if now >= self._turn_ends_at:
            self._turn_ends_at = now + _TURN_NS
            self._turn_left = _TURN_MOST
        # The last one is for whoever is served: of many who left it says that they were no row.
        if self._turn_left <= (kind != SAMPLE):
            return
        self._turn_left -= 1
        number = self._numbers.get(route)
        if number is None:
            number = self._number(route)
        words, written = self._words, self._written
        start = self._own * RELAY_WORDS
        slot = start + 1 + written % _SLOTS * _SLOT_WORDS
        words[slot] = elapsed_ns
        words[slot + 1] = admitted_at
        words[slot + 2] = (
            kind << _KIND_AT
            | (place >> _PLACE_SHIFT) + 1 << _PLACE_AT
            | min(in_flight, _IN_FLIGHT_MAX) << _ROUTE_BITS
            | number
        )
        words[start] = self._written = written + 1

    def skip(self) -> None:
        """What was told so far was for somebody else."""
        for worker in range(self._workers):
            self._read[worker] = self._words[worker * RELAY_WORDS]

    def learn(self, routes: Iterable[str], count: int) -> None:
        """Routes that we have seen, `count` of them: others mean nothing to us."""
        if count != self._known:
            self._known = count
            self._names = {self._number(route): route for route in routes}

    def take(self) -> list[Relayed]:
        """What the others have told since; of each the last dozen."""
        found: list[Relayed] = []
        for worker in range(self._workers):
            if worker == self._own:
                continue
            start = worker * RELAY_WORDS
            written = self._words[start]
            if written != self._read[worker]:
                self._take_from(start, self._read[worker], written, found)
                self._read[worker] = written
        return found

    def _take_from(self, start: int, read: int, written: int, found: list[Relayed]) -> None:
        words = self._words
        # The writer may be in the middle of the next, in the place of the oldest.
        first = max(read, written - _SLOTS + 1)
        taken: list[tuple[int, int, int]] = []
        for serial in range(first, written):
            slot = start + 1 + serial % _SLOTS * _SLOT_WORDS
            taken.append((words[slot], words[slot + 1], words[slot + 2]))
        # And it may have gone on meanwhile.
        oldest = words[start] - _SLOTS + 1
        for serial, (elapsed_ns, admitted_at, packed) in zip(
            range(first, written), taken, strict=True
        ):
            if serial >= oldest:
                at = packed >> _PLACE_AT & _PLACE_MASK
                found.append(
                    Relayed(
                        packed >> _KIND_AT,
                        self._names.get(packed & _ROUTE_MASK, ""),
                        elapsed_ns,
                        packed >> _ROUTE_BITS & _IN_FLIGHT_MAX,
                        Instant(admitted_at),
                        at - 1 << _PLACE_SHIFT if at else NO_PLACE,
                    )
                )

    def _number(self, route: str) -> int:
        number = int.from_bytes(route.encode(), "little") % _PRIME
        if len(self._numbers) < _ROUTES_MAX:
            self._numbers[route] = number
        return number
