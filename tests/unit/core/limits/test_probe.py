"""Dips learn a baseline, trials tell slow from saturated, checks come at instants all share."""

from __future__ import annotations

import math

import pytest

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.probe import CheckClock, Dip, Pause, Trial
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS
NOW = Instant(0)
TARGET = 120.0 * MS


def seen(
    rtt_ms: float = 100, *, in_flight: float = 10, samples: int = 20, learnt: int = 0
) -> WindowSummary:
    return WindowSummary(
        sample_count=samples,
        rtt_mean_ns=round(rtt_ms * MS),
        in_flight_mean=in_flight,
        learnt_count=learnt,
    )


NOTHING = WindowSummary()


def checks(
    step_ms: int,
    seconds: int,
    *,
    first_ms: int = 0,
    window: WindowSummary = NOTHING,
    clock: CheckClock | None = None,
) -> list[int]:
    """When, in ms, a proxy that asks every `step_ms` checks."""
    clock = clock or CheckClock()
    return [
        ms
        for ms in range(first_ms, seconds * 1000, step_ms)
        if clock.is_due(window, now=Instant(ms * MS), is_possible=True)
    ]


def test_checks_come_at_multiples_of_4_then_16_then_64_seconds() -> None:
    assert checks(100, 200) == [4_000, 16_000, 64_000, 128_000, 192_000]


@pytest.mark.parametrize(("step_ms", "first_ms"), [(70, 0), (310, 1900), (900, 400)])
def test_proxies_that_differ_in_all_else_check_at_the_same_instants(
    step_ms: int, first_ms: int
) -> None:
    """To one window."""
    others = checks(step_ms, 200, first_ms=first_ms)
    shared = [4_000, 16_000, 64_000, 128_000, 192_000]
    assert len(others) == len(shared)
    for at_ms, instant_ms in zip(others, shared, strict=True):
        assert instant_ms <= at_ms < instant_ms + step_ms


def test_the_first_question_sets_the_clock_and_no_more() -> None:
    """A process that starts between two instants waits for the next, or it would be alone."""
    assert checks(100, 1200, first_ms=1_001_000) == [
        1_004_000,
        1_008_000,
        1_024_000,
        1_088_000,
        1_152_000,
    ]
    assert checks(100, 1012, first_ms=1_004_000) == [1_008_000]


def test_an_instant_that_cannot_be_used_is_not_made_up_for() -> None:
    clock = CheckClock()
    assert not clock.is_due(NOTHING, now=Instant(3 * NS_PER_S), is_possible=True)
    assert not clock.is_due(NOTHING, now=Instant(5 * NS_PER_S), is_possible=False)
    assert not clock.is_due(NOTHING, now=Instant(6 * NS_PER_S), is_possible=True)
    assert clock.is_due(NOTHING, now=Instant(8 * NS_PER_S), is_possible=True)


def test_a_dip_without_a_length_ends_when_the_baseline_is_known() -> None:
    dip = Dip(10, 20, now=NOW)
    assert not dip.is_over(seen(), is_known=False, now=Instant(MS))
    assert dip.is_over(seen(), is_known=True, now=Instant(2 * MS))


def test_a_dip_of_given_length_lasts_it_though_the_baseline_be_known() -> None:
    """All that stand before one service stay low together."""
    dip = Dip(10, 20, now=NOW, length_ns=800 * MS)
    assert not dip.is_over(seen(learnt=100), is_known=True, now=Instant(799 * MS))
    assert dip.is_over(seen(learnt=100), is_known=False, now=Instant(800 * MS))


@pytest.mark.parametrize(("in_flight", "wanted"), [(1, 16), (4, 16), (4.5, 18), (10, 40)])
def test_it_waits_for_sixteen_samples_and_four_times_what_is_in_flight(
    in_flight: float, wanted: int
) -> None:
    """The longest of those in flight come last: without them a slower service looks as before."""
    dip = Dip(10, 20, now=NOW, length_ns=800 * MS)
    at = Instant(900 * MS)
    few = seen(in_flight=in_flight, learnt=wanted - 1)
    assert not dip.is_over(few, is_known=True, now=at)
    assert dip.is_over(seen(in_flight=in_flight, learnt=wanted), is_known=False, now=at)


