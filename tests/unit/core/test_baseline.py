"""Baselines come from low in-flight only, are bounded in number, and give way to evidence."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from shedproxy.core import NS_PER_MS, Instant, Remembered
from shedproxy.core.baseline import ROUTES_MAX, BaselineTable, low_in_flight
from shedproxy.core.window import Learning

MS = NS_PER_MS
NOW = Instant(0)


def make_table(given_ns: int | None = None, *, scatter: float = 0.01) -> BaselineTable:
    """Of a service known to answer like a clock, or with that scatter."""
    table = BaselineTable(given_ns)
    table.scatter = scatter
    return table


def learn(table: BaselineTable, rtt_ns: int, count: int = 10, route: str = "r") -> None:
    for _ in range(count):
        table.observe(route, rtt_ns, low_in_flight=1, now=NOW)


def test_two_in_flight_are_low_whatever_the_limit() -> None:
    assert [low_in_flight(limit) for limit in (1, 6, 10, 100)] == [2, 2, 3, 30]


def test_ten_equal_samples_at_low_in_flight_are_trusted() -> None:
    table = make_table()
    learn(table, 20 * MS, 9)
    assert table.baseline_ns("r") == 0
    assert table.judge("r") == -20 * MS
    learn(table, 20 * MS, 1)
    assert table.baseline_ns("r") == table.judge("r") == table.typical_ns() == 20 * MS


@pytest.mark.parametrize(
    ("scatter", "in_flight", "wanted"),
    [(0.01, 1, 10), (1.0, 1, 16), (1.0, 9, 23), (1.0, 30, 35), (4.0, 1, 41), (100.0, 1, 240)],
)
def test_the_more_scattered_a_service_the_more_samples_it_takes(
    scatter: float, in_flight: int, wanted: int
) -> None:
    """And the more in flight, of which the longest come last. The scatter under load counts until
    there are many: a few samples of a law with rare long ones are all alike."""
    table = make_table(scatter=scatter)
    for index in range(wanted):
        assert table.baseline_ns("r") == 0, index
        table.observe("r", 20 * MS, low_in_flight=in_flight, now=NOW)
    assert table.baseline_ns("r") >= 20 * MS


@pytest.mark.parametrize(("in_flight", "turns"), [(10, 4), (10, 12), (40, 4), (40, 12)])
def test_what_has_not_ended_yet_is_not_missing_in_the_mean(in_flight: int, turns: int) -> None:
    """Exponential times of 20 ms in slots that are always taken: what ended is too short by 1 /
    turns, and as the rest comes in what was made up for it is taken back."""
    rng = random.Random(2)
    ended, learnt, late = [], [], []
    for _ in range(60):
        table = make_table(scatter=1.0)
        ends = sorted(
            (at, took)
            for _ in range(in_flight)
            for at, took in ends_of_a_slot(rng, 20 * MS, 20 * MS * turns)
        )
        in_time = [took for at, took in ends if at <= 20 * MS * turns]
        for took in in_time:
            table.observe("r", took, low_in_flight=in_flight, now=NOW)
        ended.append(statistics.fmean(in_time))
        learnt.append(abs(table.judge("r")))
        table.conclude()
        for at, took in ends:
            if at > 20 * MS * turns:
                table.observe("r", took, low_in_flight=in_flight, now=NOW)
        late.append(abs(table.judge("r")))
    true = 20 * MS
    assert statistics.fmean(ended) < (1 - 0.6 / turns) * true
    assert statistics.fmean(learnt) == pytest.approx(true, rel=0.35 / turns + 0.02)
    assert statistics.fmean(late) == pytest.approx(true, rel=0.05)


def test_what_is_made_up_for_counts_when_the_time_to_learn_is_over() -> None:
    """Not only from the next sample on: the limit after a dip rests on it at once."""
    table = make_table(scatter=1.0)
    learn(table, 20 * MS, 40)
    table.distrust()
    for _ in range(20):
        table.observe("r", 60 * MS, low_in_flight=5, now=NOW)
    learnt = -table.judge("r")
    assert learnt > 60 * MS
    table.conclude()
    assert table.judge("r") == table.baseline_ns("r") == learnt


def ends_of_a_slot(rng: random.Random, mean_ns: int, until_ns: int) -> list[tuple[int, int]]:
    """When work ends in a slot that begins anew at once, to the first end after `until_ns`; and how
    long each took."""
    ends, now = [], 0
    while now <= until_ns:
        took = round(rng.expovariate(1 / mean_ns))
        now += took
        ends.append((now, took))
    return ends


def test_ten_turns_of_what_is_in_flight_are_enough_however_scattered() -> None:
    table = make_table(scatter=100.0)
    for _ in range(399):
        table.observe("r", 20 * MS, low_in_flight=40, now=NOW)
    assert table.baseline_ns("r") == 0
    table.observe("r", 20 * MS, low_in_flight=40, now=NOW)
    assert table.baseline_ns("r") >= 20 * MS


def test_samples_under_load_move_only_the_recent_mean() -> None:
    table = make_table()
    learn(table, 20 * MS)
    for _ in range(10_000):
        table.observe("r", 90 * MS, low_in_flight=0, now=NOW)
    assert table.baseline_ns("r") == 20 * MS
    assert table.recent("r").value_ns == pytest.approx(90 * MS, rel=0.01)


def test_routes_are_apart() -> None:
    table = make_table()
    learn(table, 5 * MS, route="fast")
    learn(table, 500 * MS, 20, route="slow")
    assert (table.baseline_ns("fast"), table.baseline_ns("slow")) == (5 * MS, 500 * MS)
    assert table.typical_ns() == 500 * MS
    assert table.baseline_ns("unseen") == table.recent("unseen").value_ns == 0


def test_the_number_of_routes_is_bounded() -> None:
    """The ones after the bound share an entry."""
    table = make_table()
    for index in range(ROUTES_MAX + 20):
        learn(table, MS * (1 if index < ROUTES_MAX else 7), route=f"r{index}")
    assert len(table) == ROUTES_MAX
    assert table.baseline_ns("r3") == MS
    assert table.baseline_ns("another") == table.recent("another").value_ns == 7 * MS


def test_a_calibrated_baseline_wins_over_what_is_learnt() -> None:
    table = make_table(30 * MS)
    learn(table, 20 * MS, 100)
    assert table.baseline_ns("r") == table.baseline_ns("other") == table.typical_ns() == 30 * MS


def test_until_the_service_is_seen_to_have_changed() -> None:
    table = make_table(30 * MS)
    table.distrust()
    assert table.judge("r") == -30 * MS
    learn(table, 90 * MS)
    assert table.baseline_ns("r") == 90 * MS
    table.calibrate(30 * MS)
    assert table.baseline_ns("r") == 90 * MS, "the same calibration is no news"
    table.calibrate(80 * MS)
    assert table.baseline_ns("r") == 80 * MS
    table.calibrate(None)
    assert table.baseline_ns("r") == 90 * MS


def test_a_distrusted_baseline_serves_until_there_are_new_samples() -> None:
    table = make_table()
    learn(table, 20 * MS, 100)
    table.distrust()
    assert table.judge("r") == -20 * MS
    assert table.baseline_ns("r") == table.typical_ns() == 20 * MS, "shown until replaced"
    learn(table, 60 * MS, 63)
    assert table.baseline_ns("r") == 20 * MS, "all that can be had before it is judged"
    assert table.judge("r") == -60 * MS
    learn(table, 60 * MS, 1)
    assert table.baseline_ns("r") == 60 * MS


def test_a_baseline_confirmed_keeps_the_samples_of_before() -> None:
    rng = random.Random(4)
    table = make_table()
    for _ in range(100):
        table.observe("r", round(rng.expovariate(1 / 20) * MS), low_in_flight=1, now=NOW)
    before = table.baseline_ns("r")
    table.distrust()
    fresh = []
    while table.judge("r") < 0:
        fresh.append(round(rng.expovariate(1 / 20) * MS))
        table.observe("r", fresh[-1], low_in_flight=1, now=NOW)
    mean = sum(fresh) / len(fresh)
    assert abs(table.baseline_ns("r") - before) < abs(mean - before)


def test_a_baseline_in_doubt_is_replaced_by_one_that_is_clearly_another() -> None:
    table = make_table()
    learn(table, 20 * MS, 100)
    table.distrust()
    learn(table, 60 * MS, 9)
    assert table.learning().ratio == 3.0
    table.conclude()
    assert table.baseline_ns("r") == table.judge("r") == 60 * MS


@pytest.mark.parametrize(("new_ms", "kept"), [(24, True), (24.9, True), (26, False), (19, False)])
def test_a_rise_of_a_quarter_is_what_others_hold_the_service_at(new_ms: float, kept: bool) -> None:
    """Then the former baseline stays. A fall is the truth, whatever its size."""
    table = make_table()
    learn(table, 20 * MS, 100)
    table.distrust()
    learn(table, round(new_ms * MS), 9)
    assert (table.learning().ratio == 1.0) is kept
    table.conclude()
    assert (table.baseline_ns("r") == 20 * MS) is kept


def test_that_none_of_fifty_takes_long_may_be_chance_where_one_in_ten_does() -> None:
    """Nine of ten take 5 ms, the tenth 55: a fall has to be three errors."""
    table = make_table(scatter=2.25)
    for index in range(80):
        learn(table, (55 if index % 10 == 5 else 5) * MS, 1)
    assert table.baseline_ns("r") == pytest.approx(10 * MS, rel=0.01)
    table.distrust()
    learn(table, 5 * MS, 52)
    table.conclude()
    assert 8 * MS <= table.baseline_ns("r") <= 9 * MS, "what both say"
    table.distrust()
    learn(table, 2 * MS, 200)
    table.conclude()
    assert table.baseline_ns("r") == 2 * MS


def exponential(mean_ms: float, count: int) -> list[int]:
    """Quantiles of the law: its mean and its scatter without chance, but for the order."""
    found = [int(-mean_ms * math.log(1 - (i + 0.5) / count) * MS) + 1 for i in range(count)]
    random.Random(1).shuffle(found)
    return found


@pytest.mark.parametrize(("is_suspect", "found_ms"), [(False, 20.1), (True, 23)])
def test_what_load_has_spoken_against_counts_for_less(is_suspect: bool, found_ms: float) -> None:
    """Two dozen samples half as long again prove nothing by themselves."""
    table = make_table(scatter=1.0)
    for sample_ns in exponential(20, 500):
        learn(table, sample_ns, 1)
    table.distrust(is_suspect=is_suspect)
    for sample_ns in exponential(30, 24):
        learn(table, sample_ns, 1)
    table.conclude()
    assert table.baseline_ns("r") / MS == pytest.approx(found_ms, rel=0.03)


def test_a_rise_that_is_too_unsure_to_be_a_quarter_is_not_left_out() -> None:
    """Sixty short ones are as much chance as five long ones among sixty: both count."""
    table = make_table(scatter=2.25)
    learn(table, 5 * MS, 60)
    assert table.baseline_ns("r") == 5 * MS
    table.distrust()
    for index in range(60):
        learn(table, (55 if index % 12 == 5 else 5) * MS, 1)
    table.conclude()
    assert table.baseline_ns("r") == pytest.approx(7.08 * MS, rel=0.01)


def test_how_much_it_has_changed_is_known_to_the_end_of_the_time_to_learn() -> None:
    """And no longer: what is learnt next is compared with what is believed then."""
    table = make_table()
    learn(table, 20 * MS, 100)
    table.distrust()
    for count in (9, 100):
        learn(table, 10 * MS, count)
        assert table.learning().ratio == pytest.approx(0.5, rel=0.02)
    table.conclude()
    assert table.learning().ratio == 1.0
    table.distrust()
    learn(table, 10 * MS, 20)
    assert table.learning().ratio == 1.0


def test_a_time_to_learn_in_the_middle_of_another_begins_anew() -> None:
    """Two in flight turned out to be load: what they took is no part of what one takes."""
    table = make_table(scatter=1.0)
    learn(table, 10 * MS, 100)
    table.distrust()
    learn(table, 20 * MS, 20)
    table.distrust()
    learn(table, 10 * MS, 20)
    table.conclude()
    assert table.baseline_ns("r") == 10 * MS


def test_a_first_baseline_is_not_begun_anew() -> None:
    table = make_table()
    learn(table, 20 * MS, 9)
    table.distrust()
    learn(table, 20 * MS, 1)
    assert table.baseline_ns("r") == 20 * MS


def test_of_less_than_eight_samples_nothing_is_concluded() -> None:
    """The former baseline is back, with what little was seen."""
    table = make_table()
    learn(table, 20 * MS, 100)
    table.distrust()
    learn(table, 60 * MS, 7)
    table.conclude()
    assert table.baseline_ns("r") == pytest.approx((100 * 20 + 7 * 60) / 107 * MS, rel=0.001)


def test_trust_again_is_as_if_nobody_had_doubted() -> None:
    table, other = make_table(), make_table()
    for doubted in (table, other):
        learn(doubted, 20 * MS, 100)
    table.distrust()
    table.trust_again()
    learn(table, 22 * MS, 50)
    learn(other, 22 * MS, 50)
    assert table.baseline_ns("r") == other.baseline_ns("r")
    assert table.learning() == other.learning()


def test_the_error_of_a_baseline_falls_with_its_samples_and_grows_with_the_scatter() -> None:
    errors = []
    for scatter, count in ((1.0, 100), (1.0, 400), (4.0, 400)):
        table = make_table(scatter=scatter)
        learn(table, 20 * MS, count)
        errors.append(table.learning().error)
    assert errors == pytest.approx([0.04924, 0.01361, 0.02722], abs=1e-5)


def test_samples_that_scatter_themselves_are_believed_at_once() -> None:
    """Whatever load shows: less of it says nothing, for queues even out what they delay."""
    for scatter in (0.0, 0.25):
        table = make_table(scatter=scatter)
        for _ in range(50):
            learn(table, 10 * MS, 1)
            learn(table, 30 * MS, 1)
        assert table.learning().error == pytest.approx(math.sqrt(0.25 / 100), rel=0.01)


def test_of_one_sample_the_error_is_all_of_it() -> None:
    table = make_table()
    learn(table, 20 * MS, 1)
    assert table.learning().error == 1.0


def test_a_calibrated_baseline_has_no_error_until_it_is_overruled() -> None:
    table = make_table(30 * MS, scatter=4.0)
    learn(table, 20 * MS, 16)
    assert table.learning() == Learning(sample_count=0, ratio=1.0, error=0.0, scatter=0.0)
    table.distrust()
    assert table.learning().error == pytest.approx(math.sqrt(4 * 32 / (32 + 16) / 16))


def test_baselines_survive_a_restart() -> None:
    """With their samples and scatter: the successor knows them as well as its predecessor did."""
    rng = random.Random(5)
    table, successor = make_table(scatter=1.0), make_table(scatter=1.0)
    for _ in range(300):
        table.observe("a", round(rng.expovariate(1 / 20) * MS), low_in_flight=1, now=NOW)
    learn(table, 5 * MS, 5, route="b")
    memory = table.memory()
    assert set(memory) == {"a"}, "what is not trusted is not passed on"
    successor.remember(memory)
    assert successor.baseline_ns("a") == successor.judge("a") == table.baseline_ns("a")
    assert successor.learning() == table.learning()
    assert successor.memory() == memory


def test_what_is_remembered_gives_way_like_what_was_learnt() -> None:
    table = make_table()
    table.remember({"r": Remembered(20 * MS, 100, 0.0)})
    table.distrust()
    assert table.judge("r") == -20 * MS
    learn(table, 60 * MS)
    table.conclude()
    assert table.baseline_ns("r") == 60 * MS


def test_no_more_routes_are_remembered_than_learnt() -> None:
    table = make_table()
    table.remember({f"r{index}": Remembered(MS, 20, 0.0) for index in range(ROUTES_MAX + 5)})
    assert len(table) == ROUTES_MAX
    assert table.baseline_ns(f"r{ROUTES_MAX}") == 0
