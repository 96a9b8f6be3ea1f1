"""When overload begins and ends, how short the queue is then, and where the cut lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import (
    Criticality,
    Instant,
    RequestInfo,
    ShedLevelPolicy,
    milliseconds,
    rank_of,
    seconds,
)
from shedproxy.core.demand import PPM
from shedproxy.core.queues import UNBOUNDED
from shedproxy.core.request import LEVELS, RANKS
from shedproxy.core.shed_level import ShedLevel, queue_needed

WAIT_MAX = milliseconds(500)
SHEDDABLE = rank_of(RequestInfo(criticality=Criticality.SHEDDABLE), 0)
CRITICAL = rank_of(RequestInfo(criticality=Criticality.CRITICAL), 0)
PERIOD = ShedLevelPolicy().period_ns


def measured(offered: dict[int, int], capacity: int, policy: ShedLevelPolicy | None = None):
    """A level after one second of so many arrivals per rank, and so many ends of work."""
    level = ShedLevel(policy or ShedLevelPolicy(), now=Instant(0))
    for rank, times in offered.items():
        for _ in range(times):
            level.demand.on_arrival(rank, 1)
    if capacity:
        level.demand.saturate(Instant(0))
        level.demand.ended = capacity
    update(level, 1)
    return level


def update(
    level: ShedLevel,
    at_s: float,
    *,
    limit: int = 4,
    waiting: int = 0,
    standing: float = 0.0,
    scatter: float = 0.0,
    wait_max_ns: int = WAIT_MAX,
) -> None:
    level.update(
        limit=limit,
        waiting=waiting,
        standing=standing,
        scatter=scatter,
        wait_max_ns=wait_max_ns,
        now=Instant(seconds(at_s)),
    )


def begin(level: ShedLevel, *, limit: int = 4, standing: float = 0.0, scatter: float = 0.0) -> None:
    level.begin(limit=limit, standing=standing, scatter=scatter, wait_max_ns=WAIT_MAX)


@pytest.mark.parametrize(
    ("load", "scatter", "limit", "needed"),
    [
        (2.0, 1.0, 4, 4.0),  # theta (1 + cs^2) / 2 (x - 1)
        (1.5, 1.0, 4, 8.0),
        (1.5, 3.0, 4, 16.0),
        (1.2, 0.0, 4, 10.0),
        (1.0, 1.0, 4, 4 / 0.15),  # as at 1.15: nearer to 1 it would be endless
        (0.5, 1.0, 4, 4 / 0.15),
        (10.0, 0.0, 4, 2.0),  # never below 2,
        (10.0, 0.0, 40, 10.0),  # nor below a quarter of the slots
    ],
)
def test_a_queue_that_hardly_ever_runs_dry(load, scatter, limit, needed) -> None:
    """Shorter the worse the overload, longer the more service times scatter."""
    assert queue_needed(load=load, scatter=scatter, limit=limit) == pytest.approx(needed)


@given(st.floats(0, 50), st.floats(0, 4), st.integers(1, 1000))
def test_the_queue_needed_falls_with_load_and_grows_with_scatter_and_slots(
    load, scatter, limit
) -> None:
    """Monotonic in all three."""
    needed = queue_needed(load=load, scatter=scatter, limit=limit)
    assert needed >= queue_needed(load=load + 0.1, scatter=scatter, limit=limit) >= 2
    assert needed <= queue_needed(load=load, scatter=scatter + 0.1, limit=limit)
    assert needed <= queue_needed(load=load, scatter=scatter, limit=limit + 1)


def test_overload_begins_at_three_quarters_of_the_longest_wait() -> None:
    """100 ends a second make 50 of half a second."""
    assert measured({CRITICAL: 200}, capacity=100).begin_length == 37
    assert measured({CRITICAL: 200}, capacity=3).begin_length == 2


def test_the_first_ends_of_work_do_not_tell_how_long_the_queue_takes() -> None:
    """Until 64 have ended, or somebody was waited for as long as the prediction is about."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    level.demand.saturate(Instant(0))
    level.demand.ended = 63
    update(level, 0.1)
    assert level.begin_length == UNBOUNDED
    level.demand.ended = 8
    update(level, 0.11)
    assert 200 < level.begin_length < 300
    slow = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    slow.demand.saturate(Instant(0))
    slow.demand.ended = 3
    update(slow, 0.37)
    assert slow.begin_length == UNBOUNDED
    slow.demand.ended = 1
    update(slow, 0.38)
    assert slow.begin_length == 3


