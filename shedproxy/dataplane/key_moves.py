"""What a worker does about keys that change their cell: counts their work, and holds who comes.

A table of cells says of such a key that it is marked (served where it is; what runs is counted) or
held (nobody begins; who comes waits here until a table says where). The worker's service finds,
when such a table comes, what it has under way of those keys; from then on every request of them
comes by here, and no other does. Work counts until its permit is over: streams until they end,
and what nobody waits for any more until it has, or must have, ended.

Nothing here decides about a move. What is counted goes up to the supervisor, whose report is what
whoever decides goes by (`controlplane.move`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from shedproxy.core import (
    NS_PER_MS,
    NS_PER_S,
    Decision,
    Instant,
    MovePhase,
    Permit,
    Rejected,
    RejectReason,
    RequestInfo,
    Ticket,
    TicketState,
)

if TYPE_CHECKING:
    from shedproxy.dataplane.cell_keys import CellKeys
    from shedproxy.dataplane.driver import Driver

__all__ = ["HELD_MAX", "HELD_NS_MAX", "KeyMoves", "Mover", "Moving", "Present"]

HELD_MAX: Final = 1024
"""Requests that may wait here, of all keys."""
HELD_NS_MAX: Final = 10 * NS_PER_S
"""How long each may; less if its deadline is before."""
_TICK_NS: Final = 10 * NS_PER_MS
_HELD: Final = MovePhase.HELD
_WAITING: Final = TicketState.WAITING


class Mover(Protocol):
    """A request whose key moves."""

    def on_verdict(self, decision: Permit | Rejected) -> None:
        """The answer to its ticket."""

    def on_hold(self, ticket: Ticket) -> None:
        """It had a place in its cell's queue, and waits by this ticket now."""

    def on_place(self) -> None:
        """Its key has a cell again: it is to ask which, and to arrive there."""


class Present(NamedTuple):
    """A request that was there when its key began to move."""

    mover: Mover
    key: int
    permit: Permit | None
    ticket: Ticket | None


class Moving(NamedTuple):
    """What a worker says of the keys that move."""

    version: int
    """Of the table that it looks keys up in; 0: it has none."""
    work: int
    """Requests that may be at work."""
    streams: int
    """Those of them that have no end of their own."""
    held: int


class _Queued:
    """Stands between a ticket of the cell's queue and who waits for it."""

    __slots__ = ("_moves", "key", "mover")

    def __init__(self, moves: KeyMoves, mover: Mover, key: int) -> None:
        self._moves = moves
        self.mover = mover
        self.key = key

    def on_verdict(self, decision: Permit | Rejected) -> None:
        if type(decision) is Permit:
            self._moves.note_work(decision, self.key)
        self.mover.on_verdict(decision)