def test_no_dip_lasts_longer_than_three_seconds() -> None:
    dip = Dip(10, 20, now=NOW)
    assert not dip.is_over(seen(40), is_known=False, now=Instant(3 * NS_PER_S - 1))
    assert dip.is_over(seen(40), is_known=False, now=Instant(3 * NS_PER_S))


def test_but_sixty_latencies_of_a_slow_service() -> None:
    dip = Dip(10, 20, now=NOW)
    assert not dip.is_over(seen(500), is_known=False, now=Instant(30 * NS_PER_S - 1))
    assert dip.is_over(seen(500), is_known=False, now=Instant(30 * NS_PER_S))


def test_nor_longer_than_400_samples() -> None:
    dip = Dip(10, 20, now=NOW)
    assert not dip.is_over(seen(samples=399), is_known=False, now=NOW)
    assert dip.is_over(seen(samples=1), is_known=False, now=NOW)


def test_a_pause_doubles_while_nothing_is_found() -> None:
    pause = Pause()
    assert pause.is_over
    lengths = []
    for has_found in (False, False, False, True, False):
        pause.begin(has_found=has_found)
        lengths.append(0)
        while not pause.is_over:
            pause.pass_window()
            lengths[-1] += 1
    assert lengths == [12, 24, 48, 12, 24]


def test_after_a_dip_the_level_is_what_was_wanted_by_what_was_learnt() -> None:
    """At most half again what it was before: nobody has measured further."""
    dip = Dip(10, 20, now=NOW)
    assert dip.level_before == 20
    assert [dip.level_after(ratio) for ratio in (0.5, 1.0, 2.5, 9.0)] == [5, 10, 25, 30]


def usual(rtt_ms: float = 100) -> Evidence:
    evidence = Evidence()
    evidence.add(seen(rtt_ms), target_ns=TARGET, memory=math.inf)
    return evidence


def tried(above_ms: float, after_ms: float, *, usual_ms: float = 100) -> Trial:
    """A trial from ten slots, with these latencies at fifteen and back again."""
    trial = Trial(usual(usual_ms), 10, now=NOW)
    is_over = False
    while not is_over:
        rtt_ms = above_ms if trial.level > 10 else after_ms
        window = seen(rtt_ms, in_flight=trial.level)
        is_over = trial.is_over(window, target_ns=TARGET, scatter=0.0, now=NOW)
    return trial


def test_a_trial_goes_half_as_high_again_and_back() -> None:
    trial = Trial(usual(), 10, now=NOW)
    levels = [trial.level]
    for in_flight in (15, 15, 10, 10):
        over = trial.is_over(seen(in_flight=in_flight), target_ns=TARGET, scatter=0.0, now=NOW)
        levels.append(trial.level)
    assert levels == [15, 15, 10, 10, 10]
    assert over


def test_scattered_latencies_take_more_samples() -> None:
    trial = Trial(usual(), 10, now=NOW)
    windows = 0
    while trial.level > 10:
        trial.is_over(seen(in_flight=15), target_ns=TARGET, scatter=4.0, now=NOW)
        windows += 1
    assert windows == 8, "32 samples times 1 + 4"


def test_samples_of_the_other_half_do_not_count() -> None:
    """What was admitted before the limit moved is still coming in."""
    trial = Trial(usual(), 10, now=NOW)
    for _ in range(50):
        assert not trial.is_over(seen(in_flight=10), target_ns=TARGET, scatter=0.0, now=NOW)
    assert trial.level == 15
    for _ in range(2):
        trial.is_over(seen(in_flight=15), target_ns=TARGET, scatter=0.0, now=NOW)
    for _ in range(50):
        assert not trial.is_over(seen(in_flight=15), target_ns=TARGET, scatter=0.0, now=NOW)