@pytest.mark.parametrize(
    ("is_shared", "largest_part", "length"),
    [(False, 1.0, 14), (True, 1.0, 37), (True, 0.45, 37), (True, 0.4, 14), (True, 0.1, 14)],
)
def test_demand_that_lasts_begins_it_with_a_short_queue_unless_it_is_of_one_of_several(
    is_shared: bool, largest_part: float, length: int
) -> None:
    """Twice capacity for seconds. A tenant without whom it were none is kept from the others by the
    long queue, in which they take turns."""
    level = measured({CRITICAL: 200}, capacity=100)
    level.is_shared, level.largest_part = is_shared, largest_part
    for second in range(2, 6):
        for _ in range(200):
            level.demand.on_arrival(CRITICAL, 1)
        level.demand.ended = 100
        update(level, second, waiting=100 * second)
    assert level.begin_length == length


def test_a_pause_of_the_service_does_not_bring_overload_nearer() -> None:
    """Afterwards the queue is served as fast as before."""
    level = measured({CRITICAL: 200}, capacity=100)
    update(level, 2)
    level.demand.ended = 100
    update(level, 3)
    assert level.begin_length == 37
    assert level.demand.capacity_rps < 70


def test_without_a_capacity_there_is_no_length_at_which_it_begins() -> None:
    """Only the bound of the queue; whoever compares knows that one."""
    level = measured({CRITICAL: 1000}, capacity=0)
    assert level.begin_length == UNBOUNDED
    assert not level.is_overloaded


def test_measuring_alone_refuses_nobody() -> None:
    """Ten times capacity, and the queue holds it (so far)."""
    level = measured({CRITICAL: 1000}, capacity=100)
    assert not level.is_overloaded
    assert level.refusal(0) is None
    assert (level.cut_rank, level.share) == (0, 0)
    assert set(level.ahead_max) == set(level.relaxed_below) == {UNBOUNDED}
    assert set(level.wait_max_ns) == {UNBOUNDED}


def test_in_overload_a_level_has_the_short_queue() -> None:
    """Twice capacity on one level: it and worse ones are bounded, better ones are not."""
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level, limit=4, scatter=1.0)
    assert level.is_overloaded
    # At 2.1, as 200 are known to a twentieth, 3.2 are needed; room for the error of the cut,
    # 0.25 x 4 slots x 2, is less.
    assert list(level.ahead_max) == [3] * 6 + [UNBOUNDED] * 2
    assert list(level.relaxed_below) == [3] * 6 + [UNBOUNDED] * 2
    # Four times the 30 ms that three take at 100 a second.
    assert list(level.wait_max_ns) == [milliseconds(120)] * 6 + [UNBOUNDED] * 2


def test_the_queue_is_for_the_load_that_chance_may_hide() -> None:
    """The better it is known, the nearer to what it would be by the rates alone, and the longer."""
    lengths = []
    for times in (1, 10, 100):
        level = measured({CRITICAL: 120 * times}, capacity=100 * times)
        begin(level, limit=4, scatter=1.0)
        lengths.append(level.ahead_max[0])
    by_rates = queue_needed(load=1.2, scatter=1.0, limit=4, is_of_equals=True)
    assert lengths[0] < lengths[1] < lengths[2] <= round(by_rates)


def test_the_short_queue_has_room_for_the_error_of_the_cut() -> None:
    """A quarter of the slots, more of scattered work, but no more than the longest wait holds."""
    level = measured({CRITICAL: 2000}, capacity=1000)
    begin(level, limit=64, scatter=1.0)
    assert (level.relaxed_below[0], level.ahead_max[0]) == (12, 32)
    level = measured({CRITICAL: 1000, SHEDDABLE: 1000}, capacity=1000)
    begin(level, limit=64, scatter=1.0)
    assert (level.relaxed_below[0], level.ahead_max[0]) == (12, 96), "more if classes differ"
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level, limit=1000, scatter=1.0)
    assert (level.relaxed_below[0], level.ahead_max[0]) == (38, 50)


