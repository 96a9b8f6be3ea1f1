"""Whatever is offered: every refusal is provable, every bound holds, and nothing is lost.

Random services in virtual time, offered up to eight times what they can do, by classes, retries,
tenants and costs at random. After every single call the queue is compared with the bounds in force.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.core import (
    CellPolicy,
    Criticality,
    FairnessPolicy,
    Instant,
    LimitPolicy,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    RequestInfo,
    Shedder,
    ShedLevelPolicy,
    Ticket,
    milliseconds,
    refusal_holds,
    seconds,
)
from shedproxy.core.request import LEVEL_BITS, LEVELS, RANKS

ARRIVALS = 700


class Schedule:
    """One service, one shedder, and the books beside them."""

    def __init__(self, policy: CellPolicy, service_ns: int, rng: random.Random) -> None:
        self.rng, self.service_ns = rng, service_ns
        self.now = Instant(0)
        self.shedder = Shedder(Policy(cells=(policy,)), now=self.now)
        self.cell = self.shedder._cells["default"]
        self.ends: list[tuple[int, int, Permit]] = []
        self.order = count()
        self.waiting: set[Ticket] = set()
        self.arrived = self.served = self.refused = 0
        self.reasons: Counter[RejectReason | str] = Counter()

    def take(self, decision: Permit | Rejected) -> None:
        if isinstance(decision, Permit):
            end_at = self.now + int(self.rng.expovariate(1 / self.service_ns))
            heapq.heappush(self.ends, (end_at, next(self.order), decision))
            return
        assert refusal_holds(decision), decision
        self.refused += 1
        reason = decision.reason
        is_trimmed = reason is RejectReason.EVICTED and decision.evidence["better_rank"] == RANKS
        self.reasons["trimmed" if is_trimmed else reason] += 1

    def pass_on(self, verdicts) -> None:
        for ticket, decision in verdicts:
            self.waiting.remove(ticket)
            self.take(decision)

    def arrive(self, request: RequestInfo, flow_hash: int, time_left_ns: int | None) -> None:
        queue, level = self.cell._queue, self.cell._level
        before = [queue.length_from(index << LEVEL_BITS) for index in range(LEVELS)]
        lowest = [queue.lowest_from(index << LEVEL_BITS) for index in range(LEVELS)]
        decision = self.shedder.arrive(
            request,
            now=self.now,
            flow_hash=flow_hash,
            cohort=self.rng.randrange(1024),
            time_left_ns=time_left_ns,
        )
        self.arrived += 1
        mine = request.criticality * 2 + (not request.is_retry)
        is_level_full = before[mine] >= level.ahead_max[mine]
        compared = (level.ahead_max[mine], before[mine])
        if not is_level_full:
            compared = (self.cell._policy.queue.length_max, before[0])
        if isinstance(decision, Ticket):
            self.waiting.add(decision)
            ahead = queue.length_from(decision.rank)
            assert ahead <= max(before[mine], level.ahead_max[mine])
            if decision.evicted is not None:
                victim, rejected = decision.evicted
                self.pass_on([decision.evicted])
                if rejected.reason is RejectReason.EVICTED:
                    assert victim is lowest[mine if is_level_full else 0]
                    assert (rejected.numbers[0], rejected.queue_length) == compared
                    assert rejected.numbers[1:3] == (victim.rank, decision.rank)
        else:
            self.take(decision)
            if isinstance(decision, Rejected) and decision.reason is RejectReason.QUEUE_FULL:
                assert (decision.numbers[0], decision.queue_length) == compared
        assert queue.length <= self.cell._policy.queue.length_max

    def run(self, until: int) -> None:
        while True:
            tick_at = self.shedder.next_tick_at()
            end_at = self.ends[0][0] if self.ends else None
            due = min((at for at in (end_at, tick_at) if at is not None), default=until + 1)
            if due > until:
                break
            self.now = Instant(max(due, self.now))
            was_trimming, bounds = self.cell._must_trim, self.cell._level.ahead_max
            if due == end_at:
                permit = heapq.heappop(self.ends)[2]
                self.served += 1
                self.pass_on(self.shedder.release(permit, Outcome.SUCCESS, now=self.now))
            else:
                self.pass_on(self.shedder.tick(now=self.now))
            if was_trimming and bounds is self.cell._level.ahead_max:
                self.check_trimmed(bounds)
            self.check_books()
        self.now = Instant(until)

    def check_trimmed(self, bounds) -> None:
        for one in self.waiting:
            ahead = self.cell._queue.length_from(one.rank)
            assert ahead <= bounds[one.rank >> LEVEL_BITS]

    def check_books(self) -> None:
        [cell] = self.shedder.stats().cells
        assert cell.queue_length == len(self.waiting)
        assert cell.in_flight == sum(permit.cost for _, _, permit in self.ends)
        cost: Counter[Criticality] = Counter()
        for _, _, permit in self.ends:
            cost[permit.request.criticality] += permit.cost
        for ticket in self.waiting:
            cost[ticket.request.criticality] += ticket.cost
        assert list(cell.class_in_flight) == [cost[criticality] for criticality in Criticality]
        assert (self.cell._demand.busy_since >= 0) == bool(self.waiting)
        assert self.arrived == self.served + self.refused + len(self.ends) + len(self.waiting)


def play(
    policy: CellPolicy,
    *,
    service_ms: int,
    load: float,
    classes: list[int],
    tenants: int,
    costs: list[int],
    seed: int,
) -> Schedule:
    """Offer `ARRIVALS` requests, let all work end, and compare the books."""
    rng = random.Random(seed)
    service_ns = milliseconds(service_ms)
    schedule = Schedule(policy, service_ns, rng)
    requests = [
        RequestInfo(criticality=Criticality(index), is_retry=is_retry, cost=cost)
        for index in classes
        for is_retry in (False, False, True)
        for cost in costs
    ]
    gap_ns = service_ns * sum(costs) / len(costs) / policy.limit.initial / load
    for _ in range(ARRIVALS):
        is_burst = rng.random() < 0.02
        schedule.run(schedule.now + int(rng.expovariate(1 / gap_ns)))
        for _ in range(20 if is_burst else 1):
            # The first tenant sends most.
            flow = int(tenants * rng.random() ** 4) * 7_777_777 + 1 if tenants else 0
            time_left_ns = rng.choice([None, None, None, 3 * service_ns])
            schedule.arrive(rng.choice(requests), flow, time_left_ns)
    schedule.run(schedule.now + seconds(10_000))
    assert not schedule.waiting
    assert not schedule.ends
    assert schedule.arrived == schedule.served + schedule.refused
    return schedule


POLICIES = st.builds(
    CellPolicy,
    limit=st.builds(
        LimitPolicy, algorithm=st.just("fixed"), initial=st.sampled_from([1, 2, 5, 20])
    ),
    queue=st.builds(
        QueuePolicy,
        length_max=st.sampled_from([0, 1, 3, 10, 100, 1000]),
        wait_max_ns=st.sampled_from([milliseconds(20), milliseconds(500)]),
        lifo_after_ns=st.sampled_from([0, milliseconds(100), seconds(10)]),
        shards=st.sampled_from([1, 8, 64]),
    ),
    fairness=st.builds(FairnessPolicy, enabled=st.booleans()),
    shed_level=st.builds(ShedLevelPolicy, enabled=st.sampled_from([True, True, True, False])),
)


@settings(max_examples=60, deadline=None)
@given(
    policy=POLICIES,
    service_ms=st.sampled_from([1, 10, 100]),
    load=st.sampled_from([0.8, 1.2, 2.0, 8.0]),
    classes=st.sampled_from([[2], [0, 3], [0, 1, 2, 3]]),
    tenants=st.sampled_from([0, 1, 5]),
    costs=st.sampled_from([[1], [1, 1, 3]]),
    seed=st.integers(0, 2**32),
)
def test_every_refusal_is_provable_and_every_bound_holds(policy, **world) -> None:
    play(policy, **world)


def test_such_schedules_meet_every_way_to_be_refused_for_want_of_capacity() -> None:
    """Else they would prove nothing."""
    policy = CellPolicy(
        limit=LimitPolicy(algorithm="fixed", initial=5), queue=QueuePolicy(length_max=100)
    )
    met: Counter[RejectReason | str] = Counter()
    for load in (1.2, 2.0, 8.0):
        for tenants in (0, 5):
            world = {"service_ms": 100, "load": load, "tenants": tenants, "costs": [1, 1, 3]}
            met += play(policy, classes=[0, 1, 2, 3], seed=1, **world).reasons
    assert met.keys() == {
        RejectReason.SHED_LEVEL,
        RejectReason.QUEUE_FULL,
        RejectReason.QUEUE_TIMEOUT,
        RejectReason.FAIR_SHARE,
        RejectReason.DEADLINE,
        RejectReason.EVICTED,
        "trimmed",
    }
    assert min(met.values()) > 10
