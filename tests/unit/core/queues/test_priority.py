"""The queue of a cell: strict priority, fairness, eviction, expiry, and nobody lost."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.core.decision import Rejected, RejectReason, Ticket, refusal_holds
from shedproxy.core.policy import QueuePolicy
from shedproxy.core.queues import UNBOUNDED, PriorityQueue
from shedproxy.core.request import LEVELS, RANKS, Criticality, RequestInfo, rank_of
from shedproxy.core.units import Instant, milliseconds

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
SERIALS = count(1_000_000)
"""Those a test does not name: later than any it does."""


def ticket(
    criticality: int = Criticality.CRITICAL,
    *,
    is_retry: bool = False,
    flow: int = 0,
    cohort: int = 0,
    cost: int = 1,
    at: int = 0,
    expires: int = LONG,
    serial: int | None = None,
) -> Ticket:
    serial = next(SERIALS) if serial is None else serial
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
    assert queue.next_expiry_at() is None
    assert queue.worst_rank() == -1
    assert queue.lowest_from(0) is None
    assert queue.length_from(0) == 0
    assert not queue.expire(now=NOW)
    assert not queue.apply(QueuePolicy())
    assert not queue.trim([0] * LEVELS)


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


def test_newest_first_only_once_better_ones_have_kept_the_level_waiting_for_long():
    queue = PriorityQueue(QueuePolicy(lifo_after_ns=milliseconds(100)))
    for serial in range(6):
        queue.push(ticket(Criticality.SHEDDABLE, serial=serial), now=NOW)
    early, late = Instant(milliseconds(100) - 1), Instant(milliseconds(100))
    for _ in range(3):
        queue.push(ticket(Criticality.CRITICAL), now=NOW)
        queue.pop(now=NOW)
    assert queue.pop(now=early).serial == 0
    assert queue.pop(now=late).serial == 5
    assert [one.serial for one in drain(queue, late)] == [4, 3, 2, 1]
    for serial in range(3):
        queue.push(ticket(Criticality.SHEDDABLE, serial=serial), now=late)
    assert [one.serial for one in drain(queue, late)] == [0, 1, 2]


def test_a_level_that_nobody_keeps_waiting_serves_its_oldest_however_long_it_is_busy():
    """Where all are of one class the short queue of overload is never empty, and no reason to let
    the oldest wait until their time is up."""
    queue = PriorityQueue(QueuePolicy(lifo_after_ns=milliseconds(100)))
    for serial in range(3):
        queue.push(ticket(serial=serial), now=NOW)
    for serial in range(3, 40):
        now = Instant(milliseconds(50) * serial)
        queue.push(ticket(serial=serial), now=now)
        assert queue.pop(now=now).serial == serial - 3


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


def test_a_full_queue_evicts_the_lowest_rank_for_a_higher_one_only():
    """Of one level too: two ranks prove it. The newest of equals goes."""
    queue = PriorityQueue(QueuePolicy(length_max=3))
    low = [
        ticket(Criticality.SHEDDABLE_PLUS, serial=serial, cohort=cohort)
        for serial, cohort in enumerate((36, 20, 20))
    ]
    for one in low:
        assert queue.push(one, now=NOW) is None
    for other in (
        ticket(Criticality.SHEDDABLE, cohort=1023),
        ticket(Criticality.SHEDDABLE_PLUS, is_retry=True, cohort=1023),
        ticket(Criticality.SHEDDABLE_PLUS, cohort=20),
    ):
        assert queue.push(other, now=NOW) is other
        assert not queue.remove(other)
    better = ticket(Criticality.SHEDDABLE_PLUS, cohort=28)
    assert queue.push(better, now=NOW) is low[2]
    best = ticket(Criticality.CRITICAL, is_retry=True)
    assert queue.push(best, now=NOW) is low[1]
    assert len(queue) == 3
    assert drain(queue) == [best, low[0], better]


def test_a_first_try_takes_the_place_of_a_retry_of_its_class():
    queue = PriorityQueue(QueuePolicy(length_max=1))
    retry = ticket(is_retry=True, cohort=1023)
    queue.push(retry, now=NOW)
    first_try = ticket(cohort=0)
    assert queue.push(first_try, now=NOW) is retry
    assert retry.rank < first_try.rank


def test_the_victim_may_be_of_any_shard():
    """Rank alone decides; who fills the queue is asked by `fair_victim`."""
    queue = PriorityQueue(QueuePolicy(length_max=6, hand=1))
    for _ in range(5):
        queue.push(ticket(flow=5, cohort=500), now=NOW)
    alone = ticket(flow=6, cohort=400)
    queue.push(alone, now=NOW)
    assert queue.push(ticket(flow=5, cohort=500), now=NOW) is alone


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
    victim = queue.fair_victim(newcomer)
    assert victim.flow_hash == 5
    assert len(queue) == 20
    assert queue.remove(victim)
    assert queue.push(newcomer, now=NOW) is None


def test_fairness_names_the_last_in_line_of_a_tenant():
    """The newest where the oldest are served, and the oldest where the newest are."""
    queue = PriorityQueue(QueuePolicy(length_max=3, hand=1))
    for serial in range(3):
        queue.push(ticket(flow=5, serial=serial), now=NOW)
    assert queue.fair_victim(ticket(flow=6)).serial == 2
    assert queue.fair_victim(ticket(flow=6), newest=True).serial == 0


def test_fairness_names_nobody_when_it_would_only_swap_places():
    queue = PriorityQueue(QueuePolicy(length_max=4, hand=1))
    assert queue.fair_victim(ticket(flow=5)) is None
    for flow in (5, 5, 6, 6):
        queue.push(ticket(flow=flow), now=NOW)
    assert queue.fair_victim(ticket(flow=5)) is None
    assert queue.fair_victim(ticket(flow=7, cost=2)) is None
    assert queue.fair_victim(ticket(flow=7)) is not None
    assert queue.fair_victim(ticket(Criticality.SHEDDABLE, flow=7)) is None


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
    victims = queue.apply(QueuePolicy(length_max=4))
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
        assert not queue.apply(policy)
    assert set(drain(queue)) == pushed


def test_length_from_counts_what_may_be_served_first():
    queue = PriorityQueue(QueuePolicy())
    for criticality, many in enumerate((1, 2, 3, 4)):
        for _ in range(many):
            queue.push(ticket(criticality), now=NOW)
    queue.push(ticket(Criticality.CRITICAL, is_retry=True), now=NOW)
    assert queue.length_from(ticket(Criticality.CRITICAL_PLUS, cohort=7).rank) == 4
    assert queue.length_from(ticket(Criticality.CRITICAL).rank) == 7
    assert queue.length_from(ticket(Criticality.CRITICAL, is_retry=True).rank) == 8
    assert queue.length_from(0) == 11


def test_the_lowest_from_a_rank_ignores_worse_levels():
    queue = PriorityQueue(QueuePolicy())
    waiting = {
        criticality: [ticket(criticality, cohort=cohort) for cohort in (8, 2, 6)]
        for criticality in (Criticality.SHEDDABLE, Criticality.CRITICAL)
    }
    for one in sum(waiting.values(), []):
        queue.push(one, now=NOW)
    low, high = waiting[Criticality.SHEDDABLE], waiting[Criticality.CRITICAL]
    assert queue.lowest_from(0) is low[1]
    assert queue.lowest_from(low[0].rank) is low[1]
    assert queue.lowest_from(ticket(Criticality.SHEDDABLE_PLUS).rank) is high[1]
    assert queue.lowest_from(high[0].rank) is high[1]
    assert queue.lowest_from(ticket(Criticality.CRITICAL_PLUS).rank) is None
    assert queue.worst_rank() == low[1].rank


def test_a_bound_on_a_level_and_better_ones_leaves_worse_ones_alone():
    """Four of a worse level wait; two of the newcomer's and a better one are its bound."""
    queue = PriorityQueue(QueuePolicy())
    for _ in range(4):
        queue.push(ticket(Criticality.SHEDDABLE), now=NOW)
    best = ticket(Criticality.CRITICAL_PLUS, cohort=1)
    same = ticket(Criticality.CRITICAL, cohort=6)
    for one in (best, same):
        assert queue.push(one, now=NOW, ahead_max=2) is None
    for cohort in (5, 6):
        worse = ticket(Criticality.CRITICAL, cohort=cohort)
        assert queue.push(worse, now=NOW, ahead_max=2) is worse
    better = ticket(Criticality.CRITICAL, cohort=8)
    assert queue.push(better, now=NOW, ahead_max=2) is same
    assert len(queue) == 6
    assert queue.length_from(better.rank) == 2