def test_equals_who_wait_inside_the_service_need_not_wait_here_too() -> None:
    """What keeps slots busy is how many wait, not where; only here can the better ones pass."""
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level, limit=64)
    longest_ns = level.wait_max_ns[0]
    begin(level, limit=64, standing=10)
    assert (level.relaxed_below[0], level.ahead_max[0]) == (5, 6), "16 less 10"
    assert level.wait_max_ns[0] == longest_ns, "slots come free in bunches all the same"
    begin(level, limit=64, standing=60)
    assert (level.relaxed_below[0], level.ahead_max[0]) == (1, 1)
    begin(level, limit=64, standing=10, scatter=1.0)
    assert level.relaxed_below[0] == 12, "of scattered work nobody knows how many wait there"
    level = measured({CRITICAL: 100, SHEDDABLE: 100}, capacity=100)
    begin(level, limit=64, standing=10)
    assert level.relaxed_below[0] == 12


def test_a_queue_that_runs_dry_beside_what_waits_in_the_service_is_not_stretched() -> None:
    """Nobody waits here for nine tenths of the time, and no slot is idle."""
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level)
    steady = level.ahead_max[2]
    for second in range(2, 20):
        level.demand.on_arrival(CRITICAL, 200)
        level.demand.saturate(Instant(seconds(second - 1)))
        level.demand.relieve(Instant(seconds(second - 0.9)))
        level.demand.ended = 10
        level.on_refusal()
        update(level, second)
    assert level.ahead_max[2] == steady


