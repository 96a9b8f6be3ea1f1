"""The cases of Aperture's `wfq_test.go`, in virtual time, with its tolerance."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

import pytest

from shedproxy.core import Criticality, Outcome, Permit, Rejected, RejectReason, RequestInfo, Ticket
from shedproxy.simulator.controllers.weighted_fair import (
    LoadMultiplierBucket,
    TokenBucket,
    WeightedFairControl,
    Workload,
    workload_by_criticality,
)

MS = 1_000_000
S = 1_000_000_000
TOLERANCE = 0.15


class Flow(NamedTuple):
    """A `flowTracker`: tokens, inverse priority and rate of one flow."""

    tokens: float
    inverse_priority: float
    rate: int
    timeout_ms: int = 50
    label: str = ""
    user: int = 0


class Run:
    """Flows at constant rates; what each sent and got accepted."""

    def __init__(self, flows, bucket):
        self.flows = flows
        self.infos = [
            RequestInfo(route=flow.label or f"workload{index}") for index, flow in enumerate(flows)
        ]
        workloads = {
            info.route: Workload(info.route, flow.tokens, flow.inverse_priority)
            for info, flow in zip(self.infos, flows, strict=True)
        }
        self.bucket = bucket
        self.control = WeightedFairControl(
            bucket=bucket, workload_of=lambda request: workloads[request.route], timeout_ns=S
        )
        self.now = 0

    def go(self, length_ns):
        """As long as that, then until nobody waits: sent and accepted requests by flow."""
        ends_at = self.now + length_ns
        events, serial = [], count()
        self.sent, self.accepted = [0] * len(self.flows), [0] * len(self.flows)
        for index in range(len(self.flows)):
            heappush(events, (self.now, next(serial), index))
        while events or self.control.next_tick_at() is not None:
            tick_at = self.control.next_tick_at()
            if events and (tick_at is None or events[0][0] < tick_at):
                self.now, _, index = heappop(events)
                self.send(index)
                next_at = self.now + S // self.flows[index].rate
                if next_at < ends_at:
                    heappush(events, (next_at, next(serial), index))
            else:
                self.now = tick_at
                for ticket, decision in self.control.tick(now=tick_at):
                    self.accepted[ticket.context] += isinstance(decision, Permit)
        return self.sent, self.accepted

    def send(self, index):
        flow = self.flows[index]
        self.sent[index] += 1
        decision = self.control.arrive(
            self.infos[index],
            now=self.now,
            flow_hash=flow.user,
            time_left_ns=flow.timeout_ms * MS,
        )
        if isinstance(decision, Ticket):
            decision.context = index
        else:
            self.accepted[index] += isinstance(decision, Permit)


def fill_rate(flows, multiplier=0.5):
    return multiplier * sum(flow.tokens * flow.rate for flow in flows)


CASES = {
    "HighRpsFlows": [Flow(5, 1, 100), Flow(5, 1, 100), Flow(5, 1, 100), Flow(5, 50, 100)],
    "LowRpsFlows": [Flow(20, 2, 50), Flow(20, 3, 50), Flow(20, 3, 50), Flow(20, 2, 50)],
    "MixRpsFlows": [Flow(10, 5, 100), Flow(15, 4, 200), Flow(15, 3, 80), Flow(10, 2, 120)],
    "SingleHighRequest": [Flow(15, 20, 200), Flow(5, 1, 50), Flow(5, 1, 50), Flow(5, 1, 50)],
    "SingleLowRequest": [
        Flow(1, 50, 20),
        Flow(8, 75, 100),
        Flow(8, 100, 100),
        Flow(8, 125, 100),
    ],
    "SingleLowRequestLowTimeout": [
        Flow(1, 1, 1, timeout_ms=1),
        Flow(8, 75, 100),
        Flow(8, 100, 100),
        Flow(8, 125, 100),
    ],
    "IncreasingPriority": [Flow(5, 1, 50), Flow(5, 50, 50), Flow(5, 100, 50), Flow(5, 150, 50)],
    "FairnessWithinPriority": [
        Flow(16, 50, 50),
        Flow(16, 50, 50),
        Flow(16, 100, 50),
        Flow(16, 100, 50),
    ],
    "Fairness": [
        *(Flow(1, 1, 50, label="workload0", user=user) for user in range(1, 6)),
        Flow(1, 1, 250, label="workload1", user=1),
    ],
    "Timeouts": [Flow(5, 1, 50, timeout_ms=5)],
}


def parts_of(flows):
    """What each flow is due of the tokens: its priority, split among the users of its workload."""
    labels = [flow.label or str(index) for index, flow in enumerate(flows)]
    priorities = [
        1 / (flow.inverse_priority * labels.count(label))
        for flow, label in zip(flows, labels, strict=True)
    ]
    return [priority / sum(priorities) for priority in priorities]


@pytest.mark.parametrize("name", CASES)
def test_every_flow_gets_its_part_and_no_token_is_lost(name):
    """10 s at half of what is asked for; IncreasingPriority three times in a row."""
    flows = CASES[name]
    rate = fill_rate(flows)
    run = Run(flows, TokenBucket(rate))
    for _ in range(3 if name == "IncreasingPriority" else 1):
        sent, accepted = run.go(10 * S)
        for index, part in enumerate(parts_of(flows)):
            tokens = flows[index].tokens
            if sent[index] * tokens > 20 and accepted[index] < (1 - TOLERANCE) * sent[index]:
                assert accepted[index] * tokens >= (1 - TOLERANCE) * part * rate * 10
        total = sum(flow.tokens * got for flow, got in zip(flows, accepted, strict=True))
        assert abs(1 - total / (rate * 10)) <= TOLERANCE
        assert run.control.reading().queue_length == 0
        assert not run.control._flows
        assert not run.control._heap
        assert run.control._current is None


def test_equal_priorities_get_the_same():
    """FairnessWithinPriority: within 15 %."""
    _, accepted = Run(CASES["FairnessWithinPriority"], TokenBucket(1600)).go(10 * S)
    assert abs(1 - accepted[0] / accepted[1]) <= TOLERANCE
    assert abs(1 - accepted[2] / accepted[3]) <= TOLERANCE


def test_without_tokens_only_what_takes_none_passes():
    """0FillRate."""
    flows = [Flow(0, 1, 50), Flow(5, 50, 50), Flow(5, 100, 50), Flow(5, 200, 50)]
    run = Run(flows, TokenBucket(0))
    sent, accepted = run.go(10 * S)
    assert accepted == [sent[0], 0, 0, 0]
    assert run.control.reading().queue_length == 0


def test_load_multiplier_accepts_its_part_of_the_load():
    """LoadMultiplierBucket: 0 for 2 s, then 0.7 for 10 s; again after a pause of 5 s."""
    flows = [Flow(5, 0, 500, timeout_ms=30)]
    bucket = LoadMultiplierBucket(0.0)
    run = Run(flows, bucket)
    for _ in range(2):
        bucket.set_multiplier(0.0, now=run.now)
        run.go(2 * S)
        bucket.set_multiplier(0.7, now=run.now)
        sent, accepted = run.go(10 * S)
        assert abs(accepted[0] / (0.7 * sent[0]) - 1) <= TOLERANCE
        assert run.control.reading().refused_share == pytest.approx(0.3)
        run.now += 5 * S


# --- the bucket ---------------------------------------------------------------------------------


def test_bucket_begins_empty_and_holds_one_second():
    """100 tokens a second: 1 token takes 10 ms; after an hour there are 100."""
    bucket = TokenBucket(100)
    assert bucket.take(1, now=0, wait_max_ns=S) == 10 * MS
    assert bucket.take(100, now=3600 * S, wait_max_ns=0) == 0
    assert bucket.take(1, now=3600 * S, wait_max_ns=0) is None
    assert bucket.take(1, now=3600 * S, wait_max_ns=10 * MS) == 10 * MS


def test_bucket_takes_nothing_for_whom_it_takes_too_long():
    """And gives back what one that leaves has taken in advance."""
    bucket = TokenBucket(100)
    assert bucket.take(10, now=0, wait_max_ns=99 * MS) is None
    assert bucket.take(10, now=0, wait_max_ns=100 * MS) == 100 * MS
    bucket.give_back(10)
    assert bucket.take(1, now=0, wait_max_ns=S) == 10 * MS


def test_new_fill_rate_counts_from_now_on():
    """1 s at 100 a second, then 200 a second."""
    bucket = TokenBucket(100)
    bucket.set_fill_rate(200, now=S)
    assert bucket.take(100, now=S, wait_max_ns=0) == 0
    assert bucket.take(1, now=S, wait_max_ns=S) == 5 * MS


def test_load_multiplier_lets_all_through_until_it_knows_the_load():
    """100 per second for a second; then half of that is in the bucket at once."""
    bucket = LoadMultiplierBucket(0.5)
    for index in range(110):
        assert bucket.sees(1, now=index * 10 * MS)
    assert not bucket.sees(1, now=1101 * MS)
    assert bucket.fill_rate == pytest.approx(50, abs=1)
    assert bucket.take(49, now=1101 * MS, wait_max_ns=0) == 0
    assert bucket.take(49, now=1101 * MS, wait_max_ns=0) is None


# --- the scheduler ------------------------------------------------------------------------------

GUEST = RequestInfo(criticality=Criticality.SHEDDABLE)
SUBSCRIBER = RequestInfo(criticality=Criticality.CRITICAL_PLUS)


def test_workloads_double_their_worth_with_each_criticality():
    """Inverse priorities 8, 4, 2, 1; slots are tokens."""
    workloads = [
        workload_by_criticality(RequestInfo(criticality=criticality, cost=3))
        for criticality in Criticality
    ]
    assert [workload.inverse_priority for workload in workloads] == [8, 4, 2, 1]
    assert {workload.tokens for workload in workloads} == {3}
    assert len({workload.label for workload in workloads}) == 4


def test_least_virtual_finish_time_is_next():
    """A token each 10 ms; the first stands at the bucket, then 1 per unit against 8."""
    control = WeightedFairControl(bucket=TokenBucket(100), timeout_ns=S)
    tickets = [control.arrive(info, now=0) for info in [GUEST] * 3 + [SUBSCRIBER] * 3]
    assert all(isinstance(ticket, Ticket) for ticket in tickets)
    order = []
    while (at := control.next_tick_at()) is not None:
        order += [(at // MS, tickets.index(ticket)) for ticket, _ in control.tick(now=at)]
    assert order == [(10, 0), (20, 3), (30, 4), (40, 5), (50, 1), (60, 2)]


def test_flows_of_a_workload_take_turns():
    """One user has sent three requests before the other sends two."""
    control = WeightedFairControl(bucket=TokenBucket(100), timeout_ns=S)
    tickets = [control.arrive(GUEST, now=0, flow_hash=flow) for flow in (7, 7, 7, 8, 8)]
    order = []
    while (at := control.next_tick_at()) is not None:
        order += [tickets.index(ticket) for ticket, _ in control.tick(now=at)]
    assert order == [0, 1, 3, 2, 4]


def test_waiters_are_refused_when_their_time_is_over():
    """The timeout, or the time left where that is less; who would stand too long goes at once."""
    control = WeightedFairControl(bucket=TokenBucket(10), timeout_ns=250 * MS)
    standing = control.arrive(GUEST, now=0)
    hurried = control.arrive(GUEST, now=0, time_left_ns=50 * MS)
    hopeless = control.arrive(GUEST, now=0, time_left_ns=199 * MS)
    patient = control.arrive(GUEST, now=0)
    assert control.reading().queue_length == 4
    assert [ticket for ticket, _ in control.tick(now=50 * MS)] == [hurried]
    verdicts = control.tick(now=100 * MS)
    assert [ticket for ticket, _ in verdicts] == [standing, hopeless]
    assert verdicts[1].decision.reason is RejectReason.QUEUE_TIMEOUT
    assert control.next_tick_at() == 200 * MS
    assert [ticket for ticket, _ in control.tick(now=200 * MS)] == [patient]
    assert control.next_tick_at() is None


def test_first_that_would_wait_too_long_is_refused_at_once():
    """100 ms to the first token, 50 ms of patience."""
    control = WeightedFairControl(bucket=TokenBucket(10))
    decision = control.arrive(GUEST, now=0)
    assert isinstance(decision, Rejected)
    assert control.reading().queue_length == 0


def test_waiter_that_leaves_the_bucket_calls_the_next():
    """The next gets the tokens at the same time; leaving twice changes nothing."""
    control = WeightedFairControl(bucket=TokenBucket(100), timeout_ns=S)
    first, second, third = (control.arrive(GUEST, now=0) for _ in range(3))
    control.abandon(third, now=1)
    assert not control.abandon(first, now=1)
    assert not control.abandon(first, now=1)
    assert control.reading().queue_length == 1
    (verdict,) = control.tick(now=10 * MS)
    assert verdict.ticket is second
    control.release(verdict.decision, Outcome.SUCCESS, now=11 * MS)
    assert control.in_flight == 0
