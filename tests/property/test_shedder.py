"""Whatever happens in whatever order: nothing is lost, nothing leaks, every refusal is provable."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Instant,
    Kind,
    Lane,
    LimitPolicy,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RequestInfo,
    Shedder,
    Ticket,
    TicketState,
    milliseconds,
    refusal_holds,
)
from shedproxy.errors import PermitAlreadyReleasedError

REQUESTS = st.builds(
    RequestInfo,
    route=st.sampled_from(["a", "b"]),
    cell=st.sampled_from(["default", "other", "unknown"]),
    criticality=st.sampled_from(Criticality),
    lane=st.sampled_from([Lane.DATA] * 9 + [Lane.CONTROL]),
    kind=st.sampled_from([Kind.AUTO] * 8 + [Kind.STREAM]),
    cost=st.integers(1, 3),
    is_retry=st.booleans(),
    route_limit=st.sampled_from([None, None, None, 0, 4]),
)


def policies(mode: Mode, limit: int, length: int, wait_ms: int, class_limit: int | None) -> Policy:
    cells = tuple(
        CellPolicy(
            name=name,
            limit=LimitPolicy(algorithm="fixed", initial=limit, minimum=1, maximum=1000),
            queue=QueuePolicy(length_max=length, wait_max_ns=milliseconds(wait_ms)),
            resident_limit=3,
            control_budget=2,
            class_limits=(class_limit, None, None, None),
        )
        for name in ("default", "other")
    )
    return Policy(mode=mode, cells=cells)


POLICIES = st.builds(
    policies,
    st.sampled_from([Mode.ENFORCE] * 4 + [Mode.OBSERVE, Mode.OFF]),
    st.integers(1, 5),
    st.sampled_from([0, 1, 3, 6, 40]),
    st.sampled_from([0, 10, 500]),
    st.sampled_from([None, None, 0, 2]),
)


class ShedderMachine(RuleBasedStateMachine):
    """Calls a Shedder at random and keeps the books beside it."""

    permits = Bundle("permits")
    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.now = Instant(0)
        self.shedder = Shedder(policies(Mode.ENFORCE, 2, 4, 500, None), now=self.now)
        self.held: set[Permit] = set()
        self.waiting: set[Ticket] = set()
        self.zombies: set[Permit] = set()
        self.granted: list[Permit] = []

    def pass_on(self, verdicts) -> None:
        for ticket, decision in verdicts:
            assert ticket in self.waiting, "one verdict for each ticket"
            self.waiting.discard(ticket)
            if isinstance(decision, Permit):
                assert ticket.state is TicketState.ADMITTED
                self.granted.append(decision)
                self.held.add(decision)
            else:
                assert ticket.state is TicketState.REJECTED
                self.check_refusal(decision)

    @staticmethod
    def check_refusal(rejected: Rejected) -> None:
        assert refusal_holds(rejected), rejected

    @rule(
        target=permits,
        request=REQUESTS,
        flow=st.integers(0, 3),
        cohort=st.integers(0, 1023),
        left=st.sampled_from([None, None, milliseconds(100), 0, milliseconds(5000)]),
    )
    def arrive(self, request, flow, cohort, left):
        decision = self.shedder.arrive(
            request, now=self.now, flow_hash=flow, cohort=cohort, time_left_ns=left
        )
        if isinstance(decision, Permit):
            self.held.add(decision)
            if decision.would_reject is not None:
                self.check_refusal(decision.would_reject)
            return decision
        if isinstance(decision, Ticket):
            self.waiting.add(decision)
            if decision.evicted is not None:
                self.pass_on([decision.evicted])
            return decision
        self.check_refusal(decision)
        return decision

    @rule(
        count=st.integers(5, 40),
        criticalities=st.lists(st.sampled_from(Criticality), min_size=1, max_size=3),
        flow=st.integers(0, 3),
    )
    def burst(self, count, criticalities, flow):
        """Enough at once to begin overload, and to go on with it."""
        for index in range(count):
            request = RequestInfo(criticality=criticalities[index % len(criticalities)])
            cohort = index * 389 % 1024
            decision = self.shedder.arrive(
                request, now=self.now, flow_hash=flow and flow + index % 2, cohort=cohort
            )
            if isinstance(decision, Permit):
                self.granted.append(decision)
                self.held.add(decision)
                if decision.would_reject is not None:
                    self.check_refusal(decision.would_reject)
            elif isinstance(decision, Ticket):
                self.waiting.add(decision)
                if decision.evicted is not None:
                    self.pass_on([decision.evicted])
            else:
                self.check_refusal(decision)

    @rule(request=REQUESTS, flow=st.integers(0, 3), cohort=st.integers(0, 1023))
    def screen(self, request, flow, cohort):
        """A provisional answer takes nothing."""
        refused = self.shedder.screen(request, now=self.now, flow_hash=flow, cohort=cohort)
        if refused is not None:
            self.check_refusal(refused)

    @rule(step=st.integers(1, 20), count=st.integers(1, 30))
    def serve(self, step, count):
        """Work goes on: one after the other ends."""
        for _ in range(min(count, len(self.granted))):
            self.now = Instant(self.now + milliseconds(step))
            self.pass_on(self.shedder.tick(now=self.now))
            self.finish_granted(Outcome.SUCCESS)

    @rule(thing=permits, outcome=st.sampled_from(Outcome), answered=st.booleans())
    def finish(self, thing, outcome, answered):
        if isinstance(thing, Permit) and thing in self.held:
            if answered:
                self.shedder.respond(thing, now=self.now)
            self.held.discard(thing)
            self.pass_on(self.shedder.release(thing, outcome, now=self.now))

    @rule(outcome=st.sampled_from(Outcome))
    def finish_granted(self, outcome):
        if self.granted:
            permit = self.granted.pop()
            if permit in self.held:
                self.held.discard(permit)
                self.pass_on(self.shedder.release(permit, outcome, now=self.now))

    @rule(thing=permits)
    def release_again(self, thing):
        """A second release raises and changes nothing."""
        if isinstance(thing, Permit) and thing not in self.held:
            before = self.shedder.stats()
            try:
                self.shedder.release(thing, Outcome.SUCCESS, now=self.now)
            except PermitAlreadyReleasedError:
                assert self.shedder.stats() == before
            else:
                raise AssertionError("released twice")

    @rule(thing=permits)
    def become_resident(self, thing):
        if isinstance(thing, Permit) and thing in self.held:
            self.pass_on(self.shedder.to_resident(thing, now=self.now))

    @rule(thing=permits)
    def leave_zombie(self, thing):
        if isinstance(thing, Permit) and thing in self.held:
            self.held.discard(thing)
            self.pass_on(self.shedder.leave_zombie(thing, now=self.now))

    @rule(thing=consumes(permits))
    def abandon(self, thing):
        if isinstance(thing, Ticket):
            was_waiting = thing in self.waiting
            self.waiting.discard(thing)
            self.pass_on(self.shedder.abandon(thing, now=self.now))
            if was_waiting:
                assert thing.state is TicketState.ABANDONED

    @rule(step=st.integers(0, 300))
    def wait(self, step):
        self.now = Instant(self.now + milliseconds(step))
        self.pass_on(self.shedder.tick(now=self.now))

    @rule(policy=POLICIES)
    def apply(self, policy):
        self.pass_on(self.shedder.apply(policy, now=self.now))

    @invariant()
    def books_agree(self):
        stats = self.shedder.stats()
        assert sum(cell.queue_length for cell in stats.cells) == len(self.waiting)
        aside = sum(cell.residents + cell.control_in_flight for cell in stats.cells)
        slots = sum(p.cost for p in self.held if not p.is_resident)
        in_flight = sum(cell.in_flight for cell in stats.cells)
        assert in_flight >= slots
        if not any(cell.zombies for cell in stats.cells):
            assert in_flight == slots
        assert aside == sum(1 for p in self.held if p.is_resident or not p.cost)

    @invariant()
    def capacity_is_measured_while_somebody_waits(self):
        if self.shedder.policy.mode is Mode.ENFORCE:
            for cell in self.shedder._all():
                assert (cell._demand.busy_since >= 0) == (cell._queue.length > 0)

    @invariant()
    def nobody_waits_beside_an_idle_cell(self):
        for cell in self.shedder.stats().cells:
            assert not cell.queue_length or cell.in_flight

    def teardown(self) -> None:
        for ticket in list(self.waiting):
            if ticket in self.waiting:
                self.waiting.discard(ticket)
                self.pass_on(self.shedder.abandon(ticket, now=self.now))
        while self.held:
            permit = self.held.pop()
            self.pass_on(self.shedder.release(permit, Outcome.SUCCESS, now=self.now))
        self.now = Instant(self.now + milliseconds(60_000))
        self.pass_on(self.shedder.tick(now=self.now))
        assert not self.waiting
        for cell in self.shedder.stats().cells:
            counts = (cell.in_flight, cell.residents, cell.control_in_flight, cell.zombies)
            assert counts == (0, 0, 0, 0), cell
        assert self.shedder.next_tick_at() is None


TestShedder = ShedderMachine.TestCase
TestShedder.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