def test_a_slow_service_is_given_time_to_show_what_a_longer_queue_does() -> None:
    """Two ends of work a second: half idle for one stretches by a sixteenth of what it does at a
    hundred."""
    grown = {}
    for rate in (2, 100):
        level = measured({CRITICAL: 2 * rate}, capacity=rate)
        where = {"limit": 64, "scatter": 4.0, "wait_max_ns": seconds(60)}
        level.begin(standing=0.0, **where)
        before = level.relaxed_below[2]
        period(level, 2, offered=2 * rate, ended=rate // 2, idle_s=0.5, **where)
        grown[rate] = level.relaxed_below[2] / before
    assert grown[100] > 1.2
    assert grown[2] < 1.1


def test_the_short_queue_is_never_shorter_than_one() -> None:
    """Two are needed; the longest wait holds one."""
    level = measured({CRITICAL: 20}, capacity=2)
    begin(level)
    assert (level.relaxed_below[0], level.ahead_max[0]) == (1, 1)


@pytest.mark.parametrize(("critical", "is_short"), [(94, False), (95, True)])
def test_a_level_within_capacity_keeps_the_long_queue(critical, is_short) -> None:
    """What better ones ask for counts; what worse ones ask for does not."""
    level = measured({CRITICAL: critical, SHEDDABLE: 200}, capacity=100)
    begin(level)
    assert (level.ahead_max[5] < UNBOUNDED) is is_short
    assert level.ahead_max[1] == 3


def test_a_level_that_fills_its_long_queue_has_the_short_one_until_rates_know() -> None:
    """And worse ones; what is asked of better ones is another matter."""
    level = measured({CRITICAL: 50, SHEDDABLE: 150}, capacity=100)
    begin(level)
    assert level.ahead_max[CRITICAL >> 9] == UNBOUNDED > level.ahead_max[SHEDDABLE >> 9]
    level.fill(CRITICAL >> 9, limit=4, standing=0.0, scatter=0.0, wait_max_ns=WAIT_MAX)
    assert level.ahead_max[CRITICAL >> 9] < 40
    assert level.ahead_max[(CRITICAL >> 9) + 1] == UNBOUNDED
    update(level, 1.1)
    assert level.ahead_max[CRITICAL >> 9] < 40
    for _ in range(1000):
        level.demand.on_arrival(SHEDDABLE, 1)
        level.on_refusal()
    update(level, 1.2)
    assert level.is_overloaded
    assert level.ahead_max[CRITICAL >> 9] == UNBOUNDED


def test_better_levels_have_the_longer_queue() -> None:
    """Each by its own overload: 1.2, and 2 with what is worse."""
    level = measured({CRITICAL: 120, SHEDDABLE: 80}, capacity=100)
    begin(level)
    assert list(level.ahead_max) == [3, 3, 8, 8, 8, 8, UNBOUNDED, UNBOUNDED]
    assert list(level.relaxed_below) == [2, 2, 6, 6, 6, 6, UNBOUNDED, UNBOUNDED]


def test_the_cut_takes_what_is_above_capacity_from_the_bottom() -> None:
    """Of 400 only 101 fit: all of 200 sheddable ones go, and 99 of the 200 critical ones."""
    level = measured({CRITICAL: 200, SHEDDABLE: 200}, capacity=100)
    begin(level)
    assert level.share == pytest.approx(1 - 1.01 / 4)
    assert (level.cut_rank, level.cut_share_ppm) == (CRITICAL, 495_000)


def test_without_a_capacity_the_queue_is_short_and_nothing_is_cut() -> None:
    """Twice capacity is assumed: nothing has ended since the queue began to fill."""
    level = measured({CRITICAL: 1000}, capacity=0)
    begin(level, scatter=1.0)
    assert level.ahead_max[0] == 3
    assert level.wait_max_ns[0] == UNBOUNDED
    assert (level.share, level.cut_rank) == (0, 0)


def test_never_everything_is_refused() -> None:
    """Recovery must stay visible: five of a thousand are let in whatever the demand."""
    level = measured({CRITICAL: 100_000}, capacity=1)
    begin(level)
    assert level.share == 0.995
    assert (level.cut_rank, level.cut_share_ppm) == (CRITICAL, 995_000)


def test_a_refusal_is_by_rank_and_on_the_cut_by_phase() -> None:
    """With the numbers that prove it."""
    level = measured({rank: 1 for rank in range(RANKS)}, capacity=1000)
    begin(level)
    cut, ppm = level.cut_rank, level.cut_share_ppm
    assert cut == 3086  # 4096 - 1010: nothing of the rank itself
    assert ppm == 0
    assert level.refusal(cut - 1) == (cut - 1, cut, 0, 0)
    assert level.refusal(0) == (0, cut, 0, 0)
    assert level.refusal(cut) is None
    assert level.refusal(cut + 1) is None


def test_a_single_rank_loses_its_share_evenly() -> None:
    """Of any fifty arrivals within two, and each with a phase below the share."""
    level = measured({CRITICAL: 300}, capacity=100)
    begin(level)
    share = level.cut_share_ppm
    assert share == pytest.approx(PPM * (1 - 1.01 / 3), abs=1)
    answers = [level.refusal(CRITICAL) for _ in range(1000)]
    for start in range(0, 1000, 50):
        refused = [numbers for numbers in answers[start : start + 50] if numbers]
        assert len(refused) == pytest.approx(50 * share / PPM, abs=2)
    for numbers in filter(None, answers):
        assert numbers == (CRITICAL, CRITICAL, share, numbers[3])
        assert numbers[3] < share


def test_the_level_follows_demand_while_overload_lasts() -> None:
    """Every period, with the new slots and the new scatter."""
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level)
    assert level.share == pytest.approx(1 - 1.01 / 2)
    for _ in range(100):
        level.demand.on_arrival(SHEDDABLE, 1)
    level.demand.ended = 100
    update(level, 2, limit=8, scatter=1.0)
    offered, capacity = level.demand.offered_rps, level.demand.capacity_rps
    assert capacity == pytest.approx(100)
    assert 140 < offered < 150
    assert level.share == pytest.approx(1 - 1.01 * capacity / offered)
    assert level.cut_rank == SHEDDABLE
    assert level.ahead_max[0] == 12