def test_without_the_load_to_fill_it_a_trial_ends_after_ten_seconds_and_says_nothing() -> None:
    trial = Trial(usual(), 10, now=NOW)
    window = seen(300, in_flight=3)
    assert not trial.is_over(window, target_ns=TARGET, scatter=0.0, now=Instant(10 * NS_PER_S - 1))
    assert trial.is_over(window, target_ns=TARGET, scatter=0.0, now=Instant(10 * NS_PER_S))
    assert not trial.is_real
    assert not trial.is_saturated


@pytest.mark.parametrize(
    ("above_ms", "after_ms", "is_real", "is_saturated"),
    [
        (300, 300, True, False),
        (450, 300, True, True),
        (390, 300, True, True),
        (350, 300, True, False),
        (300, 120, False, True),
        (100, 100, False, False),
    ],
)
def test_latency_is_compared_with_that_of_the_time_after(
    above_ms: float, after_ms: float, is_real: bool, is_saturated: bool
) -> None:
    """Saturated is what follows the limit by more than its root: 1.5 up, latency up by 1.22."""
    trial = tried(above_ms, after_ms)
    assert (trial.is_real, trial.is_saturated) == (is_real, is_saturated)


def test_what_is_usual_by_now_is_no_rise() -> None:
    assert not tried(300, 300, usual_ms=280).is_real


def test_a_check_that_is_put_off_waits_for_another_instant() -> None:
    clock = CheckClock()
    assert not clock.is_due(NOTHING, now=Instant(3 * NS_PER_S), is_possible=True)
    clock.put_off(now=Instant(3 * NS_PER_S))
    assert not clock.is_due(NOTHING, now=Instant(4 * NS_PER_S), is_possible=True)
    assert not clock.is_due(NOTHING, now=Instant(7 * NS_PER_S), is_possible=True)
    assert clock.is_due(NOTHING, now=Instant(8 * NS_PER_S), is_possible=True)


@pytest.mark.parametrize(
    ("error", "scatter", "instants_s"),
    [(0.05, 0.01, [64, 128]), (0.05, 1.0, [16, 32, 64, 128]), (0.2, 0.01, [16, 32, 64, 128])],
)
def test_what_is_doubtful_is_checked_as_often_as_ten_in_a_hundred_pays_for(
    error: float, scatter: float, instants_s: list[int]
) -> None:
    """A check costs six baselines' work; what is well known is worth 1.5 %: of 100 ms it is one in
    40 s."""
    window = WindowSummary(
        baseline_mean_ns=100 * MS, baseline_error=error, baseline_scatter=scatter
    )
    assert checks(100, 190, window=window) == [1000 * instant for instant in instants_s]


def test_what_a_dip_has_found_is_looked_at_again_soon_and_then_rarely() -> None:
    """It may have been a service that was busy with itself, as one whose cache is cold."""
    known = WindowSummary(baseline_mean_ns=150 * MS, baseline_error=0.01, baseline_scatter=0.01)
    clock = CheckClock()
    assert checks(100, 300, window=known, clock=clock) == [64_000, 128_000, 192_000, 256_000]
    clock.look(now=Instant(300 * NS_PER_S), has_found=True)
    assert checks(100, 400, first_ms=300_000, window=known, clock=clock) == [
        304_000,
        320_000,
        384_000,
    ]


def test_nobody_looks_twice_in_a_quarter_of_a_period() -> None:
    clock = CheckClock()
    clock.look(now=Instant(3_100 * MS), has_found=False)
    assert checks(100, 10, first_ms=3_200, clock=clock) == [8_000]


def test_a_dip_sees_windows_of_its_own_slots_all_in_use() -> None:
    """Not what was left of before, nor a time in which fewer were asked for."""
    dip = Dip(4.0, 10.0, now=NOW)
    for in_flight in (10.0, 5.0, 2.0):
        dip.see(seen(in_flight=in_flight), level=3)
    assert not dip.seen.count
    dip.see(seen(in_flight=2.9), level=3)
    assert dip.seen.count == 20


