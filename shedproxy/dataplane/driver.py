"""Shedder <-> event loop: one clock read per event, one timer, every verdict passed on in order.

The wire proxy and the middleware both run the core through this module. No logging, no task, no
HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import (
    NS_PER_MS,
    NS_PER_S,
    Decision,
    Instant,
    Mode,
    Outcome,
    Permit,
    Rejected,
    RejectReason,
    RequestInfo,
    Shedder,
    Ticket,
    Verdict,
)
from shedproxy.dataplane.cell_gauges import CellGauges
from shedproxy.dataplane.counting import Counting
from shedproxy.dataplane.delivery import Delivery, Waiter
from shedproxy.dataplane.key_moves import KeyMoves
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.observability.meter import Meter
from shedproxy.observability.metric import ProcessCounter, ProcessGauge
from shedproxy.observability.ring import RefusalRing
from shedproxy.snapshot import Document, number_cells

if TYPE_CHECKING:
    from shedproxy.dataplane.host_share import Share
    from shedproxy.dataplane.recorder import Recorder

__all__ = ["PUBLISH_INTERVAL_NS", "Driver", "Waiter"]

PUBLISH_INTERVAL_NS: Final = 100 * NS_PER_MS
"""Gauges, heartbeat and the loop-lag probe run this often."""

_STALL_NS: Final = 25 * NS_PER_MS
"""A loop later than this was stalled: what it timed meanwhile is its own doing."""

_NEVER: Final = Instant(1 << 62)

_TIMER_NS: Final = NS_PER_MS
"""What a loop's timers round to. Asked for less, uvloop calls back at once, and so for ever."""