def period(
    level: ShedLevel, at_s: float, *, offered: int, ended: int, idle_s: float = 0.0, **where: float
) -> None:
    """A second up to `at_s`, at the beginning of which slots were idle for so long."""
    for _ in range(offered):
        level.demand.on_arrival(CRITICAL, 1)
        level.on_refusal()
    began_at = at_s - 1
    level.demand.relieve(Instant(seconds(began_at)))
    level.demand.starve(Instant(seconds(began_at)))
    level.demand.feed(Instant(seconds(began_at + idle_s)))
    level.demand.saturate(Instant(seconds(began_at + idle_s)))
    level.demand.ended = ended
    level.demand.relieve(Instant(seconds(at_s)))
    update(level, at_s, **where)


def test_a_queue_is_stretched_while_slots_are_idle_between_bursts_and_shrinks_again() -> None:
    """At twice the capacity of 100 per second, idle for nine tenths of the time."""
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level)
    steady = level.ahead_max[2]
    for second in range(2, 7):
        period(level, second, offered=200, ended=10, idle_s=0.9)
    stretched = level.ahead_max[2]
    assert stretched > 4 * steady
    assert level.relaxed_below[2] > 4 * 3
    for second in range(7, 200):
        period(level, second, offered=200, ended=100)
    assert level.ahead_max[2] == steady


def test_a_queue_is_not_stretched_where_slots_are_idle_for_want_of_demand() -> None:
    dry, wet = (measured({CRITICAL: 120}, capacity=100) for _ in range(2))
    for level, ended, idle_s in ((dry, 10, 0.9), (wet, 100, 0.0)):
        begin(level)
        for second in range(2, 20):
            period(level, second, offered=100, ended=ended, idle_s=idle_s)
    assert dry.ahead_max == wet.ahead_max


def overloaded_once() -> ShedLevel:
    """At twice capacity, and then at 60 of 100 for a minute, everybody refused so far."""
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level)
    level.demand.relieve(Instant(seconds(1)))
    for step in range(60):
        for _ in range(60):
            level.demand.on_arrival(CRITICAL, 1)
            level.on_refusal()
        update(level, 2 + step)
    return level


def test_overload_ends_when_64_arrivals_in_a_row_met_no_refusal() -> None:
    """And not one before."""
    level = overloaded_once()
    assert level.is_overloaded
    for _ in range(63):
        level.demand.on_arrival(CRITICAL, 1)
    update(level, 62)
    assert level.is_overloaded
    level.demand.on_arrival(CRITICAL, 1)
    update(level, 63)
    assert not level.is_overloaded
    assert (level.share, level.cut_rank, level.cut_share_ppm) == (0, 0, 0)
    assert set(level.ahead_max) == set(level.relaxed_below) == {UNBOUNDED}
    assert set(level.wait_max_ns) == {UNBOUNDED}


def test_one_refusal_among_them_begins_the_row_anew() -> None:
    """Whoever was refused, on arrival or in the queue."""
    level = overloaded_once()
    for _ in range(63):
        level.demand.on_arrival(CRITICAL, 1)
    level.on_refusal()
    level.demand.on_arrival(CRITICAL, 1)
    update(level, 62)
    assert level.is_overloaded


def test_overload_does_not_end_while_demand_is_clearly_above_capacity() -> None:
    """A lull between refusals is none."""
    level = measured({CRITICAL: 120}, capacity=100)
    begin(level)
    for _ in range(120):
        level.demand.on_arrival(CRITICAL, 1)
    level.demand.ended = 100
    update(level, 2)
    assert level.demand.offered_rps == pytest.approx(120)
    assert level.is_overloaded


def test_a_disabled_level_never_begins() -> None:
    """It measures all the same."""
    level = measured({CRITICAL: 1000}, capacity=100, policy=ShedLevelPolicy(enabled=False))
    begin(level)
    assert not level.is_overloaded
    assert level.refusal(0) is None
    assert level.demand.capacity_rps == pytest.approx(100)


def test_it_says_how_long_its_longest_short_queue_takes() -> None:
    """The longest wait is four times that; without overload there is no short queue."""
    level = measured({CRITICAL: 200}, capacity=100)
    assert level.turn_ns == 0
    begin(level)
    assert level.turn_ns == max(level.ahead_max[:5]) * milliseconds(10)
    assert level.wait_max_ns[0] == 4 * level.turn_ns
    level.apply(ShedLevelPolicy(enabled=False))
    assert level.turn_ns == 0