def test_where_only_better_ones_fill_the_bound_the_newcomer_is_refused():
    queue = PriorityQueue(QueuePolicy())
    for _ in range(3):
        queue.push(ticket(Criticality.CRITICAL_PLUS), now=NOW)
    newcomer = ticket(Criticality.CRITICAL, cohort=1023)
    assert queue.push(newcomer, now=NOW, ahead_max=3) is newcomer
    assert queue.push(newcomer, now=NOW, ahead_max=4) is None


def test_the_bound_on_the_whole_queue_holds_beside_that_on_levels():
    """It is the worst of all that has to go, not the worst of the newcomer's level."""
    queue = PriorityQueue(QueuePolicy(length_max=3))
    low = ticket(Criticality.SHEDDABLE, cohort=1023)
    for one in (low, ticket(cohort=4), ticket(cohort=5)):
        queue.push(one, now=NOW)
    assert queue.push(ticket(cohort=3), now=NOW, ahead_max=3) is low
    assert len(queue) == 3


def test_a_trim_leaves_each_level_its_bound_and_takes_the_lowest_ranks():
    """Level by level from the worst; a victim comes with how many waited where it was one."""
    queue = PriorityQueue(QueuePolicy())
    sheddable = [ticket(Criticality.SHEDDABLE, cohort=2 * c) for c in range(5)]
    critical = [ticket(Criticality.CRITICAL, cohort=2 * c) for c in range(4)]
    for one in (*sheddable, *critical):
        queue.push(one, now=NOW)
    ahead_max = [100] * LEVELS
    ahead_max[level_of(sheddable[0])] = 6
    ahead_max[level_of(critical[0])] = 3
    assert queue.trim(ahead_max) == [
        (sheddable[0], 9),
        (sheddable[1], 8),
        (sheddable[2], 7),
        (critical[0], 4),
    ]
    assert drain(queue) == [*critical[1:], *sheddable[3:]]


