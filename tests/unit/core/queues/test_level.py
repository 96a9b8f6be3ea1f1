"""Inside a level: equal cost for backlogged shards, no credit for idle ones, exact order in one."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.core.decision import Ticket
from shedproxy.core.fair_share import SlotShare
from shedproxy.core.queues.level import Level
from shedproxy.core.request import RequestInfo
from shedproxy.core.sharding import place_of
from shedproxy.core.units import Instant

NOW = Instant(0)
COSTS = {cost: RequestInfo(cost=cost) for cost in range(1, 11)}


SERIALS = count(1000)


def ticket(flow: int = 0, cost: int = 1, serial: int | None = None, rank: int = 0) -> Ticket:
    serial = next(SERIALS) if serial is None else serial
    return Ticket(serial, COSTS[cost], flow, 0, rank, NOW, NOW, place=place_of(flow))


def fill(level: Level, flow: int, tickets: int, cost: int = 1) -> None:
    for _ in range(tickets):
        level.add(ticket(flow, cost), (flow,), now=NOW)


def served(level: Level, tickets: int) -> Counter[int]:
    """Cost served by flow, over so many tickets."""
    costs: Counter[int] = Counter()
    for _ in range(tickets):
        one = level.take(newest=False)
        costs[one.flow_hash] += one.cost
    return costs


def test_one_shard_serves_in_order_or_newest_first():
    level = Level(0, 4)
    for serial in range(4):
        level.add(ticket(serial=serial), (2,), now=NOW)
    assert level.take(newest=False).serial == 0
    assert level.take(newest=True).serial == 3
    assert [level.take(newest=False).serial for _ in range(2)] == [1, 2]
    assert level.length == 0


def test_backlogged_shards_take_turns():
    level = Level(0, 4)
    fill(level, 1, 6)
    fill(level, 2, 6)
    fill(level, 3, 6)
    order = [level.take(newest=False).flow_hash for _ in range(9)]
    assert order == [1, 2, 3] * 3


def test_fairness_is_by_cost_not_by_requests():
    level = Level(0, 4)
    fill(level, 1, 100, cost=1)
    fill(level, 2, 100, cost=4)
    costs = served(level, 75)
    assert abs(costs[1] - costs[2]) <= 4


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.integers(1, 10), min_size=30, max_size=30), min_size=2, max_size=6),
    st.booleans(),
)
def test_two_backlogged_shards_are_never_further_apart_than_their_largest_costs(costs, newest):
    """The bound of start-time fair queueing, for any sizes and either order of service."""
    level = Level(0, len(costs))
    for flow, sizes in enumerate(costs):
        for cost in sizes:
            level.add(ticket(flow, cost), (flow,), now=NOW)
    given_cost, left = [0] * len(costs), [30] * len(costs)
    while all(left):
        one = level.take(newest=newest)
        given_cost[one.flow_hash] += one.cost
        left[one.flow_hash] -= 1
        assert max(given_cost) - min(given_cost) <= 20


def test_an_idle_shard_builds_no_credit():
    level = Level(0, 4)
    fill(level, 1, 1000)
    served(level, 500)
    fill(level, 2, 100)
    costs = served(level, 40)
    assert abs(costs[1] - costs[2]) <= 1


def test_a_shard_that_was_emptied_without_service_builds_no_credit():
    level = Level(0, 4)
    fill(level, 1, 1000)
    gone = ticket(2)
    level.add(gone, (2,), now=NOW)
    level.discard(gone)
    served(level, 500)
    fill(level, 2, 100)
    costs = served(level, 40)
    assert abs(costs[1] - costs[2]) <= 1


def test_leaving_and_coming_back_gains_no_turn():
    level = Level(0, 4)
    fill(level, 1, 1000)
    costs: Counter[int] = Counter()
    for _ in range(400):
        if not costs["waiting"]:
            level.add(ticket(2), (2,), now=NOW)
            costs["waiting"] = 1
        one = level.take(newest=False)
        costs[one.flow_hash] += 1
        if one.flow_hash == 2:
            costs["waiting"] = 0
    assert abs(costs[1] - costs[2]) <= 1


def test_what_leaves_unserved_is_not_charged():
    level = Level(0, 4)
    fill(level, 1, 20)
    for _ in range(50):
        gone = ticket(2, cost=10)
        level.add(gone, (2,), now=NOW)
        level.discard(gone)
    fill(level, 2, 20)
    assert served(level, 20) == {1: 10, 2: 10}


def test_a_flow_joins_the_shortest_shard_of_its_hand_and_the_first_of_equals():
    level = Level(0, 8)
    fill(level, 3, 2)
    joined = []
    for _ in range(4):
        one = ticket(7)
        level.add(one, (3, 5, 1), now=NOW)
        joined.append(one.queue_slot.index)
    assert joined == [5, 1, 5, 1]
    assert level.shortest_queued((3, 5)) == 2
    assert level.shortest_queued((0, 5)) == 0


def test_the_longest_shard_is_the_one_with_the_most_cost():
    level = Level(0, 4)
    fill(level, 1, 5)
    fill(level, 2, 1, cost=6)
    fill(level, 3, 2, cost=2)
    longest = level.longest(newest=True)
    assert longest.flow_hash == 2
    assert level.queued_with(longest) == 6
    level.discard(longest)
    assert level.longest(newest=True).flow_hash == 1


def test_a_period_begins_when_it_becomes_occupied():
    level = Level(0, 1)
    level.add(ticket(), (0,), now=Instant(5))
    level.add(ticket(), (0,), now=Instant(9))
    assert level.period_at == 5
    level.take(newest=False)
    level.take(newest=False)
    level.add(ticket(), (0,), now=Instant(12))
    assert level.period_at == 12


def test_it_starves_where_more_better_ones_are_served():
    level = Level(0, 1)
    level.add(ticket(), (0,), now=Instant(5), served_in_all=7)
    level.served = 2
    level.end_period(now=Instant(9), served_in_all=7 + 4)
    assert not level.is_starved
    level.served = 2
    level.end_period(now=Instant(12), served_in_all=7 + 4 + 5)
    assert level.is_starved
    assert level.period_at == 12


def test_it_starves_no_more_once_it_was_empty():
    level = Level(0, 1)
    level.add(ticket(), (0,), now=Instant(5))
    level.end_period(now=Instant(9), served_in_all=4)
    assert level.is_starved
    level.take(newest=True)
    level.add(ticket(), (0,), now=Instant(12), served_in_all=4)
    assert not level.is_starved


def test_shards_can_be_added_and_are_never_taken_away():
    level = Level(0, 2)
    fill(level, 1, 1)
    level.extend(4)
    fill(level, 3, 1)
    level.extend(1)
    assert served(level, 2) == {1: 1, 3: 1}


def test_coming_back_is_coming_last():
    """Who left unserved and returns goes behind those who came meanwhile."""
    level = Level(0, 8)
    fill(level, 1, 2)
    gone = ticket(2)
    level.add(gone, (2,), now=NOW)
    level.discard(gone)
    fill(level, 3, 1)
    fill(level, 2, 1)
    assert [level.take(newest=False).flow_hash for _ in range(4)] == [1, 3, 2, 1]


def test_what_costs_too_much_stays_first_and_nothing_changes():
    """And no lesser request goes in its place: it would never be served."""
    level = Level(0, 4)
    fill(level, 1, 1, cost=5)
    fill(level, 2, 1, cost=1)
    assert level.take(newest=False, cost_max=4) is None
    assert level.length == 2
    assert level.shortest_queued((1,)) == 5
    assert level.take(newest=False, cost_max=5).flow_hash == 1
    assert level.take(newest=False, cost_max=1).flow_hash == 2


def test_the_lowest_is_of_any_shard_and_the_newest_of_equals():
    level = Level(0, 4)
    ranks = [7, 3, 9, 3, 5]
    waiting = [ticket(index % 3, rank=rank) for index, rank in enumerate(ranks)]
    for one in waiting:
        level.add(one, (one.flow_hash,), now=NOW)
    gone = []
    while level.length:
        gone.append(level.lowest())
        level.discard(gone[-1])
    assert gone == [waiting[index] for index in (3, 1, 4, 0, 2)]


def test_asking_for_the_lowest_changes_nothing():
    level = Level(0, 4)
    level.add(ticket(rank=5), (0,), now=NOW)
    best = ticket(rank=9)
    level.add(best, (0,), now=NOW)
    assert level.lowest().rank == level.lowest().rank == 5
    level.take(newest=False)
    assert level.lowest() is best
    assert level.length == 1


RANKED = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2), st.integers(0, 9)),
        st.tuples(st.just("take"), st.booleans()),
        st.tuples(st.just("discard"), st.integers(0, 99)),
        st.tuples(st.just("lowest")),
    ),
    max_size=200,
)


@settings(max_examples=100, deadline=None)
@given(RANKED)
def test_the_lowest_is_what_a_list_would_say(operations):
    """Asked rarely or often, with tickets that left in any way since."""
    level, waiting = Level(0, 3), []
    for what, *arguments in operations:
        if what == "add":
            flow, rank = arguments
            one = ticket(flow, rank=rank)
            level.add(one, (flow,), now=NOW)
            waiting.append(one)
        elif waiting:
            if what == "take":
                waiting.remove(level.take(newest=arguments[0]))
            elif what == "discard":
                level.discard(waiting.pop(arguments[0] % len(waiting)))
            else:
                assert level.lowest() is min(waiting, key=lambda one: (one.rank, -one.serial))


def test_the_order_of_ranks_is_not_kept_for_those_that_left():
    """Thousands pass beside one that stays, while somebody asks all the time."""
    level = Level(0, 4)
    level.add(ticket(rank=0), (0,), now=NOW)
    level.lowest()
    for _ in range(5000):
        one = ticket(1, rank=9)
        level.add(one, (1,), now=NOW)
        level.discard(one)
        level.lowest()
        assert level._by_rank is None or len(level._by_rank) < 100


def test_who_is_over_its_share_loses_its_turn_while_there_are_others():
    level = Level(0, 4)
    fill(level, 1, 4)
    fill(level, 2, 2)
    fill(level, 3, 1)
    slots = SlotShare()
    slots.most = 1
    slots.enter(place_of(1), 1)
    order = [level.take(newest=False, slots=slots).flow_hash for _ in range(7)]
    assert order == [2, 3, 2, 1, 1, 1, 1]


def test_where_all_are_over_their_share_somebody_is_served():
    level = Level(0, 16)
    for flow in range(16):
        fill(level, flow, 2)
    slots = SlotShare()
    slots.most = 0
    taken = [level.take(newest=False, slots=slots) for _ in range(32)]
    assert len(set(taken)) == 32
    assert level.length == 0
