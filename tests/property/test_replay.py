"""Whatever happens in whatever order: recorded and replayed, every answer is the same."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Instant,
    Kind,
    Lane,
    LimitPolicy,
    Measure,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RequestInfo,
    ShedLevelPolicy,
    Ticket,
    milliseconds,
)
from shedproxy.simulator.history import Fate, History
from shedproxy.simulator.replay import verify
from shedproxy.simulator.what_if import what_if
from shedproxy.workload.trace import TraceHeader, TraceReader, encode_end, encode_header
from shedproxy.workload.traced_shedder import TracedShedder

REQUESTS = st.builds(
    RequestInfo,
    route=st.sampled_from(["a", "b"]),
    cell=st.sampled_from(["default", "other", "unknown"]),
    criticality=st.sampled_from(Criticality),
    lane=st.sampled_from([Lane.DATA] * 9 + [Lane.CONTROL]),
    kind=st.sampled_from([Kind.AUTO] * 8 + [Kind.STREAM]),
    measure=st.sampled_from(Measure),
    cost=st.integers(1, 3),
    is_retry=st.booleans(),
    route_limit=st.sampled_from([None, None, None, 0, 4]),
)


def policies(
    mode: Mode, algorithm: str, limit: int, length: int, wait_ms: int, names: tuple[str, ...]
) -> Policy:
    cells = tuple(
        CellPolicy(
            name=name,
            limit=LimitPolicy(algorithm=algorithm, initial=limit, maximum=20),
            queue=QueuePolicy(length_max=length, wait_max_ns=milliseconds(wait_ms)),
            shed_level=ShedLevelPolicy(period_ns=milliseconds(20)),
            resident_limit=3,
            control_budget=2,
        )
        for name in names
    )
    return Policy(mode=mode, cells=cells)


POLICIES = st.builds(
    policies,
    st.sampled_from([Mode.ENFORCE] * 4 + [Mode.OBSERVE, Mode.OFF]),
    st.sampled_from(["adaptive", "fixed", "aimd", "vegas", "gradient2"]),
    st.integers(1, 4),
    st.integers(0, 5),
    st.sampled_from([20, 500]),
    st.sampled_from([("default", "other"), ("default",), ("other", "third")]),
)
START = Instant(987_654_321)


class RecordedMachine(RuleBasedStateMachine):
    """Random calls of a traced shedder; at the end its trace is replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.lines: list[str] = []
        self.policy = policies(Mode.ENFORCE, "adaptive", 2, 4, 500, ("default", "other"))
        self.shedder = TracedShedder(self.policy, now=START, write=self.lines.append)
        self.held: list[Permit] = []
        self.waiting: list[Ticket] = []

    def take(self, decision) -> None:
        if isinstance(decision, Permit):
            self.held.append(decision)
        elif isinstance(decision, Ticket):
            self.waiting.append(decision)
            if decision.evicted is not None:
                self.pass_on([decision.evicted])

    def pass_on(self, verdicts) -> None:
        for ticket, decision in verdicts:
            self.waiting.remove(ticket)
            self.take(decision)

    @rule(
        requests=st.lists(REQUESTS, min_size=1, max_size=6),
        flow=st.integers(0, 2**64 - 1) | st.integers(0, 3),
        cohort=st.integers(0, 1023),
        left_ns=st.sampled_from([None, None, milliseconds(100), 0, -5]),
        step_ns=st.integers(0, 3_000_000),
        is_screened=st.booleans(),
    )
    def arrive(self, requests, flow, cohort, left_ns, step_ns, is_screened):
        for request in requests:
            told = {"flow_hash": flow, "cohort": cohort, "time_left_ns": left_ns}
            if is_screened:
                rejected = self.shedder.screen(request, now=self.now, **told)
                if isinstance(rejected, Rejected):
                    continue
            self.now = Instant(self.now + step_ns)
            self.take(self.shedder.arrive(request, now=self.now, **told))

    @precondition(lambda self: self.held)
    @rule(
        index=st.integers(0, 99),
        outcome=st.sampled_from(Outcome),
        head_ns=st.none() | st.integers(0, 10**7),
        stalled_ns=st.integers(0, 10**7),
        is_zombie=st.booleans(),
    )
    def finish(self, index, outcome, head_ns, stalled_ns, is_zombie):
        permit = self.held.pop(index % len(self.held))
        if head_ns is not None:
            self.shedder.respond(permit, now=self.now)
            self.now = Instant(self.now + head_ns)
        if is_zombie:
            self.pass_on(self.shedder.leave_zombie(permit, now=self.now, outcome=outcome))
        else:
            self.pass_on(self.shedder.release(permit, outcome, now=self.now, stalled_ns=stalled_ns))

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 99))
    def become_resident(self, index):
        permit = self.held[index % len(self.held)]
        self.pass_on(self.shedder.to_resident(permit, now=self.now))

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 99))
    def orphan(self, index):
        self.shedder.orphan(self.held[index % len(self.held)], now=self.now)

    @precondition(lambda self: self.waiting)
    @rule(index=st.integers(0, 99))
    def abandon(self, index):
        ticket = self.waiting.pop(index % len(self.waiting))
        self.pass_on(self.shedder.abandon(ticket, now=self.now))

    @rule(step_ms=st.integers(0, 300), is_stall=st.booleans())
    def wait(self, step_ms, is_stall):
        self.now = Instant(self.now + milliseconds(step_ms))
        if is_stall:
            self.shedder.on_stall(now=self.now)
        self.pass_on(self.shedder.tick(now=self.now))

    @rule(policy=POLICIES)
    def apply(self, policy):
        self.pass_on(self.shedder.apply(policy, now=self.now))

    @rule()
    def look(self):
        """Reading changes nothing, and is not recorded."""
        self.shedder.stats()
        self.shedder.next_tick_at()
        self.shedder.pressure("default")

    @rule(chance=st.integers(0, 9))
    def drain(self, chance):
        if not chance:
            self.shedder.drain()

    def reader(self) -> TraceReader:
        header = TraceHeader(policy=self.policy, started_at=START, version="0.1.0")
        end = encode_end(self.now - START, "closed")
        return TraceReader(f"{line}\n" for line in (encode_header(header), *self.lines, end))

    def teardown(self) -> None:
        verification = verify(self.reader())
        assert verification.difference is None, verification.difference
        history = History(self.reader())
        waiting = sum(life.result.fate is Fate.WAITING for life in history.lives)
        assert waiting == len(self.waiting)
        self.check_what_if(history)

    def check_what_if(self, history: History) -> None:
        """By any policy: every request has one fate, and the replay is a trace of its own."""
        policy = policies(Mode.ENFORCE, "fixed", 1, 2, 20, ("default",))
        lines: list[str] = []
        comparison = what_if(history, policy, write=lines.append)
        recorded, replayed = comparison.recorded.fates, comparison.replayed.fates
        assert recorded.total() == replayed.total()
        header = TraceHeader(policy=policy, started_at=START, version="0.1.0")
        text = (f"{line}\n" for line in (encode_header(header), *lines))
        assert verify(TraceReader(text)).difference is None


TestReplay = RecordedMachine.TestCase
TestReplay.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
