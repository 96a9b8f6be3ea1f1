"""Time of the loop, in turns: no cell's requests keep those of the others waiting for long.

Deficit round robin (Shreedhar and Varghese 1995) with the time that work took in place of bytes.
In every round a party, which is a cell or another kind of connection, may work for a quantum; what
one piece of work took longer is taken off its next quantum. What it has beyond that waits in its
order, until the loop has gone round and everybody else had a turn. While nobody else has work the
loop has gone round at once, so that no time is lost; and a party that has used its quantum in twice
that time or more begins another, so that nobody waits who needs less than half of the loop.

Bookkeeping alone: the clock and what wakes it are arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from shedproxy.core import NS_PER_MS, Instant

__all__ = ["QUANTUM_NS", "ROUND_NS", "Held", "Party", "Turns"]

QUANTUM_NS: Final = NS_PER_MS // 4
"""What a party may work at a time while others may be waiting: some ten requests. It is also what
a connection waits for to be accepted, one each time the loop goes round."""
ROUND_NS: Final = 2 * QUANTUM_NS
"""A round is over after so long although the loop has not gone round."""


class Held(Protocol):
    """Work that had to wait."""

    def on_turn(self) -> None:
        """Do it now; nothing when it has become pointless."""


class Party:
    """Who shares a quantum."""

    __slots__ = ("cell", "credit_ns", "held", "held_count", "held_ns", "round")

    def __init__(self, cell: str) -> None:
        self.cell = cell
        """Empty: of no cell."""
        self.credit_ns = QUANTUM_NS
        """Below 0: what it worked beyond its quanta."""
        self.round = 0
        """In which it was given a quantum last."""
        self.held: deque[tuple[Held, Instant]] = deque()
        """Oldest first, and since when."""
        self.held_count = 0
        self.held_ns = 0
        """How much was held, and for how long in all, since `take_held`."""

    def take_held(self) -> tuple[int, int]:
        """How much was held, and for how many ns in all, since the last call."""
        found = self.held_count, self.held_ns
        self.held_count = self.held_ns = 0
        return found


class Turns:
    """The parties of one loop.

    Args:
        clock: nanoseconds that never go back, above 0.
        wake: has `serve` called once, when the loop has gone round.
    """

    __slots__ = ("_backlog", "_began_at", "_clock", "_is_woken", "_parties", "_round", "_wake",
                 "control", "newcomers")  # fmt: skip

    def __init__(self, clock: Callable[[], Instant], wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._parties: dict[str, Party] = {}
        self._backlog: dict[Party, None] = {}
        """Parties in which something waits, or did a moment ago."""
        self._round = 0
        self._began_at: int = clock()
        self._is_woken = False
        self.newcomers = Party("")
        """Connections whose first request has not been read."""
        self.control = Party("")
        """Connections whose last request was one of the control lane."""

    def party(self, cell: str) -> Party:
        """That of a cell."""
        found = self._parties.get(cell)
        if found is None:
            found = self._parties[cell] = Party(cell)
        return found

    def keep(self, cells: Iterable[str]) -> None:
        """Forget all cells but these; what is held is still served."""
        self._parties = {cell: self.party(cell) for cell in cells}

    def parties(self) -> tuple[Party, ...]:
        """All there are."""
        return (self.newcomers, self.control, *self._parties.values())

    def enter(self, party: Party) -> Instant:
        """Begin a piece of work: pass the result to `leave`. 0: it has to wait, see `hold`."""
        if party.held:
            return Instant(0)
        now = self._clock()
        rounds = (now - self._began_at) // ROUND_NS
        if rounds:
            self._round += rounds
            self._began_at += rounds * ROUND_NS
        return now if self._has_credit(party) else Instant(0)

    def leave(self, party: Party, entered_at: Instant) -> None:
        """The piece of work is done."""
        party.credit_ns -= self._clock() - entered_at

    def hold(self, party: Party, work: Held) -> None:
        """Do this in the party's turn, behind what waits there already."""
        party.held.append((work, self._clock()))
        self._backlog[party] = None
        self._call()

    def serve(self) -> None:
        """The loop has gone round: a quantum for everybody, and do what waits."""
        self._is_woken = False
        self._round += 1
        self._began_at = self._clock()
        try:
            for party in tuple(self._backlog):
                self._serve(party)
        finally:
            if self._backlog:
                self._call()

    def _serve(self, party: Party) -> None:
        held, now = party.held, self._clock()
        while held and self._has_credit(party):
            work, since = held.popleft()
            party.held_count += 1
            party.held_ns += now - since
            began = now
            work.on_turn()
            now = self._clock()
            party.credit_ns -= now - began
        if not held:
            del self._backlog[party]

    def _has_credit(self, party: Party) -> bool:
        rounds = self._round - party.round
        if rounds:
            party.round = self._round
            party.credit_ns = min(QUANTUM_NS, party.credit_ns + rounds * QUANTUM_NS)
        return party.credit_ns > 0

    def _call(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._wake()