def test_a_dip_keeps_what_was_seen_before_it() -> None:
    before = Evidence()
    before.add(seen(400, in_flight=8), target_ns=TARGET, memory=math.inf)
    dip = Dip(4.0, 10.0, now=NOW, before=before)
    before.reset()
    assert dip.before.rate == pytest.approx(8 / (400 * MS))
    assert not Dip(4.0, 10.0, now=NOW).before.count


@pytest.mark.parametrize(
    ("rtt_before_ms", "samples", "is_costly"),
    [(800, 8, False), (900, 8, False), (600, 8, True), (400, 8, True), (800, 7, True)],
)
def test_a_dip_costs_nothing_if_as_much_is_done_in_it(
    rtt_before_ms: float, samples: int, is_costly: bool
) -> None:
    """Of eight in flight on two slots, say, six only waited there. A few answers do not tell."""
    before = Evidence()
    before.add(seen(rtt_before_ms, in_flight=8), target_ns=TARGET, memory=math.inf)
    dip = Dip(2.0, 8.0, now=NOW, before=before)
    assert dip.is_costly(2)
    dip.see(seen(200, in_flight=2, samples=samples), level=2)
    assert dip.is_costly(2) is is_costly


@pytest.mark.parametrize(
    ("believed_ms", "is_costly"),
    [
        (0, True),  # nothing is believed
        (200, False),  # two were busy
        (300, True),  # three were
        (80, True),  # less than one: that cannot be
    ],
)
def test_until_its_answers_tell_a_dip_costs_what_it_must_by_the_latency_that_is_believed(
    believed_ms: int, is_costly: bool
) -> None:
    """Before it eight were in flight for 800 ms each: ten a second."""
    before = Evidence()
    before.add(seen(800, in_flight=8), target_ns=TARGET, memory=math.inf)
    dip = Dip(2.0, 8.0, now=NOW, before=before)
    dip.believed_ns = believed_ms * MS
    assert dip.is_costly(2) is is_costly
    dip.see(seen(400, in_flight=2, samples=8), level=2)
    assert dip.is_costly(2), "now it is known"


def test_a_dip_from_nothing_known_may_cost() -> None:
    dip = Dip(2.0, 8.0, now=NOW)
    dip.believed_ns = 200 * MS
    dip.see(seen(200, in_flight=2), level=2)
    assert dip.is_costly(2)


@pytest.mark.parametrize("level", [1.0, 1.2, 1.6, 2.0, 2.3, 3.2, 4.4, 9.7])
def test_a_trial_of_few_slots_goes_one_higher_at_least_and_tells_its_halves_apart(
    level: float,
) -> None:
    """Slots are whole ones, rounded up."""
    trial = Trial(usual(), level, now=NOW)
    below, above = math.ceil(level), math.ceil(trial.level)
    assert above > below
    for slots in (above, below):
        full = seen(300, in_flight=slots, samples=64)
        trial.is_over(full, target_ns=TARGET, scatter=0.0, now=NOW)
    assert trial.has_compared


def test_what_was_other_work_is_not_compared() -> None:
    before = Evidence()
    before.add(seen(400, in_flight=8), target_ns=TARGET, memory=math.inf)
    dip = Dip(4.0, 10.0, now=NOW, before=before)
    dip.see(seen(in_flight=3), level=3)
    dip.forget()
    assert not (dip.seen.count or dip.before.count)


def test_a_trial_that_saw_one_of_its_halves_has_compared_nothing() -> None:
    usual = Evidence()
    usual.add(seen(120), target_ns=TARGET, memory=math.inf)
    trial = Trial(usual, 4.0, now=NOW)
    trial.is_over(seen(120, in_flight=6, samples=64), target_ns=TARGET, scatter=0.0, now=NOW)
    assert not trial.has_compared
    trial.is_over(seen(120, in_flight=4, samples=64), target_ns=TARGET, scatter=0.0, now=NOW)
    assert trial.has_compared
    assert not trial.is_saturated
