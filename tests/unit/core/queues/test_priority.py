"""The queue of a cell: strict priority, fairness, eviction, expiry, and nobody lost."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.core.decision import Rejected, RejectReason, Ticket, refusal_holds
from shedproxy.core.policy import QueuePolicy
from shedproxy.core.queues import PriorityQueue
from shedproxy.core.request import Criticality, RequestInfo, rank_of
from shedproxy.core.units import NS_PER_MS, Instant, milliseconds

NOW = Instant(0)
INFO = {
    (criticality, is_retry, cost): RequestInfo(
        criticality=criticality, is_retry=is_retry, cost=cost
    )
    for criticality in Criticality
    for is_retry in (False, True)
    for cost in (1, 2, 5)
}
LONG = milliseconds(60_000)


def ticket(
    criticality: int = Criticality.CRITICAL,
    *,
    is_retry: bool = False,
    flow: int = 0,
    cohort: int = 0,
    cost: int = 1,
    at: int = 0,
    expires: int = LONG,
    serial: int = 0,
) -> Ticket:
    info = INFO[Criticality(criticality), is_retry, cost]
    rank = rank_of(info, cohort)
    return Ticket(serial, info, flow, cohort, rank, Instant(at), Instant(expires))


def level_of(one: Ticket) -> int:
    return one.request.criticality * 2 + (not one.request.is_retry)


def drain(queue: PriorityQueue, now: Instant = NOW) -> list[Ticket]:
    popped = []
    while (one := queue.pop(now=now)) is not None:
        popped.append(one)
    return popped


def test_empty_queue_says_so_in_every_way():
    queue = PriorityQueue(QueuePolicy())
    assert len(queue) == 0
    assert queue.pop(now=NOW) is None
    assert queue.peek(now=NOW) is None
    assert queue.next_expiry_at() is None
    assert queue.oldest_arrival_at() is None
    assert queue.worst_rank() == -1
    assert queue.length_from(0) == 0
    assert not queue.expire(now=NOW)
    assert not queue.apply(QueuePolicy(), now=NOW)


def test_better_criticality_goes_first_and_retries_last_in_their_class():
    queue = PriorityQueue(QueuePolicy())
    pushed = [
        ticket(criticality, is_retry=is_retry, cohort=cohort)
        for cohort in (1023, 0)
        for is_retry in (True, False)
        for criticality in Criticality
    ]
    for one in pushed:
        queue.push(one, now=NOW)
    levels = [level_of(one) for one in drain(queue)]
    assert levels == sorted(levels, reverse=True)
    assert len(levels) == len(pushed)


def test_the_cohort_does_not_change_the_order_inside_a_level():
    queue = PriorityQueue(QueuePolicy())
    for serial, cohort in enumerate((3, 900, 100)):
        queue.push(ticket(cohort=cohort, serial=serial), now=NOW)
    assert [one.serial for one in drain(queue)] == [0, 1, 2]


def test_newest_first_only_once_the_level_has_not_been_empty_for_long():
    queue = PriorityQueue(QueuePolicy(lifo_after_ns=milliseconds(100)))
    for serial in range(6):
        queue.push(ticket(serial=serial), now=NOW)
    early, late = Instant(milliseconds(100) - 1), Instant(milliseconds(100))
    assert queue.peek(now=early).serial == queue.pop(now=early).serial == 0
    assert queue.peek(now=late).serial == queue.pop(now=late).serial == 5
    assert [one.serial for one in drain(queue, late)] == [4, 3, 2, 1]
    for serial in range(3):
        queue.push(ticket(serial=serial), now=late)
    assert [one.serial for one in drain(queue, late)] == [0, 1, 2]


def test_adaptive_lifo_is_decided_level_by_level():
    queue = PriorityQueue(QueuePolicy(lifo_after_ns=milliseconds(100)))
    for serial in range(2):
        queue.push(ticket(Criticality.SHEDDABLE, serial=serial), now=NOW)
    late = Instant(milliseconds(150))
    for serial in range(2, 4):
        queue.push(ticket(Criticality.CRITICAL, serial=serial), now=late)
    assert [one.serial for one in drain(queue, late)] == [2, 3, 1, 0]


def test_a_tenant_that_floods_a_level_does_not_hold_up_another():
    queue = PriorityQueue(QueuePolicy())
    for _ in range(500):
        queue.push(ticket(flow=11), now=NOW)
    for _ in range(5):
        queue.push(ticket(flow=22), now=NOW)
    first = Counter(one.flow_hash for one in drain(queue)[:40])
    assert first[22] == 5


def test_requests_without_a_tenant_are_served_in_exact_order():
    queue = PriorityQueue(QueuePolicy(shards=8, hand=4))
    for serial in range(50):
        queue.push(ticket(serial=serial), now=NOW)
    assert [one.serial for one in drain(queue)] == list(range(50))


def test_a_full_queue_evicts_for_a_better_level_and_gives_any_other_back():
    queue = PriorityQueue(QueuePolicy(length_max=3))
    low = [ticket(Criticality.SHEDDABLE_PLUS, serial=i, cohort=1023) for i in range(3)]
    for one in low:
        assert queue.push(one, now=NOW) is None
    for other in (
        ticket(Criticality.SHEDDABLE),
        ticket(Criticality.SHEDDABLE_PLUS, is_retry=True, cohort=1023),
        ticket(Criticality.SHEDDABLE_PLUS, cohort=1023),
    ):
        assert queue.push(other, now=NOW) is other
        assert not queue.remove(other)
    better = ticket(Criticality.CRITICAL, is_retry=True)
    assert queue.push(better, now=NOW) is low[2]
    assert len(queue) == 3
    assert [one for one in drain(queue)] == [better, low[0], low[1]]


def test_a_first_try_takes_the_place_of_a_retry_of_its_class():
    queue = PriorityQueue(QueuePolicy(length_max=1))
    retry = ticket(is_retry=True, cohort=1023)
    queue.push(retry, now=NOW)
    first_try = ticket(cohort=0)
    assert queue.push(first_try, now=NOW) is retry
    assert retry.rank < first_try.rank


def test_the_victim_is_of_the_longest_shard_and_would_have_been_served_last():
    policy = QueuePolicy(length_max=12, lifo_after_ns=milliseconds(100), shards=64, hand=1)
    for now, expected in ((0, 9), (100 * NS_PER_MS, 0)):
        queue = PriorityQueue(policy)
        for serial in range(10):
            queue.push(ticket(Criticality.SHEDDABLE, flow=5, serial=serial), now=NOW)
        for serial in range(10, 12):
            queue.push(ticket(Criticality.SHEDDABLE, flow=6, serial=serial), now=NOW)
        victim = queue.push(ticket(), now=Instant(now))
        assert victim.serial == expected


def test_a_queue_of_no_length_takes_nobody_and_its_refusals_hold():
    queue = PriorityQueue(QueuePolicy(length_max=0))
    best = ticket(Criticality.CRITICAL_PLUS, cohort=1023)
    assert queue.push(best, now=NOW) is best
    assert best.rank <= queue.worst_rank()


def test_fairness_names_the_flooding_tenant_of_the_same_level():
    queue = PriorityQueue(QueuePolicy(length_max=20))
    for serial in range(20):
        queue.push(ticket(flow=5, serial=serial), now=NOW)
    newcomer = ticket(flow=6)
    assert queue.push(newcomer, now=NOW) is newcomer
    victim = queue.fair_victim(newcomer, now=NOW)
    assert victim.flow_hash == 5
    assert len(queue) == 20
    assert queue.remove(victim)
    assert queue.push(newcomer, now=NOW) is None


def test_fairness_names_nobody_when_it_would_only_swap_places():
    queue = PriorityQueue(QueuePolicy(length_max=4, hand=1))
    assert queue.fair_victim(ticket(flow=5), now=NOW) is None
    for flow in (5, 5, 6, 6):
        queue.push(ticket(flow=flow), now=NOW)
    assert queue.fair_victim(ticket(flow=5), now=NOW) is None
    assert queue.fair_victim(ticket(flow=7, cost=2), now=NOW) is None
    assert queue.fair_victim(ticket(flow=7), now=NOW) is not None
    assert queue.fair_victim(ticket(Criticality.SHEDDABLE, flow=7), now=NOW) is None


def test_expired_waiters_leave_soonest_first_and_the_next_expiry_is_exact():
    queue = PriorityQueue(QueuePolicy())
    for serial, expires in enumerate((30, 10, 20, 40)):
        queue.push(ticket(expires=expires, serial=serial, flow=serial), now=NOW)
    assert queue.next_expiry_at() == 10
    assert not queue.expire(now=Instant(9))
    assert [one.serial for one in queue.expire(now=Instant(20))] == [1, 2]
    assert queue.next_expiry_at() == 30
    assert queue.pop(now=Instant(21)).serial == 0
    assert queue.next_expiry_at() == 40
    assert len(queue) == 1


def test_a_waiter_is_removed_once():
    queue = PriorityQueue(QueuePolicy())
    one, other = ticket(), ticket()
    queue.push(one, now=NOW)
    queue.push(other, now=NOW)
    assert queue.remove(one)
    assert not queue.remove(one)
    assert drain(queue) == [other]
    assert not queue.remove(other)


def test_a_shorter_bound_turns_the_worst_out_first_and_keeps_the_rest():
    queue = PriorityQueue(QueuePolicy())
    for serial in range(10):
        queue.push(ticket(serial % 4, serial=serial, flow=serial), now=NOW)
    victims = queue.apply(QueuePolicy(length_max=4), now=NOW)
    assert [one.request.criticality for one in victims] == [0, 0, 0, 1, 1, 1]
    assert all(one.rank <= queue.worst_rank() for one in victims)
    assert len(queue) == 4 == len(drain(queue))


def test_no_waiter_is_lost_when_shards_or_hands_change():
    queue = PriorityQueue(QueuePolicy(shards=64, hand=4))
    pushed = set()
    for policy in (
        QueuePolicy(shards=4, hand=8),
        QueuePolicy(shards=128, hand=1),
        QueuePolicy(shards=1, hand=1),
    ):
        for flow in range(50):
            one = ticket(flow=flow)
            pushed.add(one)
            queue.push(one, now=NOW)
        assert not queue.apply(policy, now=NOW)
    assert set(drain(queue)) == pushed


def test_length_from_counts_what_may_be_served_first():
    queue = PriorityQueue(QueuePolicy())
    for criticality, count in enumerate((1, 2, 3, 4)):
        for _ in range(count):
            queue.push(ticket(criticality), now=NOW)
    queue.push(ticket(Criticality.CRITICAL, is_retry=True), now=NOW)
    assert queue.length_from(ticket(Criticality.CRITICAL_PLUS, cohort=7).rank) == 4
    assert queue.length_from(ticket(Criticality.CRITICAL).rank) == 7
    assert queue.length_from(ticket(Criticality.CRITICAL, is_retry=True).rank) == 8
    assert queue.length_from(0) == 11


def test_the_oldest_arrival_is_that_of_the_waiter_pushed_first():
    queue = PriorityQueue(QueuePolicy())
    waiters = [ticket(at=at, flow=at) for at in (3, 5, 8)]
    for one in waiters:
        queue.push(one, now=Instant(one.arrived_at))
    assert queue.oldest_arrival_at() == 3
    queue.remove(waiters[0])
    assert queue.oldest_arrival_at() == 5


@pytest.mark.parametrize("way_out", ["remove", "pop", "expire"])
def test_memory_does_not_grow_with_what_passed_through(way_out):
    queue = PriorityQueue(QueuePolicy(length_max=10_000))
    stay = [ticket(flow=i) for i in range(20)]
    for one in stay:
        queue.push(one, now=NOW)

    def pass_through(count: int) -> None:
        for i in range(count):
            one = ticket(Criticality.CRITICAL_PLUS, flow=i, expires=LONG if i % 2 else i)
            queue.push(one, now=NOW)
            if way_out == "remove":
                queue.remove(one)
            elif way_out == "pop":
                queue.pop(now=NOW)
            elif one.expires_at == i:
                queue.expire(now=Instant(i))
            else:
                queue.remove(one)

    pass_through(2_000)
    tracemalloc.start()
    pass_through(10_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 150_000
    assert len(queue) == 20


def test_an_emptied_queue_keeps_nothing_of_the_crowd_it_held():
    queue = PriorityQueue(QueuePolicy(length_max=10_000))
    tracemalloc.start()
    for i in range(5_000):
        queue.push(ticket(flow=i % 40), now=NOW)
    while queue.pop(now=NOW) is not None:
        pass
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 200_000 < peak


class Model:
    """What the queue promises, the slow way: a list."""

    def __init__(self, length_max: int) -> None:
        self.waiting: list[Ticket] = []
        self.length_max = length_max

    def best_level(self) -> int:
        return max(map(level_of, self.waiting))

    def worst_level(self) -> int:
        return min(map(level_of, self.waiting))


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("push"),
            st.integers(0, 3),
            st.booleans(),
            st.integers(0, 5),
            st.integers(0, 1023),
            st.sampled_from([1, 2, 5]),
            st.integers(1, 200),
        ),
        st.tuples(st.just("pop")),
        st.tuples(st.just("remove"), st.integers(0, 1000)),
        st.tuples(st.just("expire"), st.integers(0, 60)),
        st.tuples(st.just("apply"), st.integers(0, 12), st.integers(1, 6)),
    ),
    max_size=120,
)


@settings(max_examples=200, deadline=None)
@given(OPERATIONS, st.integers(1, 12), st.sampled_from([0, 50, 10**9]))
def test_it_behaves_as_a_list_would(operations, length_max, lifo_after_ns):
    """Every ticket leaves exactly once, by priority, and every refusal can be proved."""
    queue = PriorityQueue(QueuePolicy(length_max=length_max, lifo_after_ns=lifo_after_ns, shards=4))
    model, now = Model(length_max), Instant(0)
    for operation in operations:
        run_operation(queue, model, now, operation)
        if operation[0] == "expire":
            now = Instant(now + operation[1])
        check_read_outs(queue, model)
    left = drain(queue, now)
    assert sorted(map(id, left)) == sorted(map(id, model.waiting))
    assert [level_of(one) for one in left] == sorted(map(level_of, left), reverse=True)


def run_operation(queue: PriorityQueue, model: Model, now: Instant, operation: tuple) -> None:
    waiting = model.waiting
    match operation:
        case ("push", criticality, is_retry, flow, cohort, cost, wait):
            one = ticket(
                criticality,
                is_retry=is_retry,
                flow=flow,
                cohort=cohort,
                cost=cost,
                at=now,
                expires=now + wait,
            )
            run_push(queue, model, one, now)
        case ("pop",):
            expected = queue.peek(now=now)
            one = queue.pop(now=now)
            assert one is expected
            assert (one is None) == (not waiting)
            if one is not None:
                assert level_of(one) == model.best_level()
                waiting.remove(one)
        case ("remove", place):
            if waiting:
                one = waiting.pop(place % len(waiting))
                assert queue.remove(one)
                assert not queue.remove(one)
        case ("expire", step):
            later = Instant(now + step)
            expired = queue.expire(now=later)
            assert {id(x) for x in expired} == {id(x) for x in waiting if x.expires_at <= later}
            times = [one.expires_at for one in expired]
            assert times == sorted(times)
            waiting[:] = [one for one in waiting if one.expires_at > later]
        case ("apply", length_max, shards):
            model.length_max = length_max
            policy = QueuePolicy(length_max=length_max, shards=shards, hand=2)
            for victim in queue.apply(policy, now=now):
                assert level_of(victim) == model.worst_level()
                assert holds(RejectReason.QUEUE_FULL, queue, model, victim, queue.worst_rank())
                waiting.remove(victim)
            assert len(waiting) <= length_max


def run_push(queue: PriorityQueue, model: Model, one: Ticket, now: Instant) -> None:
    was_full = len(model.waiting) >= model.length_max
    worst_rank = queue.worst_rank()
    victim = queue.push(one, now=now)
    if victim is one:
        assert was_full
        assert holds(RejectReason.QUEUE_FULL, queue, model, one, worst_rank)
        return
    assert was_full == (victim is not None)
    if victim is not None:
        assert level_of(victim) == model.worst_level() < level_of(one)
        assert holds(RejectReason.EVICTED, queue, model, victim, one.rank)
        model.waiting.remove(victim)
    model.waiting.append(one)


def holds(
    reason: RejectReason, queue: PriorityQueue, model: Model, one: Ticket, other_rank: int
) -> bool:
    numbers = (model.length_max, one.rank, other_rank)
    if reason is RejectReason.EVICTED:
        numbers = (*numbers, 0)
    length = len(queue)
    return refusal_holds(Rejected(one.request, reason, NOW, numbers, queue_length=length))


def check_read_outs(queue: PriorityQueue, model: Model) -> None:
    waiting = model.waiting
    assert len(queue) == len(waiting)
    assert queue.next_expiry_at() == min((x.expires_at for x in waiting), default=None)
    assert queue.oldest_arrival_at() == min((x.arrived_at for x in waiting), default=None)
    for criticality in range(4):
        rank = ticket(criticality).rank
        assert queue.length_from(rank) == sum(level_of(x) >= criticality * 2 + 1 for x in waiting)
    if waiting:
        assert all(
            x.rank <= queue.worst_rank() for x in waiting if level_of(x) == model.worst_level()
        )
        assert all(
            x.rank > queue.worst_rank() for x in waiting if level_of(x) > model.worst_level()
        )


def test_only_a_better_level_outranks_all_that_wait():
    """A newcomer of the best waiter's level has to wait behind it, whatever its cohort."""
    queue = PriorityQueue(QueuePolicy())
    assert queue.is_outranked_by(0)
    queue.push(ticket(Criticality.SHEDDABLE), now=NOW)
    best = ticket(Criticality.CRITICAL, is_retry=True)
    queue.push(best, now=NOW)
    assert not queue.is_outranked_by(ticket(Criticality.SHEDDABLE, cohort=1023).rank)
    assert not queue.is_outranked_by(ticket(Criticality.CRITICAL, is_retry=True, cohort=1023).rank)
    assert queue.is_outranked_by(ticket(Criticality.CRITICAL).rank)
    queue.remove(best)
    assert queue.is_outranked_by(ticket(Criticality.SHEDDABLE_PLUS, is_retry=True).rank)