class KeyMoves:
    """Of one driver.

    Args:
        driver: decides on who need not wait here.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._keys: CellKeys | None = None
        self._work: dict[Permit, int] = {}
        self._left: dict[Permit, int] = {}
        """Of any key: work that nobody waits for, which no request leads to any more."""
        self._left_max = 64
        self._queued: dict[Ticket, _Queued] = {}
        self._held: dict[Ticket, _Queued] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._told = Moving(0, 0, 0, 0)
        self.on_change: Callable[[Moving], None] = lambda _moving: None
        """Told when something of it is another than before."""

    # --- tables -----------------------------------------------------------------------------

    def turn(self, keys: CellKeys | None, present: Callable[[], Iterable[Present]]) -> None:
        """Another table is in force.

        Args:
            keys: looks keys up in it; None: there is none.
            present: finds what is under way of keys that move in it.
        """
        self._keys = keys
        self._work = {permit: key for permit, key in self._work.items() if self._moves(key)}
        if keys is not None and keys.moving_count:
            for mover, key, permit, ticket in present():
                if permit is not None:
                    self._work[permit] = key
                elif ticket is not None and ticket not in self._held:
                    self._queued[ticket] = ticket.context = _Queued(self, mover, key)
            for permit, key in self._left.items():
                if self._moves(key):
                    self._work[permit] = key
        self._hold_queued()
        self._let_go()
        self.tick()

    def _moves(self, key: int) -> bool:
        return self._keys is not None and self._keys.phase_of(key) > 0

    def holds(self, key: int) -> bool:
        """Whether requests of a key (its hash) must wait."""
        return key != 0 and self._keys is not None and self._keys.phase_of(key) == _HELD

    def _hold_queued(self) -> None:
        """Who waits in the queue of the owner must not begin there."""
        for ticket, queued in list(self._queued.items()):
            if not self._moves(queued.key):
                del self._queued[ticket]
            elif ticket.state is _WAITING and ticket.context is queued and self.holds(queued.key):
                del self._queued[ticket]
                self._driver.abandon(ticket)
                held = self._hold(queued, ticket)
                if type(held) is Ticket:
                    queued.mover.on_hold(held)
                else:
                    assert isinstance(held, Rejected)
                    queued.mover.on_verdict(held)

    def _let_go(self) -> None:
        for ticket, queued in list(self._held.items()):
            if not self.holds(queued.key) and self._held.pop(ticket, None) is not None:
                ticket.state = TicketState.ABANDONED
                self._tell(queued.mover.on_place)

    # --- requests ---------------------------------------------------------------------------

    def arrive(
        self,
        mover: Mover,
        key: int,
        request: RequestInfo,
        flow_hash: int,
        cohort: int,
        time_left_ns: int | None,
    ) -> Decision:
        """As `Driver.arrive`, for a request whose key moves. Where it must wait, it has a ticket,
        and a call of `on_place` in place of a verdict.
        """
        if not self._moves(key):
            return self._driver.arrive(request, mover, flow_hash, cohort, time_left_ns)
        queued = _Queued(self, mover, key)
        if self.holds(key):
            now = self._driver.clock()
            ticket = Ticket(0, request, flow_hash, cohort, 0, now, now)
            if time_left_ns is not None:
                ticket.deadline_at = Instant(now + time_left_ns)
            return self._hold(queued, ticket)
        decision = self._driver.arrive(request, queued, flow_hash, cohort, time_left_ns)
        if type(decision) is Permit:
            self._work[decision] = key
        elif type(decision) is Ticket:
            self._queued[decision] = queued
        return decision

    def _hold(self, queued: _Queued, former: Ticket) -> Ticket | Rejected:
        """A place here, for who came or waited by a former ticket."""
        arrived_at, deadline_at = former.arrived_at, former.deadline_at
        expires_at = Instant(arrived_at + HELD_NS_MAX)
        if deadline_at is not None and deadline_at < expires_at:
            expires_at = deadline_at
        ticket = Ticket(
            0, former.request, former.flow_hash, former.cohort, 0,
            arrived_at, expires_at, deadline_at, self,
        )  # fmt: skip
        if len(self._held) >= HELD_MAX:
            return self._refuse(ticket)
        self._held[ticket] = queued
        self._arm()
        return ticket

    def abandon(self, ticket: Ticket) -> None:
        """Who waited here went away."""
        self._held.pop(ticket, None)
        ticket.state = TicketState.ABANDONED

    def note_work(self, permit: Permit, key: int) -> None:
        """Work of a key that moves."""
        self._work[permit] = key

    def note_left(self, permit: Permit, key: int) -> None:
        """Work of any key that nobody waits for any more, and that may go on."""
        left = self._left
        left[permit] = key
        if len(left) > self._left_max:
            self._left = left = {one: its for one, its in left.items() if not _is_over(one)}
            self._left_max = 64 + 2 * len(left)

    def _refuse(self, ticket: Ticket) -> Rejected:
        now = self._driver.clock()
        waited_ns = now - ticket.arrived_at
        numbers = (waited_ns, ticket.expires_at - ticket.arrived_at, len(self._held), HELD_MAX)
        rejected = self._driver.reject(ticket.request, RejectReason.MOVING, numbers)
        rejected.waited_ns = waited_ns
        return rejected

    # --- time -------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let time pass: waiters whose time is up are told, and work that is over is not counted.
        It is called by a timer as long as something moves.
        """
        now = self._driver.clock()
        for ticket, queued in list(self._held.items()):
            if ticket.expires_at <= now and ticket in self._held:
                rejected = self._refuse(ticket)
                self.abandon(ticket)
                self._tell(functools.partial(queued.mover.on_verdict, rejected))
        for permit in [permit for permit in self._work if _is_over(permit)]:
            del self._work[permit]
        for ticket in [ticket for ticket in self._queued if ticket.state is not _WAITING]:
            del self._queued[ticket]
        moving = self.moving()
        if moving != self._told:
            self._told = moving
            self.on_change(moving)
        self._arm()

    def moving(self) -> Moving:
        """What is to be said of the keys that move."""
        keys, work = self._keys, self._work
        return Moving(
            0 if keys is None else keys.version,
            len(work),
            sum(permit.is_resident or permit.is_sampled for permit in work),
            len(self._held),
        )

    def _arm(self) -> None:
        keys = self._keys
        is_needed = self._held or (keys is not None and keys.moving_count)
        if is_needed and self._timer is None and (loop := _running_loop()) is not None:
            self._timer = loop.call_later(_TICK_NS / NS_PER_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.tick()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, call: Callable[[], None]) -> None:
        """One that fails must not keep the others waiting."""
        try:
            call()
        except Exception as error:
            loop = _running_loop()
            if loop is None:
                raise
            context = {"message": "a waiter failed when its key moved", "exception": error}
            loop.call_exception_handler(context)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None  # virtual time: whoever owns it calls `tick`


def _is_over(permit: Permit) -> bool:
    return permit.is_released and not permit.is_zombie
