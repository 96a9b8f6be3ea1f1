"""The facade that drivers use: it is told what happened and when, and answers with values.

One Shedder per process and event loop; it is not thread-safe. Two shedders fed the same calls give
the same answers for ever: no clock, no chance, no hash order decides anything.

The driver's contract: read the clock once per event, pass every verdict on in order, call `tick`
at intervals, `tick_due` at `next_tick_at()`, and give back each permit exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from shedproxy.core.admission import NO_VERDICTS, AdmissionController
from shedproxy.core.baseline import Memory
from shedproxy.core.decision import (
    Decision,
    Outcome,
    Permit,
    Rejected,
    RejectReason,
    Ticket,
    Verdict,
)
from shedproxy.core.limits import make_estimator
from shedproxy.core.policy import Mode, Policy
from shedproxy.core.request import Lane, RequestInfo
from shedproxy.core.share import CellShare
from shedproxy.core.stats import ShedderStats
from shedproxy.core.units import Instant
from shedproxy.errors import PermitAlreadyReleasedError

__all__ = ["Shedder"]

# Before Python 3.12 a look-up of an enum's member costs more than a call: these are hot.
_ENFORCE: Final = Mode.ENFORCE
_OBSERVE: Final = Mode.OBSERVE

_FOR_WANT_OF_ROOM: Final = (RejectReason.SHED_LEVEL, RejectReason.QUEUE_FULL)
"""Refusals on arrival that another cell can help against. Not those of a tenant over its share: one
that is too much for its cell is too much for others."""

_GUESTS_KEPT: Final = 1024
"""Kinds of requests that are remembered as guests: classifiers share a few, callers need not."""


class Shedder:
    """Admission for all cells of a policy."""

    __slots__ = (
        "_cells",
        "_fallback",
        "_guests",
        "_is_draining",
        "_mode",
        "_policy",
        "_retired",
        "_spills",
    )

    def __init__(self, policy: Policy, *, now: Instant) -> None:
        """Raises ValueError when the policy has no cell, two of one name or no such algorithm."""
        _check(policy)
        self._policy = policy
        self._mode = policy.mode
        self._is_draining = False
        self._cells = {cell.name: AdmissionController(cell, now=now) for cell in policy.cells}
        self._fallback = self._cells[policy.cells[0].name]
        self._retired: list[AdmissionController] = []
        self._guests: dict[tuple[RequestInfo, str], RequestInfo] = {}
        """What a request is in another cell."""
        self._spills = False
        """Some cell may send requests to another."""
        self._begin_spill(now)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    def join(self, cell: str, share: CellShare) -> None:
        """Share the limit of a cell with other workers from now on; nothing for a second time."""
        self._cells[cell].join(share)

    def leave(self, cell: str, parts: int, *, now: Instant) -> None:
        """The words that were shared are lost: one of so many equal parts of the limit is ours."""
        self._cells[cell].leave(parts, now=now)

    def arrive(
        self,
        request: RequestInfo,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Decide on one request.

        Args:
            request: what it is worth and what it takes.
            now: the instant of its arrival.
            flow_hash: 64-bit hash of its tenant; fairness is computed over it.
            cohort: 0..1023, a hash of its task or user.
            time_left_ns: time until its deadline; None: the cell's default.

        Returns:
            A Permit (run now; `permit.request.cell` is another where that took it), a Ticket (wait;
            a Verdict follows) or a Rejected.
        """
        cell = self._cells.get(request.cell, self._fallback)
        if self._is_draining and request.lane is Lane.DATA:
            return Rejected(request, RejectReason.DRAINING, now, ())
        if self._mode is _ENFORCE:
            decision = cell.arrive(request, now, flow_hash, cohort, time_left_ns)
            if self._spills and type(decision) is Rejected:
                return self._spill(cell, decision, now, flow_hash, time_left_ns)
            return decision
        if self._mode is _OBSERVE:
            return cell.observe(request, now, flow_hash, cohort, time_left_ns)
        return cell.force(request, now=now, flow_hash=flow_hash)

    def screen(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Rejected | None:
        """The provisional answer on a head whose body is still to come.

        A refusal is final. None means go on, and takes nothing: the permit is asked for with
        `arrive` once the body is in.
        """
        if self._is_draining and request.lane is Lane.DATA:
            return Rejected(request, RejectReason.DRAINING, now, ())
        if self._mode is not _ENFORCE:
            return None
        cell = self._cells.get(request.cell, self._fallback)
        rejected = cell.screen(request, now, flow_hash, cohort, time_left_ns)
        if (
            self._spills
            and rejected is not None
            and self._find_taker(cell, rejected, now, time_left_ns) is not None
        ):
            return None
        return rejected

    def respond(self, permit: Permit, *, now: Instant) -> None:
        """The head of the answer is here (the first call counts)."""
        if permit.responded_at is None:
            permit.responded_at = now

    def to_resident(self, permit: Permit, *, now: Instant) -> Sequence[Verdict]:
        """The answer turned out to be a stream: it stays, but frees its slot."""
        controller: AdmissionController = permit.controller
        return controller.to_resident(permit, now=now)

    def release(
        self, permit: Permit, outcome: Outcome, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """The upstream's work for this permit is done.

        Args:
            permit: given back exactly once.
            outcome: what it teaches.
            now: the instant of the last byte.
            stalled_ns: time the client made the upstream wait; not the upstream's latency.

        Raises:
            PermitAlreadyReleasedError: on a second release; nothing has changed.
        """
        if permit.is_released:
            raise _released_before(permit)
        permit.is_released = True
        controller: AdmissionController = permit.controller
        return controller.release(permit, outcome, now, stalled_ns)

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        """Nobody waits for the answer any more, but the caller will see the work end.

        The permit stays as it is until `release`, or `leave_zombie` when the end is lost sight of;
        it is shown among the zombies.
        """
        if permit.cost and not (permit.is_resident or permit.is_released or permit.is_zombie):
            permit.controller.orphan(permit, now=now)

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        """The client left, or its time is up, and closing the connection does not stop the work.

        The slot is freed by `tick` after the expected rest of it. Permits that hold no slot are
        released at once.

        Raises:
            PermitAlreadyReleasedError: when it was given back already.
        """
        if permit.is_resident or not permit.cost:
            return self.release(permit, outcome, now=now)
        if permit.is_released:
            raise _released_before(permit)
        permit.is_released = True
        controller: AdmissionController = permit.controller
        return controller.leave_zombie(permit, outcome, now=now)

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """The waiter went away; nothing happens if it was answered before."""
        controller: AdmissionController = ticket.controller
        return controller.abandon(ticket, now=now)

    def next_tick_at(self) -> Instant | None:
        """When `tick` has something to do; None: only events matter."""
        due: Instant | None = None
        for cell in self._all():
            at = cell.next_tick_at()
            if at is not None and (due is None or at < due):
                due = at
        return due

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Let time pass: expiries, zombies, loops. Early calls are harmless."""
        verdicts: list[Verdict] = []
        for cell in self._all():
            verdicts.extend(cell.tick(now=now))
        if self._retired:
            self._retired = [cell for cell in self._retired if not cell.is_idle]
        return verdicts or NO_VERDICTS

    def tick_due(self, *, now: Instant) -> Sequence[Verdict]:
        """What `next_tick_at` was for, and no more: time passes in those cells that asked for it.

        What one cell's waiters ask for moves no other's loops, so that nobody notices a flood of
        the next cell by when his own are moved.
        """
        if len(self._cells) == 1 and not self._retired:
            return self.tick(now=now)
        verdicts: list[Verdict] = []
        for cell in self._all():
            at = cell.next_tick_at()
            if at is not None and at <= now:
                verdicts.extend(cell.tick(now=now))
        return verdicts or NO_VERDICTS

    def on_stall(self, *, now: Instant) -> None:
        """The event loop was stalled until now: the stall must not pass for latency."""
        for cell in self._all():
            cell.on_stall(now=now)

    def apply(self, policy: Policy, *, now: Instant) -> Sequence[Verdict]:
        """Take a new policy. Permits, waiters, counters and what was learnt survive.

        The in-flight work of a removed cell ends where it began; its waiters keep their place. A
        cell that comes back meanwhile goes on where it was.

        Raises:
            ValueError: it has no cell, two of one name, or an unknown algorithm; nothing changed.
        """
        _check(policy)
        before = {cell.name: cell for cell in self._all()}
        self._cells = {}
        verdicts: list[Verdict] = []
        for cell_policy in policy.cells:
            controller = before.pop(cell_policy.name, None)
            if controller is None:
                controller = AdmissionController(cell_policy, now=now)
            else:
                verdicts.extend(controller.apply(cell_policy, now=now))
            self._cells[cell_policy.name] = controller
        self._retired = list(before.values())
        self._fallback = self._cells[policy.cells[0].name]
        self._policy = policy
        self._mode = policy.mode
        self._begin_spill(now)
        if self._mode is not _ENFORCE:
            for controller in self._all():
                verdicts.extend(controller.release_queue(now=now))
        return verdicts or NO_VERDICTS

    def drain(self) -> None:
        """From now on every data request is refused as `draining`; what runs may finish."""
        self._is_draining = True

    def memory(self) -> dict[str, Memory]:
        """Baselines by cell and route: what a successor should not have to learn under load."""
        return {name: cell.memory() for name, cell in self._cells.items()}

    def remember(self, memory: dict[str, Memory]) -> None:
        """Take what a predecessor had learnt; cells that are no more are left out."""
        for name, learnt in memory.items():
            if name in self._cells:
                self._cells[name].remember(learnt)

    def pressure(self, cell: str) -> float:
        """0 idle .. 1 saturated."""
        return self._cells.get(cell, self._fallback).pressure()

    def waiting(self, cell: str) -> int:
        """Requests in its queue; of those that wait in other workers, one of each."""
        return self._cells.get(cell, self._fallback).waiting

    def has_room(self, cell: str, cost: int) -> bool:
        """Whether so many of its slots are free."""
        return self._cells.get(cell, self._fallback).has_room(cost)

    def stats(self) -> ShedderStats:
        """A read-out of everything."""
        return ShedderStats(
            mode=self._mode,
            is_draining=self._is_draining,
            cells=tuple(cell.stats() for cell in self._cells.values()),
        )

    # --- spill ---

    def _begin_spill(self, now: Instant) -> None:
        """Watch the cells that a policy lets spill, or take."""
        self._guests = {}
        self._spills = False
        for cell in self._policy.cells:
            for name in cell.spill.to:
                self._spills = True
                self._cells[cell.name].begin_spill(now)
                self._cells[name].begin_spill(now)

    def _spill(
        self,
        cell: AdmissionController,
        rejected: Rejected,
        now: Instant,
        flow_hash: int,
        time_left_ns: int | None,
    ) -> Decision:
        """Its cell has no room for a request: one that has may take it, now and once."""
        taker = self._find_taker(cell, rejected, now, time_left_ns)
        if taker is None:
            return rejected
        assert cell.spill is not None
        cell.spill.send(now)
        if time_left_ns is None:
            time_left_ns = cell.default_timeout_ns
        guest = self._as_guest(rejected.request, taker.name)
        return taker.take_guest(guest, now, flow_hash, time_left_ns)

    def _find_taker(
        self, cell: AdmissionController, rejected: Rejected, now: Instant, time_left_ns: int | None
    ) -> AdmissionController | None:
        """The cell that takes a refused request; None: the refusal says what was in the way."""
        policy, request = cell.spill_policy, rejected.request
        if (
            rejected.reason not in _FOR_WANT_OF_ROOM
            or not policy.to
            or request.criticality not in policy.classes
            or request.is_pinned
            or not request.is_plain
        ):
            return None
        bar = cell.bar_to_send(now)
        if not bar:
            if time_left_ns is None:
                time_left_ns = cell.default_timeout_ns
            for name in policy.to:
                taker = self._cells[name]
                bar = taker.bar_to_take(request, now, time_left_ns)
                if not bar:
                    return taker
        rejected.spill_bar = bar
        return None

    def _as_guest(self, request: RequestInfo, cell: str) -> RequestInfo:
        known = self._guests.get((request, cell))
        if known is None:
            if len(self._guests) >= _GUESTS_KEPT:  # a caller makes a new one for every request
                self._guests.clear()
            known = self._guests[request, cell] = replace(request, cell=cell)
        return known

    def _all(self) -> Sequence[AdmissionController]:
        if self._retired:
            return (*self._cells.values(), *self._retired)
        return tuple(self._cells.values())


def _released_before(permit: Permit) -> PermitAlreadyReleasedError:
    return PermitAlreadyReleasedError(f"{permit!r} was released before")


def _check(policy: Policy) -> None:
    names = [cell.name for cell in policy.cells]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a policy has one cell or more, each by a name of its own, not {names}")
    for cell in policy.cells:
        for name in cell.spill.to:
            if name == cell.name or name not in names:
                raise ValueError(f"{cell.name} cannot spill to {name}: no other cell has that name")
    for cell in policy.cells:
        make_estimator(cell.limit)