class Driver(Counting):
    """Runs one Shedder on one event loop."""

    def __init__(
        self,
        document: Document,
        *,
        meter: Meter | None = None,
        ring: RefusalRing | None = None,
        clock: Clock = monotonic_now,
        on_heartbeat: Callable[[Instant], None] | None = None,
        recorder: Recorder | None = None,
        share: Share | None = None,
        part: tuple[int, int] = (0, 1),
        is_service: bool = False,
    ) -> None:
        self.document = document
        self._is_service = is_service
        """The loop is the service's: the time that it stands still is the work's, not ours."""
        self.part = part
        """Which of so many parts of what each process counts for itself is ours, as the document
        has it."""
        super().__init__(
            Meter() if meter is None else meter,
            RefusalRing() if ring is None else ring,
            document.policy.mode,
            clock(),
        )
        self._clock = clock
        self._on_heartbeat = on_heartbeat
        self._recorder = recorder
        self.share = share  # None: it is the only worker
        make_shedder = Shedder if recorder is None else recorder.make_shedder
        self.shedder = make_shedder(document.policy, now=clock())
        names = [cell.name for cell in document.policy.cells]
        self._gauges = CellGauges(self.meter)
        self._take_numbers(number_cells(names, document.cells), names)
        self._healthy: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._tick_at: Instant | None = None
        self._publish_timer: asyncio.TimerHandle | None = None
        self._publish_at = Instant(0)
        self._late_at = _NEVER
        self._delivery = Delivery(
            count=self._count, give_back=self._take_back, on_failure=self._on_waiter_failed
        )
        self.moves = KeyMoves(self)

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to publish gauges on the running loop. Timers need a running loop."""
        self._loop = loop = asyncio.get_running_loop()
        self._publish_at = self._clock()
        if self.share is not None:
            self.share.listen(loop, self.tick)
        self._publish()

    def close(self) -> None:
        """Stop the timers and the recording; what is in flight may still be released."""
        if self.share is not None:
            self.share.stop()
        self.moves.close()
        for timer in (self._tick_timer, self._publish_timer):
            if timer is not None:
                timer.cancel()
        self._tick_timer = self._publish_timer = None
        self._tick_at = self._loop = None
        self._late_at = _NEVER
        if self._recorder is not None:
            self._recorder.close()

    # --- a request's life -------------------------------------------------------------------

    def arrive(
        self,
        request: RequestInfo,
        waiter: Waiter,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Decide; on a Ticket, `waiter.on_verdict` is called later, exactly once."""
        decision = self.decide(request, self._clock(), flow_hash, cohort, time_left_ns)
        return self.wait(decision, waiter) if type(decision) is Ticket else decision

    def decide(
        self,
        request: RequestInfo,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """The first half of `arrive`: who is refused needs no more. On a Ticket, `wait` follows."""
        decision = self.shedder.arrive(request, now, flow_hash, cohort, time_left_ns)
        if type(decision) is Permit:
            self._count_permit(decision)
        elif type(decision) is Rejected:
            self._count_rejected(decision)
        return decision

    def wait(self, ticket: Ticket, waiter: Waiter) -> Decision:
        """Who it is that waits: told by `waiter.on_verdict`, or, if it is known, at once."""
        self._arm(ticket.expires_at)
        if self.share is not None:
            self._rearm()
        if ticket.evicted is not None:
            return self._delivery.after_eviction(ticket, ticket.evicted, waiter)
        ticket.context = waiter
        return ticket

    def screen(
        self,
        request: RequestInfo,
        *,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Rejected | None:
        """The provisional answer on a head: a refusal now, or None to go on."""
        rejected = self.shedder.screen(
            request,
            now=self._clock(),
            flow_hash=flow_hash,
            cohort=cohort,
            time_left_ns=time_left_ns,
        )
        if rejected is not None:
            self._count_rejected(rejected)
        return rejected

    def respond(self, permit: Permit) -> None:
        """The head of the answer is here."""
        if permit.responded_at is None:
            permit.responded_at = self._clock()

    def to_resident(self, permit: Permit) -> None:
        """The answer is a stream."""
        self._delivery.pass_on(self.shedder.to_resident(permit, now=self._clock()))

    def release(self, permit: Permit, outcome: Outcome, stalled_ns: int = 0) -> None:
        """The upstream's work is done; waiters may run."""
        self.release_at(permit, outcome, stalled_ns, self._clock())

    def finish(self, permit: Permit, outcome: Outcome, status: int, stalled_ns: int = 0) -> None:
        """`release`, where work and answer end together; counts the answer (as `on_finished`)."""
        now = self._clock()
        self._count_finished(permit, outcome, status, now)
        self.release_at(permit, outcome, stalled_ns, now)

    def release_at(self, permit: Permit, outcome: Outcome, stalled_ns: int, now: Instant) -> None:
        """`release`, by who has just read the clock."""
        if now > self._late_at:
            # The answers that came meanwhile are read before the timer that is overdue.
            self._note_stall(now)
        verdicts = self.shedder.release(permit, outcome, now, stalled_ns)
        if verdicts:
            self._delivery.pass_on(verdicts)

    def orphan(self, permit: Permit) -> None:
        """Nobody waits for the answer any more; the caller sees the work end, and releases then."""
        self.shedder.orphan(permit, now=self._clock())

    def leave_zombie(self, permit: Permit, outcome: Outcome = Outcome.ABANDONED) -> None:
        """Nobody waits for the answer any more; the work may go on."""
        self._delivery.pass_on(
            self.shedder.leave_zombie(permit, now=self._clock(), outcome=outcome)
        )
        self._rearm()

    def abandon(self, ticket: Ticket) -> None:
        """The waiter went away."""
        if ticket.controller is self.moves:
            self.moves.abandon(ticket)
        else:
            ticket.context = None
            self._delivery.pass_on(self.shedder.abandon(ticket, now=self._clock()))

    def reject(
        self,
        request: RequestInfo,
        reason: RejectReason,
        numbers: tuple[int, ...],
        *,
        was_admitted: bool = False,
    ) -> Rejected:
        """A refusal decided outside the core: counted and recorded like any other.

        Not counted where it `was_admitted`: an arrival counts once, and the caller counts its end.
        """
        rejected = Rejected(request, reason, self._clock(), numbers)
        if was_admitted:
            self._record(rejected, self.cell_index(request.cell))
        else:
            self._count_rejected(rejected)
        return rejected

    def pressure(self, cell: str) -> float:
        """0 idle .. 1 saturated: for brown-out."""
        return self.shedder.pressure(cell)

    @property
    def clock(self) -> Clock:
        """The clock that times every decision, for durations that fit them."""
        return self._clock

    @property
    def mode(self) -> Mode:
        """What is done with refusals now."""
        return self._mode

    # --- policy -----------------------------------------------------------------------------

    def apply(self, document: Document) -> None:
        """Take a new document; permits, waiters, counters and what was learnt survive.

        Raises:
            DocumentInvalidError: nothing can be run by it; nothing has changed.
        """
        self._apply(document, document.policy.mode)

    def set_mode(self, mode: Mode) -> None:
        """Change the mode alone (break-glass)."""
        self._apply(self.document, mode)

    def set_healthy_weight(self, cell: str, weight: int) -> None:
        """Upstreams went or came back behind a cell: limits that are per weight follow."""
        before = self._healthy.get(cell)
        if before != weight:
            self._healthy[cell] = weight
            cells = self.document.policy.cells
            is_turn = not before or not weight
            if any(cell.limit.weight or (is_turn and cell.spill.to) for cell in cells):
                self._apply(self.document, self._mode)

    def drain(self) -> None:
        """Refuse data requests from now on."""
        self.shedder.drain()

    def _apply(self, document: Document, mode: Mode) -> None:
        policy = replace(document.policy.scaled_to(self._healthy), mode=mode)
        names = [cell.name for cell in policy.cells]
        cells = number_cells(names, document.cells or self.cells)
        try:
            verdicts = self.shedder.apply(policy, now=self._clock())
        except ValueError as error:
            raise DocumentInvalidError([Problem(message=str(error))]) from error
        self.document = document
        self._mode = mode
        self._take_numbers(cells, names)
        self._delivery.pass_on(verdicts)

    def _take_numbers(self, cells: tuple[str, ...], names: Sequence[str]) -> None:
        self.cells = cells
        """Names of cells by their number in metrics, those that are no more included."""
        self._cell_index = {name: cells.index(name) for name in names}
        self._fallback_index = self._cell_index[names[0]]
        self._has_cells = len(names) > 1
        if self.share is not None:
            self.share.join(self.shedder, self._cell_index)
        for number, name in enumerate(cells):
            if name not in self._cell_index:
                self._gauges.clear(number)

    # --- verdicts and time ------------------------------------------------------------------

    def _take_back(self, permit: Permit) -> Sequence[Verdict]:
        return self.shedder.release(permit, Outcome.IGNORE, now=self._clock())

    def _on_waiter_failed(self, waiter: Waiter, error: Exception) -> bool:
        if self._loop is not None:
            context = {"message": f"{waiter!r} failed on its verdict", "exception": error}
            self._loop.call_exception_handler(context)
        return self._loop is not None

    def _arm(self, at: Instant) -> None:
        """One timer, never later than `at`."""
        loop = self._loop
        if loop is None or (self._tick_at is not None and self._tick_at <= at):
            return
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._tick_at = at
        delay_ns = max(1, -(-(at - self._clock()) // _TIMER_NS)) * _TIMER_NS
        self._tick_timer = loop.call_later(delay_ns / NS_PER_S, self._on_tick)

    def _rearm(self) -> None:
        if (at := self.shedder.next_tick_at()) is not None:
            self._arm(at)

    def _on_tick(self) -> None:
        self._tick_timer = self._tick_at = None
        self._delivery.pass_on(self.shedder.tick_due(now=self._clock()))
        self._rearm()

    def tick(self) -> None:
        """Let time pass now: for loops without timers (tests in virtual time)."""
        self._delivery.pass_on(self.shedder.tick(now=self._clock()))

    # --- gauges -----------------------------------------------------------------------------

    def _publish(self) -> None:
        now = self._clock()
        if now > self._late_at:
            self._note_stall(now)
        self.set_wall(now)
        self.meter.set_process(ProcessGauge.LOOP_LAG_NS, max(0, now - self._publish_at))
        # The loops move although nothing arrives, so that gauges tell the truth when idle.
        self._delivery.pass_on(self.shedder.tick(now=now))
        self._rearm()
        self.publish_gauges()
        if self._recorder is not None:
            self._recorder.flush()
        if self._on_heartbeat is not None:
            self._on_heartbeat(now)
        self._publish_at = Instant(now + PUBLISH_INTERVAL_NS)
        self._late_at = Instant(self._publish_at + _STALL_NS)
        if self._loop is not None:
            self._publish_timer = self._loop.call_later(
                PUBLISH_INTERVAL_NS / NS_PER_S, self._publish
            )

    def _note_stall(self, now: Instant) -> None:
        self._late_at = _NEVER  # until the timer has had its turn
        if not self._is_service:
            self.shedder.on_stall(now=now)
        self.meter.count(ProcessCounter.LOOP_STALLS)

    def publish_gauges(self) -> None:
        """Write the read-out of every cell into the meter's slots."""
        self._gauges.publish(self.shedder.stats(), self._cell_index)