def test_overload_ends_when_nobody_waited_for_as_long_as_demand_is_remembered() -> None:
    """Then capacity was measured before, with fewer slots say, and demand is not above it."""
    level = measured({CRITICAL: 400}, capacity=100)
    begin(level)
    level.demand.relieve(Instant(seconds(1)))
    for second in (2, 3):
        for _ in range(400):
            level.demand.on_arrival(CRITICAL, 1)
        update(level, second)
        assert level.is_overloaded
    for _ in range(400):
        level.demand.on_arrival(CRITICAL, 1)
    assert level.demand.offered_rps > 2 * level.demand.capacity_rps
    update(level, 4)
    assert not level.is_overloaded


def test_it_goes_on_while_somebody_waits_and_nobody_is_refused() -> None:
    """The short queue may hold all for a while."""
    level = measured({CRITICAL: 400}, capacity=100)
    begin(level)
    for second in range(2, 9):
        for _ in range(400):
            level.demand.on_arrival(CRITICAL, 1)
        level.demand.ended = 100
        update(level, second)
        assert level.is_overloaded


def test_switching_it_off_ends_overload_at_once() -> None:
    """And what was measured stays for when it is switched on again."""
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level)
    level.apply(ShedLevelPolicy(enabled=False))
    assert not level.is_overloaded
    assert (level.share, level.cut_rank) == (0, 0)
    level.apply(ShedLevelPolicy())
    begin(level)
    assert level.share == pytest.approx(1 - 1.01 / 2)


@pytest.mark.parametrize(
    ("capacity", "offered", "period_ns"),
    [
        (1000, 2000, milliseconds(32)),  # 32 ends of work
        (100_000, 100_000, milliseconds(2)),  # not more often
        (10, 2000, PERIOD),  # not less often
        (0, 1000, milliseconds(32)),  # nobody has waited yet: 32 arrivals
        (0, 0, milliseconds(2)),
    ],
)
def test_it_moves_every_32_ends_of_work(capacity, offered, period_ns) -> None:
    """Between 2 ms and the policy's period."""
    level = measured({CRITICAL: offered}, capacity=capacity)
    assert level.due_at == seconds(1) + period_ns


def test_every_refusal_of_a_level_proves_itself() -> None:
    """At any overload: the numbers are what `refusal_holds` compares."""
    for offered in (110, 150, 400, 5000):
        level = measured({rank: offered // 20 for rank in range(2048, 2068)}, capacity=100)
        begin(level)
        for rank in range(2040, 2070):
            numbers = level.refusal(rank)
            if numbers is not None:
                own, cut, share, phase = numbers
                assert own == rank
                assert rank < cut or (rank == cut and phase < share)


def test_there_is_a_bound_for_each_level() -> None:
    """Of the queue: four criticalities, retries and first tries."""
    level = measured({CRITICAL: 200}, capacity=100)
    begin(level)
    assert len(level.ahead_max) == len(level.relaxed_below) == LEVELS == 8


@pytest.mark.parametrize(("is_shared", "length"), [(False, UNBOUNDED), (True, 30)])
def test_the_pace_of_a_few_ends_is_believed_where_several_tenants_ask(
    is_shared: bool, length: int
) -> None:
    """Those above their share pay for it if it is wrong."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    level.is_shared = is_shared
    level.demand.on_arrival(CRITICAL, 1)
    level.demand.saturate(Instant(0))
    level.demand.ended = 8
    update(level, 0.1)
    assert level.begin_length == length


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_flood_after_an_idle_time_has_a_short_queue_at_once_if_all_are_equals(
    is_shared: bool,
) -> None:
    """Of several tenants it may be one, from whom the long queue keeps the others meanwhile."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    demand = level.demand
    update(level, 10)
    demand.saturate(Instant(seconds(10)))
    for _ in range(200):
        demand.on_arrival(CRITICAL, 1)
    demand.ended = 100
    update(level, 10.5)
    level.is_shared = is_shared
    begin(level)
    load = demand.offered_rps / demand.capacity_rps
    assert load == pytest.approx(0.1 if is_shared else 2.0, rel=0.1)
    assert (min(level.ahead_max) < 8) is not is_shared