def test_a_trim_empties_a_level_before_it_touches_better_ones_within_their_bound():
    queue = PriorityQueue(QueuePolicy())
    sheddable = [ticket(Criticality.SHEDDABLE) for _ in range(3)]
    critical = [ticket(Criticality.CRITICAL) for _ in range(4)]
    for one in (*sheddable, *critical):
        queue.push(one, now=NOW)
    victims = queue.trim([2 if level < 4 else 100 for level in range(LEVELS)])
    assert [one for one, _ in victims] == sheddable
    assert drain(queue) == critical


def test_of_equals_a_trim_takes_the_oldest():
    """They have the least time left, and who is left is served."""
    queue = PriorityQueue(QueuePolicy())
    waiting = [ticket(at=at) for at in range(5)]
    for one in waiting:
        queue.push(one, now=NOW)
    assert [one for one, _ in queue.trim([2] * LEVELS)] == waiting[:3]
    assert drain(queue) == waiting[3:]


def test_who_has_waited_longer_than_its_level_may_is_overdue():
    queue = PriorityQueue(QueuePolicy())
    low = [ticket(Criticality.SHEDDABLE, at=at) for at in (0, 10, 20)]
    high = [ticket(at=at) for at in (0, 10)]
    for one in (*low, *high):
        queue.push(one, now=NOW)
    wait_max_ns = [UNBOUNDED] * LEVELS
    wait_max_ns[level_of(low[0])] = 20
    assert queue.overdue(wait_max_ns, Instant(30)) == low[:1]
    assert drain(queue) == [*high, *low[1:]]


def test_of_those_that_are_overdue_one_stays_that_is_better_than_who_would_be_served():
    """Nobody of a lesser level comes before somebody better was told to go."""
    queue = PriorityQueue(QueuePolicy())
    low = [ticket(Criticality.SHEDDABLE, at=30) for _ in range(2)]
    high = [ticket(at=at) for at in (0, 1, 2)]
    for one in (*low, *high):
        queue.push(one, now=NOW)
    wait_max_ns = [20] * LEVELS
    assert queue.overdue(wait_max_ns, Instant(40)) == high[:2]
    assert drain(queue) == [high[2], *low]
    for one in high:
        queue.push(one, now=NOW)
    assert queue.overdue(wait_max_ns, Instant(40)) == high, "nobody waits behind them"


def test_the_newest_is_served_if_asked_for():
    """Of the best level, as ever."""
    queue = PriorityQueue(QueuePolicy())
    low, high = [ticket(Criticality.SHEDDABLE)], [ticket(), ticket()]
    for one in (*high, *low):
        queue.push(one, now=NOW)
    assert queue.pop(now=NOW, newest=True) is high[1]
    assert queue.pop(now=NOW) is high[0]


def test_the_oldest_of_a_gentle_swell_is_passed_by():
    """Not while nobody is served, and not when the queue falls."""
    queue = PriorityQueue(QueuePolicy())

    def come(count: int, at: int) -> None:
        for _ in range(count):
            queue.push(ticket(at=at), now=Instant(at))

    come(10, at=1)
    queue.push(ticket(at=2, expires=3), now=Instant(2))  # It expires first, and is not the oldest.
    queue.pop(now=Instant(2))
    come(8, at=2)
    assert queue.is_swelling()
    assert queue.passed_by_since() is None
    for _ in range(17):
        come(1, at=2)
        queue.pop(now=Instant(2), newest=queue.is_swelling())
    assert queue.is_swelling()
    assert queue.passed_by_since() == 1
    for _ in range(9):
        queue.pop(now=Instant(3))
    assert not queue.is_swelling()
    assert queue.passed_by_since() is None


