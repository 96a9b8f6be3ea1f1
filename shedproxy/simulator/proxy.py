"""One simulated proxy: what the product's driver does, in virtual time.

It asks a controller about each call, forwards what is admitted, passes verdicts on, ticks when the
controller wants to and every 100 ms besides, as the real driver does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from shedproxy.core import (
    NS_PER_MS,
    NS_PER_US,
    Instant,
    Outcome,
    Permit,
    Rejected,
    Ticket,
    Verdict,
)
from shedproxy.simulator.call import Call, CallState
from shedproxy.simulator.controllers.protocol import Controller
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.tally import End, Tally
from shedproxy.workload import RandomSource
from shedproxy.workload.scenario import ProxySpec

__all__ = ["Proxy", "Upstream"]

_PUBLISH_NS = 100 * NS_PER_MS
_STALL_NS = 25 * NS_PER_MS
"""A loop that stood still for longer tells the controller, as the real driver does."""
_OUTCOME = {
    200: Outcome.SUCCESS,
    500: Outcome.IGNORE,
    503: Outcome.OVERLOAD,
    504: Outcome.OVERLOAD,
    0: Outcome.OVERLOAD,
}
_SUCCESS = Outcome.SUCCESS
_RUNNING = CallState.RUNNING
_WAITING = CallState.WAITING
_SERVED, _FAILED, _REFUSED = End.SERVED, End.FAILED, End.REFUSED


class Upstream(Protocol):
    """What stands behind a proxy."""

    def submit(self, call: Call) -> None:
        """A call leaves the proxy."""

    def stop(self, call: Call) -> None:
        """Its connection is closed, and the work stops with that."""


class Proxy:
    """Stands between the populations and the backend."""

    def __init__(
        self,
        engine: Engine,
        controller: Controller,
        backend: Upstream,
        spec: ProxySpec,
        *,
        cancels: bool,
        rng: RandomSource,
        tally: Tally,
    ) -> None:
        self.controller = controller
        self._tick_due = getattr(controller, "tick_due", controller.tick)
        self._engine = engine
        self._backend = backend
        self._cancels = cancels
        self._rng = rng
        self._tally = tally
        self._noise_ns = spec.noise_us * NS_PER_US
        self._timeout_ns = 0
        if spec.upstream_timeout_ms is not None:
            self._timeout_ns = round(spec.upstream_timeout_ms * NS_PER_MS)
        self._forwarded: deque[tuple[int, Call]] = deque()
        self._has_timer = False
        self._tick_at = -1
        self._stalled_until = 0
        self._has_classes = tally.has_classes
        self.is_retired = False
        self.served = 0
        """Calls answered well in the scored time."""
        engine.at(engine.now + _PUBLISH_NS, self._publish, None)

    # --- calls ------------------------------------------------------------------------------

    def offer(self, call: Call) -> None:
        """A client's request is here."""
        engine = self._engine
        now = engine.now
        call.proxy = self
        if now < self._stalled_until:
            self._tally.calls_unread += 1
            engine.at(self._stalled_until, self._offer_late, call)
            return
        time_left_ns = None
        if call.source.spec.announces_deadline:
            time_left_ns = call.gives_up_at - now
        decision = self.controller.arrive(
            call.info,
            now=now,
            flow_hash=call.flow_hash,
            cohort=call.cohort,
            time_left_ns=time_left_ns,
        )
        if type(decision) is Permit:
            self._forward(call, decision)
        elif type(decision) is Ticket:
            call.ticket = decision
            call.state = _WAITING
            decision.context = call
            if decision.evicted is not None:
                self.deliver((decision.evicted,))
            self._arm()
        else:
            self._refuse(call, decision)

    def _offer_late(self, call: Call) -> None:
        if call.state is CallState.NEW:
            self._tally.calls_unread -= 1
            self.offer(call)

    def _forward(self, call: Call, permit: Permit) -> None:
        call.permit = permit
        call.state = _RUNNING
        if self._has_classes:
            self._tally.admit(call.info.criticality, self._engine.now)
        if self._timeout_ns:
            self._watch(call)
        self._backend.submit(call)

    def _refuse(self, call: Call, rejected: Any) -> None:
        assert isinstance(rejected, Rejected)
        self._tally.refuse(call, rejected, self._engine.now)
        call.source.ended(call, _REFUSED)

    def on_done(self, call: Call, status: int) -> None:
        """The backend has answered this call, or its connection broke."""
        engine = self._engine
        delay_ns = 0
        if self._noise_ns:
            delay_ns = int(-math.log(1.0 - self._rng.random()) * self._noise_ns)
        if engine.now + delay_ns < self._stalled_until:
            delay_ns = self._stalled_until - engine.now
        if delay_ns:
            engine.at(engine.now + delay_ns, self._done_late, (call, status))
        else:
            self._done(call, status)

    def _done_late(self, answered: tuple[Call, int]) -> None:
        self._done(*answered)

    def _done(self, call: Call, status: int) -> None:
        permit = call.permit
        if permit is None:
            return
        call.permit = None
        outcome = _SUCCESS if status == 200 else _OUTCOME[status]
        if call.state is not _RUNNING:
            self._tally.calls_orphaned -= 1
        verdicts = self.controller.release(permit, outcome, now=self._engine.now)
        if call.state is _RUNNING:
            if status == 200:
                self.served += self._tally.scored_from is not None
                call.source.ended(call, _SERVED)
            else:
                call.source.ended(call, _FAILED)
        if verdicts:
            self.deliver(verdicts)

    def leave(self, call: Call) -> None:
        """The client has gone."""
        if call.state is _WAITING:
            assert call.ticket is not None
            self.deliver(self.controller.abandon(call.ticket, now=self._engine.now))
        elif call.state is _RUNNING:
            self._let_go(call, Outcome.ABANDONED)
        elif call.state is CallState.NEW:
            self._tally.calls_unread -= 1

    def _let_go(self, call: Call, outcome: Outcome) -> None:
        """Tell the backend that nobody waits.

        Where that does not stop the work, its end is seen (the answer comes), unless it is the
        proxy's own time that is up: then it closes the connection and can only guess.
        """
        permit = call.permit
        if permit is None:
            return
        now = self._engine.now
        if self._cancels:
            call.permit = None
            self._backend.stop(call)
            self.deliver(self.controller.release(permit, outcome, now=now))
        elif outcome is Outcome.OVERLOAD:
            call.permit = None
            self.deliver(self.controller.leave_zombie(permit, now=now, outcome=outcome))
            self._arm()
        else:
            self._tally.calls_orphaned += 1
            self.controller.orphan(permit, now=now)

    # --- the operator's own timeout ---------------------------------------------------------

    def _watch(self, call: Call) -> None:
        due = self._engine.now + self._timeout_ns
        self._forwarded.append((due, call))
        if not self._has_timer:
            self._has_timer = True
            self._engine.at(due, self._time_out, None)

    def _time_out(self, _: None) -> None:
        """One timer for all: each is given equally long."""
        forwarded = self._forwarded
        while forwarded:
            due, call = forwarded[0]
            is_running = call.permit is not None
            if is_running and due > self._engine.now:
                self._engine.at(due, self._time_out, None)
                return
            forwarded.popleft()
            if is_running:
                self._let_go(call, Outcome.OVERLOAD)
                if call.state is _RUNNING:
                    call.source.ended(call, _FAILED)
                else:
                    self._tally.calls_orphaned -= 1
        self._has_timer = False

    # --- verdicts and time ------------------------------------------------------------------

    def deliver(self, verdicts: Sequence[Verdict]) -> None:
        """Tell those who waited what became of them."""
        for ticket, decision in verdicts:
            call: Call = ticket.context
            if call.state is not _WAITING:
                assert type(decision) is not Permit, "a slot was given to nobody"
                continue
            if type(decision) is Permit:
                self._forward(call, decision)
            else:
                self._refuse(call, decision)

    def _arm(self) -> None:
        at = self.controller.next_tick_at()
        if at is not None and (self._tick_at < 0 or at < self._tick_at):
            self._tick_at = at
            self._engine.at(at, self._on_tick, at)

    def _on_tick(self, at: int) -> None:
        if at != self._tick_at:
            return
        if self._engine.now < self._stalled_until:
            self._engine.at(self._stalled_until, self._on_tick, at)
            return
        self._tick_at = -1
        self.deliver(self._tick_due(now=self._engine.now))
        self._arm()

    def _publish(self, _: None) -> None:
        now = self._engine.now
        if now >= self._stalled_until:
            self.deliver(self.controller.tick(now=now))
            self._arm()
        if not self.is_retired:
            self._engine.at(now + _PUBLISH_NS, self._publish, None)

    def give_up_after(self, length_ns: int) -> None:
        """From now on an answer that takes longer is not waited for; 0: there is no such bound."""
        self._timeout_ns = length_ns

    def stall(self, length_ns: int) -> None:
        """The proxy's own loop stands still: it neither reads nor measures meanwhile."""
        now = self._engine.now
        self._stalled_until = max(self._stalled_until, now + length_ns)
        if length_ns > _STALL_NS:
            self._engine.at(self._stalled_until, self._notice_stall, None)

    def _notice_stall(self, _: None) -> None:
        on_stall = getattr(self.controller, "on_stall", None)
        if on_stall is not None:
            on_stall(now=Instant(self._engine.now))
