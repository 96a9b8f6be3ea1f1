"""Two rates that can be divided, and the rank below which a share of demand lies."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import Criticality, Instant, RequestInfo, rank_of, seconds
from shedproxy.core.demand import PPM, Demand
from shedproxy.core.request import LEVELS, RANKS

START = Instant(7)


def at(now_s: float) -> Instant:
    return Instant(START + seconds(now_s))


def ask(demand: Demand, rank: int, times: int = 1, cost: int = 1) -> None:
    for _ in range(times):
        demand.on_arrival(rank, cost)


def end(demand: Demand, slots: int) -> None:
    """Work ends, as whoever frees slots counts it."""
    if demand.busy_since >= 0:
        demand.ended += slots


def test_without_anything_both_rates_are_0() -> None:
    """After a while too."""
    demand = Demand(now=START)
    assert (demand.offered_rps, demand.capacity_rps) == (0, 0)
    demand.update(at(1))
    assert (demand.offered_rps, demand.capacity_rps) == (0, 0)


def test_more_slots_are_taken_to_do_more_until_it_is_seen_what_they_do() -> None:
    """A limit that ramps up is in the way at first, and nobody waits at the one it ramps to."""
    demand = Demand(now=START)
    demand.saturate(at(0))
    end(demand, 100)
    demand.update(at(1), 8)
    assert demand.pace_rps == pytest.approx(100)
    demand.relieve(at(1))
    demand.update(at(2), 16)
    assert demand.pace_rps == pytest.approx(200)
    assert demand.capacity_rps == pytest.approx(100), "which is no guess"
    demand.saturate(at(2))
    for second in range(3, 63):  # no more than before
        end(demand, 100)
        demand.update(at(second), 16)
    assert demand.pace_rps == pytest.approx(100, rel=0.01)
    demand.update(at(64), 4)
    assert demand.pace_rps == pytest.approx(100, rel=0.01), "with fewer it is what it was"


def test_demand_is_slots_asked_for_per_second() -> None:
    """A request that takes three slots asks for three."""
    demand = Demand(now=START)
    ask(demand, 5, times=10)
    ask(demand, 9, times=10, cost=3)
    demand.update(at(0.5))
    assert demand.offered_rps == pytest.approx(80)
    assert demand.arrivals == 20


def test_capacity_is_what_ends_while_somebody_waits() -> None:
    """What ended before and after, and the time nobody waited, do not count."""
    demand = Demand(now=START)
    end(demand, 50)
    demand.saturate(at(1))
    end(demand, 30)
    demand.relieve(at(1.5))
    end(demand, 70)
    demand.update(at(3))
    assert demand.capacity_rps == pytest.approx(60)


def test_the_stopwatch_runs_from_the_first_waiter_to_the_last() -> None:
    """Being told again changes nothing, and a period may end while it runs."""
    demand = Demand(now=START)
    demand.relieve(at(0.5))
    demand.saturate(at(1))
    demand.saturate(at(1.4))
    end(demand, 10)
    demand.update(at(1.5))
    assert demand.capacity_rps == pytest.approx(20)
    end(demand, 10)
    demand.relieve(at(2))
    demand.relieve(at(2.4))
    demand.update(at(3))
    # Ten ends of a thousand: the first half weighs one percent less.
    assert demand.capacity_rps == pytest.approx(20)
    assert demand.busy_since == -1


def flooded(before_rps: int, *, asked: int, queued_s: float) -> Demand:
    """Ten seconds of one rate, nobody waits; then a flood, for which everybody does."""
    demand = Demand(now=START)
    for second in range(1, 11):
        ask(demand, 5, times=before_rps)
        demand.update(at(second))
    ask(demand, 5)
    demand.saturate(at(10))
    ask(demand, 5, times=asked)
    demand.update(at(10 + queued_s))
    return demand


@pytest.mark.parametrize("before_rps", [0, 20, 100])
def test_a_flood_is_counted_from_the_first_waiter_on_once_it_is_one(before_rps: int) -> None:
    """However long nothing, or little, was asked for before."""
    demand = flooded(before_rps, asked=150, queued_s=0.5)
    assert demand.offered_rps < 130, "seconds are remembered"
    demand.recount()
    assert demand.offered_rps == pytest.approx(300)
    ask(demand, 5, times=450)
    demand.update(at(12))
    assert demand.offered_rps == pytest.approx(300), "and it goes on from there"


@pytest.mark.parametrize(
    ("before_rps", "asked", "queued_s"),
    [
        (0, 63, 0.5),  # too few to be counted
        (0, 15, 1.5),  # even in so long a time
        (100, 70, 0.5),  # chance: 50 were to be expected
        (400, 150, 0.5),  # less than before
    ],
)
def test_what_is_known_of_demand_stays_where_it_explains_the_queue(
    before_rps: int, asked: int, queued_s: float
) -> None:
    demand = flooded(before_rps, asked=asked, queued_s=queued_s)
    before = demand.offered_rps
    demand.recount()
    assert demand.offered_rps == before


def test_before_a_slow_service_some_are_a_flood_if_it_lasts() -> None:
    """Fifteen a second for one and a half, of a service that does ten."""
    demand = flooded(1, asked=22, queued_s=1.5)
    assert demand.offered_rps < 5
    demand.recount(least_s=2.0)
    assert demand.offered_rps < 5, "it is too young for this"
    demand.recount(least_s=1.0)
    assert demand.offered_rps == pytest.approx(22 / 1.5)


def test_a_queue_that_is_older_than_what_is_remembered_tells_nothing_new() -> None:
    """Thirty a second for a minute, then ten: that it was more does not make it more."""
    demand = flooded(30, asked=0, queued_s=1)
    for second in range(12, 72):
        ask(demand, 5, times=30)
        end(demand, 10)
        demand.update(at(second))
    for second in range(72, 132):
        ask(demand, 5, times=10)
        end(demand, 10)
        demand.update(at(second))
    before = demand.offered_rps
    demand.recount()
    assert demand.offered_rps == before < 14


def test_who_comes_at_once_is_taken_for_a_burst_of_a_tenth_of_a_second() -> None:
    demand = flooded(0, asked=80, queued_s=0.0)
    demand.recount()
    assert demand.offered_rps == pytest.approx(800)


def test_few_requests_of_many_slots_are_few() -> None:
    demand = Demand(now=START)
    demand.update(at(10))
    ask(demand, 5)
    demand.saturate(at(10))
    ask(demand, 5, times=63, cost=16)
    demand.update(at(10.5))
    before = demand.offered_rps
    demand.recount()
    assert demand.offered_rps == before
    ask(demand, 5, cost=16)
    demand.update(at(10.5))
    demand.recount()
    assert demand.offered_rps == pytest.approx(2 * 64 * 16)


def test_without_anybody_who_waits_there_is_nothing_to_recount() -> None:
    demand = flooded(0, asked=150, queued_s=0.5)
    demand.relieve(at(10.5))
    before = demand.offered_rps
    demand.recount()
    assert demand.offered_rps == before


def test_the_part_of_a_period_in_which_slots_were_idle_is_known() -> None:
    """Whoever says so twice counts once; what lasts is cut at the end of the period."""
    demand = Demand(now=Instant(0))
    for at_s in (1, 1.125):
        demand.starve(Instant(seconds(at_s)))
    for at_s in (1.25, 1.5):
        demand.feed(Instant(seconds(at_s)))
    demand.starve(Instant(seconds(1.75)))
    demand.update(Instant(seconds(2)))
    assert (demand.period_s, demand.starved_share) == (2, pytest.approx(0.25))
    demand.update(Instant(seconds(3)))
    assert (demand.period_s, demand.starved_share) == (1, 1)
    demand.feed(Instant(seconds(3)))
    demand.update(Instant(seconds(4)))
    assert demand.starved_share == 0


def pause_among(still_s: float, slots: int) -> Demand:
    """800 ends a second, then none for so long, then as many again; somebody waits all along."""
    demand = Demand(now=START)
    demand.saturate(START)
    now_s = 0.0
    for part_s, ends in ((0.5, 32), (still_s, 0), (0.5, 32)):
        for _ in range(round(part_s / 0.04)):
            now_s += 0.04
            end(demand, ends)
            demand.update(at(now_s), slots)
    return demand


def test_pace_leaves_out_a_pause_and_capacity_does_not() -> None:
    """16 slots of which nothing ends in (4 x 16 + 12) / 800 s stand still."""
    demand = pause_among(0.6, slots=16)
    assert demand.stall_s(16) == pytest.approx(0.095)
    assert demand.pace_rps == pytest.approx(800)
    assert demand.capacity_rps < 600


def test_slots_that_end_together_are_no_pause() -> None:
    """The more slots there are the longer nothing may end."""
    demand = pause_among(0.6, slots=128)
    assert demand.pace_rps == pytest.approx(demand.capacity_rps)


def test_what_a_stall_is_before_anybody_waited_is_told_by_demand() -> None:
    demand = Demand(now=START)
    assert demand.stall_s(4) == math.inf
    ask(demand, 0, times=100)
    demand.update(at(1))
    assert demand.stall_s(4) == pytest.approx(0.28)


def test_an_idle_hour_says_nothing_about_capacity() -> None:
    """But demand is then forgotten."""
    demand = Demand(now=START)
    ask(demand, 0, times=100)
    demand.saturate(START)
    end(demand, 50)
    demand.relieve(at(1))
    demand.update(at(1))
    for hour in range(3600):
        demand.update(at(2 + hour))
    assert demand.capacity_rps == pytest.approx(50)
    assert demand.offered_rps == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("rate_rps", [20, 500, 5000])
def test_capacity_forgets_over_a_thousand_ends(rate_rps) -> None:
    """A service that became half as quick is seen as such after 3 000 more, however long."""
    demand = Demand(now=START)
    demand.saturate(START)
    now_s, periods = 0.0, 100
    for rate, ends in ((rate_rps, 5000), (rate_rps / 2, 3000)):
        for _ in range(periods):
            now_s += ends / periods / rate
            end(demand, ends // periods)
            demand.update(at(now_s))
    # The slow time counts for 1 - exp(-3) of the ends.
    old, new = math.exp(-3) / rate_rps, (1 - math.exp(-3)) / (rate_rps / 2)
    assert demand.capacity_rps == pytest.approx(1 / (old + new), rel=0.01)
    assert demand.capacity_rps < 0.53 * rate_rps


@pytest.mark.parametrize(
    ("rate_rps", "memory_s"), [(1000, 1.0), (10, 30.0), (200_000, 0.02)], ids=str
)
def test_demand_forgets_in_the_time_of_a_thousand_ends(rate_rps, memory_s) -> None:
    """Half a minute at most, 20 ms at least: e-fold after it stopped."""
    demand = Demand(now=START)
    demand.saturate(START)
    ask(demand, 0, times=2 * rate_rps)
    end(demand, rate_rps)
    demand.relieve(at(1))
    demand.update(at(1))
    assert demand.offered_rps == pytest.approx(2 * rate_rps)
    demand.update(at(1 + memory_s))
    left = 2 * rate_rps * math.exp(-1) / (math.exp(-1) + memory_s)
    assert demand.offered_rps == pytest.approx(left, rel=1e-6)


def test_before_anybody_has_waited_demand_sets_its_own_pace() -> None:
    """A thousand arrivals."""
    demand = Demand(now=START)
    ask(demand, 0, times=1000)
    demand.update(at(1))
    demand.update(at(2))
    assert demand.offered_rps == pytest.approx(1000 * math.exp(-1) / (1 + math.exp(-1)))


def test_levels_are_counted_by_criticality_and_attempt() -> None:
    """Level 2 c is the retries of criticality c, 2 c + 1 its first tries."""
    demand = Demand(now=START)
    for criticality in Criticality:
        for is_retry in (True, False):
            info = RequestInfo(criticality=criticality, is_retry=is_retry)
            ask(demand, rank_of(info, 0), times=criticality + 1)
            ask(demand, rank_of(info, 1023), cost=10 if is_retry else 20)
    assert demand.by_level() == [11, 21, 12, 22, 13, 23, 14, 24]


def test_the_cut_is_where_the_share_lies() -> None:
    """One request of each rank: a quarter of them is the lowest class."""
    demand = Demand(now=START)
    for rank in range(RANKS):
        ask(demand, rank)
    by_level = demand.by_level()
    assert demand.cut(0.25, by_level) == (1024, 0)
    assert demand.cut(0.5, by_level) == (2048, 0)
    assert demand.cut(3000.5 / 4096, by_level) == (3000, 500_000)
    assert demand.cut(0.0, by_level) == (0, 0)


def test_a_rank_that_is_cut_in_two_loses_a_part() -> None:
    """All demand on three ranks, ten each: 40 % is all of the first and a fifth of the second."""
    demand = Demand(now=START)
    for rank in (100, 600, 4095):
        ask(demand, rank, times=10)
    by_level = demand.by_level()
    assert demand.cut(0.4, by_level) == (600, 200_000)
    assert demand.cut(0.1, by_level) == (100, 300_000)
    assert demand.cut(0.9, by_level) == (4095, 700_000)
    assert demand.cut(1.0, by_level) == (4095, 1_000_000)


@given(
    ranks=st.lists(st.integers(0, RANKS - 1), min_size=1, max_size=60),
    share=st.floats(0, 0.995),
)
def test_what_lies_below_the_cut_is_the_share(ranks, share) -> None:
    """Whatever arrived: what is below it and the part of the rank itself make the share."""
    demand = Demand(now=START)
    for rank in ranks:
        ask(demand, rank)
    cut, ppm = demand.cut(share, demand.by_level())
    below = sum(rank < cut for rank in ranks) + ranks.count(cut) * ppm / PPM
    assert below == pytest.approx(share * len(ranks), abs=len(ranks) / PPM)


def test_a_mix_of_classes_that_changed_is_seen_anew() -> None:
    """A generation ends after five seconds; after two nothing of the old mix is left."""
    demand = Demand(now=START)
    ask(demand, 100, times=300)
    demand.update(at(4.9))
    demand.update(at(5))
    ask(demand, 3000, times=300)
    assert demand.by_level() == [300, 0, 0, 0, 0, 300, 0, 0]
    demand.update(at(10))
    assert demand.by_level() == [0, 0, 0, 0, 0, 300, 0, 0]
    assert demand.cut(0.5, demand.by_level()) == (3000, 500_000)


def test_few_arrivals_are_kept_longer_than_five_seconds() -> None:
    """A mix of 255 is all there is to go by."""
    demand = Demand(now=START)
    ask(demand, 100, times=255)
    demand.update(at(60))
    demand.update(at(120))
    assert sum(demand.by_level()) == 255


def test_many_arrivals_end_a_generation_at_once() -> None:
    """So that a quick service does not go by a mix of seconds ago."""
    demand = Demand(now=START)
    for step, rank in enumerate((0, 1500, 3000)):
        ask(demand, rank, times=8191)
        demand.update(at(step / 10))
        ask(demand, rank)
        demand.update(at((step + 0.5) / 10))
    ask(demand, 4000, times=5)
    assert demand.by_level() == [0, 0, 0, 0, 0, 8192, 0, 5]


def test_the_same_demand_in_the_same_order_gives_the_same_numbers() -> None:
    """Nothing but what it is told goes in."""

    def play() -> tuple[float, float, tuple[int, int], list[int]]:
        rng = random.Random(4)
        demand = Demand(now=START)
        for step in range(500):
            ask(demand, rng.randrange(RANKS))
            if step % 7 == 0:
                demand.saturate(at(step / 100))
            end(demand, 1)
            if step % 11 == 0:
                demand.relieve(at(step / 100))
            demand.update(at(step / 100))
        by_level = demand.by_level()
        return demand.offered_rps, demand.capacity_rps, demand.cut(0.3, by_level), by_level

    first = play()
    assert first == play()
    assert len(first[3]) == LEVELS


def test_a_pause_that_is_known_exactly_leaves_the_pace_alone() -> None:
    """800 ends a second; half a second of nothing, told of when some of it counts already."""
    demand = Demand(now=START)
    demand.saturate(START)
    for at_s in (0.1, 0.2):
        demand.ended = 80
        demand.update(at(at_s))
    # The pause begins within one period, and ends within another, told of a period later.
    demand.ended = 40
    demand.update(at(0.3))
    for at_s in (0.4, 0.5, 0.6, 0.7):
        demand.update(at(at_s))
    demand.ended = 40
    demand.update(at(0.8))
    demand.stand_still(at(0.25), at(0.75))
    assert demand.pace_rps == pytest.approx(800, rel=0.03)
    assert demand.capacity_rps < 400


@pytest.mark.parametrize("told_at_s", [1.1, 1.14], ids=["as it ends", "a period later"])
def test_a_pause_that_is_known_leaves_the_pace_alone_where_it_may_be_chance(told_at_s) -> None:
    """Of 128 slots nothing may end in 0.6 s: without being told, it would count."""
    demand = Demand(now=START)
    demand.saturate(START)
    for step in range(1, 36):
        now_s = 0.04 * step
        if demand.updated_at < at(told_at_s) <= at(now_s):
            demand.stand_still(at(0.48), at(1.08))
        demand.ended = 0 if 0.48 < now_s <= 1.081 else 32
        demand.update(at(now_s), 128)
    assert demand.pace_rps == pytest.approx(800, rel=0.03)
    assert demand.capacity_rps < 500


def test_a_pause_counts_in_its_own_period_alone() -> None:
    """Of a period in which nothing ends too; none of what follows is taken off for it."""
    demand = Demand(now=START)
    demand.saturate(START)
    demand.ended = 80
    demand.update(at(0.1))
    demand.stand_still(at(0.1), at(0.2))
    demand.update(at(0.2))
    demand.ended = 80
    demand.update(at(0.3))
    assert demand.pace_rps == pytest.approx(800)


def test_what_ends_as_somebody_comes_says_nothing_of_capacity() -> None:
    """It took none of the time in which somebody waited."""
    demand = Demand(now=START)
    demand.saturate(at(1))
    demand.ended = 5
    demand.relieve(at(1))
    demand.update(at(2))
    demand.saturate(at(2))
    demand.update(at(2.000001))
    assert demand.capacity_rps == 0


def test_a_pause_counts_no_further_than_somebody_waited() -> None:
    demand = Demand(now=START)
    demand.stand_still(START, at(0.5))
    demand.saturate(at(0.4))
    demand.stand_still(START, at(0.5))
    demand.ended = 80
    demand.update(at(0.6))
    assert demand.pace_rps == pytest.approx(800)


@pytest.mark.parametrize(
    ("ends", "waited_s", "is_known"),
    [(64, 0.01, True), (63, 0.25, False), (1, 0.5, True)],
)
def test_the_pace_is_known_by_many_ends_or_a_long_wait(
    ends: int, waited_s: float, is_known: bool
) -> None:
    """While a crowd is let in, what ends tells of that."""
    demand = Demand(now=START)
    demand.saturate(START)
    demand.ended = ends
    demand.update(at(waited_s))
    assert demand.is_known(seconds(0.375)) is is_known