def test_a_waiter_that_costs_too_much_holds_its_place():
    queue = PriorityQueue(QueuePolicy())
    wide, narrow = ticket(cost=5), ticket(Criticality.SHEDDABLE)
    for one in (wide, narrow):
        queue.push(one, now=NOW)
    assert queue.pop(now=NOW, cost_max=4) is None
    assert len(queue) == 2
    assert queue.pop(now=NOW, cost_max=5) is wide
    assert queue.pop(now=NOW, cost_max=0) is None
    assert queue.pop(now=NOW, cost_max=1) is narrow


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

    def from_level(self, level: int) -> list[Ticket]:
        return [one for one in self.waiting if level_of(one) >= level]

    def lowest_from(self, level: int) -> Ticket | None:
        above = self.from_level(level)
        return min(above, key=lambda one: (one.rank, -one.serial), default=None)


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
            st.sampled_from([UNBOUNDED, UNBOUNDED, 0, 1, 2, 4]),
        ),
        st.tuples(st.just("pop"), st.sampled_from([UNBOUNDED, UNBOUNDED, 1, 2])),
        st.tuples(st.just("remove"), st.integers(0, 1000)),
        st.tuples(st.just("expire"), st.integers(0, 60)),
        st.tuples(st.just("apply"), st.integers(0, 12), st.integers(1, 6)),
        st.tuples(st.just("trim"), st.lists(st.integers(0, 8), min_size=8, max_size=8)),
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
        case ("push", criticality, is_retry, flow, cohort, cost, wait, ahead_max):
            one = ticket(
                criticality,
                is_retry=is_retry,
                flow=flow,
                cohort=cohort,
                cost=cost,
                at=now,
                expires=now + wait,
            )
            run_push(queue, model, one, now, ahead_max)
        case ("pop", cost_max):
            one = queue.pop(now=now, cost_max=cost_max)
            if one is None and waiting:
                # It held its place, and is still the next.
                one = queue.pop(now=now)
                assert one.cost > cost_max
            elif one is not None:
                assert one.cost <= cost_max
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
            for victim in queue.apply(QueuePolicy(length_max=length_max, shards=shards, hand=2)):
                assert victim is model.lowest_from(0)
                assert victim.rank <= queue.worst_rank()
                waiting.remove(victim)
            assert len(waiting) <= length_max
        case ("trim", ahead_max):
            for victim, ahead in queue.trim(ahead_max):
                level = level_of(victim)
                assert ahead == len(model.from_level(level)) > ahead_max[level]
                lowest = min(model.from_level(level), key=lambda one: (one.rank, one.serial))
                assert victim is lowest
                waiting.remove(victim)
            for one in waiting:
                assert len(model.from_level(level_of(one))) <= ahead_max[level_of(one)]


def run_push(queue: PriorityQueue, model: Model, one: Ticket, now: Instant, ahead_max: int) -> None:
    level = level_of(one)
    ahead = len(model.from_level(level))
    worst_rank = queue.worst_rank()
    if ahead >= ahead_max:
        lowest, bound, counted = model.lowest_from(level), ahead_max, ahead
        worst_rank = RANKS - 1 if lowest is None else lowest.rank
    else:
        lowest, bound, counted = model.lowest_from(0), model.length_max, len(model.waiting)
    victim = queue.push(one, now=now, ahead_max=ahead_max)
    if counted < bound:
        assert victim is None
    elif lowest is None or one.rank <= lowest.rank:
        assert victim is one
        assert holds(RejectReason.QUEUE_FULL, counted, bound, one, worst_rank)
        return
    else:
        assert victim is lowest
        assert holds(RejectReason.EVICTED, counted, bound, victim, one.rank)
        model.waiting.remove(victim)
    model.waiting.append(one)
    assert len(model.from_level(level)) <= max(ahead, ahead_max)


def holds(reason: RejectReason, length: int, bound: int, one: Ticket, other_rank: int) -> bool:
    numbers = (bound, one.rank, other_rank)
    if reason is RejectReason.EVICTED:
        numbers = (*numbers, 0)
    return refusal_holds(Rejected(one.request, reason, NOW, numbers, queue_length=length))


def check_read_outs(queue: PriorityQueue, model: Model) -> None:
    waiting = model.waiting
    assert len(queue) == len(waiting)
    assert queue.next_expiry_at() == min((x.expires_at for x in waiting), default=None)
    for criticality in range(4):
        rank = ticket(criticality).rank
        level = criticality * 2 + 1
        assert queue.length_from(rank) == len(model.from_level(level))
        assert queue.lowest_from(rank) is model.lowest_from(level)
    if waiting:
        assert queue.worst_rank() == min(one.rank for one in waiting)


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
