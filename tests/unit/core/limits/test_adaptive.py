"""The default estimator before a fake service. With a queue and clients: `test_limit_loop`.

The service has K slots: latency is 100 ms x max(1, in flight / K), scattered or not.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant, LimitPolicy
from shedproxy.core.limits.adaptive import AdaptiveLimit
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.protocol import LimitCause, LimitChange
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS
BASELINE = 100 * MS
Draw = Callable[[random.Random], float]


def constant(rng: random.Random) -> float:
    return 1.0


def exponential(rng: random.Random) -> float:
    return rng.expovariate(1.0)


def seen(
    ratio: float, in_flight: float, *, standard_ns: int = BASELINE, **changes: object
) -> WindowSummary:
    """A window of 20 samples with a trusted baseline, of which the limit was in the way.

    `ratio` is latency over 100 ms.
    """
    values: dict[str, object] = {
        "sample_count": 20,
        "rtt_mean_ns": round(BASELINE * ratio),
        "rtt_ratio": ratio * BASELINE / standard_ns,
        "baseline_mean_ns": standard_ns,
        "in_flight_max": round(in_flight),
        "in_flight_mean": in_flight,
        "throughput_rps": in_flight / ratio * NS_PER_S / BASELINE,
        "limit_was_reached": True,
    }
    values |= changes
    return WindowSummary(**({"scatter_count": values["sample_count"]} | values))


class Service:
    """Tells a limit of windows: each has about as many samples as the limit."""

    def __init__(
        self,
        slots: float,
        draw: Draw = constant,
        *,
        initial: int = 8,
        seed: int = 1,
        error: float = 0.0,
    ) -> None:
        self.slots = slots
        self.error = error
        """Of the baseline."""
        self.slowness = 1.0
        """Latency without load, in baselines."""
        self.standard_ns = BASELINE
        """What the baseline is believed to be."""
        self.limit = AdaptiveLimit(LimitPolicy(initial=initial))
        self.now = 0
        self._draw = draw
        self._rng = random.Random(seed)

    def window(self, **changes: object) -> WindowSummary:
        in_flight = self.limit.limit
        mean = self.slowness * max(1.0, in_flight / self.slots)
        count = max(16, in_flight)
        ratios = [mean * self._draw(self._rng) for _ in range(count)]
        known = {"sample_count": count, "rtt_scatter": statistics.variance(ratios)}
        known |= {"baseline_error": self.error}
        return seen(
            statistics.fmean(ratios),
            in_flight,
            standard_ns=self.standard_ns,
            **(known | changes),
        )

    def tell(self, count: int = 1, **changes: object) -> list[LimitChange]:
        """That many windows, each as long as its samples took."""
        told = []
        for _ in range(count):
            window = self.window(**changes)
            length_ns = window.sample_count * window.rtt_mean_ns / self.limit.limit
            self.now += round(length_ns)
            told.append(self.limit.on_window(window, now=Instant(self.now)))
        return told

    def tell_until(self, cause: LimitCause, **changes: object) -> list[LimitChange]:
        """Windows up to the first with this cause, 60 at most."""
        told: list[LimitChange] = []
        while not told or told[-1].cause is not cause:
            assert len(told) < 60, f"never {cause.label}"
            told += self.tell(**changes)
        return told


def settled(slots: float, draw: Draw = constant, **choices: float) -> Service:
    service = Service(slots, draw, **choices)
    service.tell(60)
    return service


@pytest.mark.parametrize("slots", [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])
def test_from_eight_it_finds_the_slots_within_thirty_windows_and_rests(slots: int) -> None:
    """At a queue of a fifth: 1.2 K, rounded up. Of two slots that is two and a half."""
    service = Service(slots)
    service.tell(30)
    limits = [change.limit_after for change in service.tell(100)]
    assert slots <= min(limits)
    assert max(limits) <= 1.2 * slots + 1.5
    assert max(limits) - min(limits) <= (slots == 2)


@pytest.mark.parametrize("slots", [2, 8, 64])
@pytest.mark.parametrize("initial", [1, 30, 300])
def test_it_is_the_same_from_any_start(slots: int, initial: int) -> None:
    assert slots < settled(slots, initial=initial).limit.limit <= 1.25 * slots + 2


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("slots", [2, 4, 8, 16, 32])
def test_scattered_latencies_never_hold_it_below_the_slots(slots: int, seed: int) -> None:
    """Exponential, a thousand windows: never under K - 1, nor far above for long."""
    service = Service(slots, exponential, seed=seed)
    service.tell(30, baseline_error=0.05)
    limits = [change.limit_after for change in service.tell(1000, baseline_error=0.05)]
    assert min(limits) >= slots - 1
    assert statistics.fmean(limits) <= 1.5 * slots + 1


def test_a_baseline_that_is_badly_known_leaves_more_room() -> None:
    """Its error may be a fifth either way; throughput is worth more than a little latency."""
    limits = []
    for error in (0.0, 0.1, 0.3):
        service = Service(20)
        service.tell(80, baseline_error=error)
        limits.append(service.limit.limit)
    assert limits == sorted(set(limits))
    assert limits[0] == pytest.approx(24, abs=1)
    assert limits[-1] == pytest.approx(36, abs=1)


def test_below_a_millisecond_nothing_is_queueing() -> None:
    """Three times 0.2 ms is noise all the same: the ramp goes on."""
    limit = AdaptiveLimit(LimitPolicy(initial=10))
    for _ in range(8):
        window = seen(0.006, limit.limit, standard_ns=MS // 5)
        limit.on_window(window, now=Instant(0))
    assert limit.limit > 100


# The ramp.


def test_a_ramp_rises_by_half_while_latency_is_that_of_its_beginning() -> None:
    service = Service(1000)
    limits = [change.limit_after for change in service.tell(8, provisional_count=200)]
    rises = [after / before for before, after in pairwise(limits[2:])]
    assert rises == pytest.approx([1.5] * len(rises), abs=0.06)


def test_a_limit_that_a_cold_start_reached_late_in_a_window_was_not_in_the_way() -> None:
    """Four answers, and then a flood: how eight at once would do, nobody has seen."""
    limit = AdaptiveLimit(LimitPolicy(initial=8))
    early = seen(1.1, 2.8, sample_count=4, provisional_count=4, was_reached_late=True)
    change = limit.on_window(early, now=Instant(NS_PER_S))
    assert (change.cause, limit.limit) == (LimitCause.APP_LIMITED, 8)
    change = limit.on_window(seen(1.1, 8, provisional_count=20), now=Instant(2 * NS_PER_S))
    assert (change.cause, limit.limit) == (LimitCause.HEADROOM, 12)


def test_with_an_anchor_it_was_in_the_way_whenever_it_was_reached() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=8))
    change = limit.on_window(seen(1.1, 2.8, was_reached_late=True), now=Instant(NS_PER_S))
    assert change.cause is not LimitCause.APP_LIMITED


def test_without_an_anchor_the_first_window_rises_whatever_it_says() -> None:
    """There is nothing to judge it by yet; if it was slow, by the least step."""
    [change] = Service(4, initial=12).tell(provisional_count=200)
    assert (change.limit_after, change.cause) == (13, LimitCause.HEADROOM)


def test_with_an_anchor_the_first_window_is_judged_like_any_other() -> None:
    """Three times the latency ends the ramp at once; the usual one has first to be sure of it."""
    [change] = Service(4, initial=12).tell()
    assert (change.limit_after, change.cause) == (6, LimitCause.QUEUEING)
    assert [change.limit_after for change in Service(100).tell(4)] == [8, 10, 10, 12]


def test_no_more_than_half_in_any_window() -> None:
    for change in Service(1000).tell(40, rtt_scatter=0.0):
        assert change.limit_after <= 1.5 * change.limit_before + 1


def test_a_ramp_that_ends_without_a_trusted_baseline_dips_for_one() -> None:
    """To what was busy, and to a share of the limit; what is learnt says where to return."""
    service = Service(10, initial=12)
    told = service.tell_until(LimitCause.QUEUEING, provisional_count=200)
    assert [change.cause for change in told].count(LimitCause.HEADROOM) >= 1
    assert service.limit.is_probing
    assert service.limit.limit == service.limit.low_in_flight
    assert service.limit.limit <= 0.3 * told[-1].limit_before
    [change] = service.tell()
    assert change.cause is LimitCause.HEADROOM
    assert not service.limit.is_probing
    service.tell(20)
    assert 10 < service.limit.limit <= 14


def test_a_first_dip_that_is_given_up_goes_on_with_the_ramp() -> None:
    """Without baseline and ramp there would be no way up."""
    service = Service(10, initial=12)
    before = service.tell_until(LimitCause.QUEUEING, provisional_count=200)[-1].limit_before
    change = service.limit.stop_probing(now=Instant(service.now))
    assert before == change.limit_after == service.limit.limit == 19
    service.slots = 1000
    limits = [change.limit_after for change in service.tell(5, provisional_count=200)]
    assert limits == [28, 41, 62, 92, 138], "by half with each window"


def test_a_ramp_that_went_much_too_far_comes_back_though_it_may_not_dip() -> None:
    """Nobody is refused yet, and none shall be for a dip; but clients wait inside the service."""
    service = Service(30)
    assert service.tell(4, provisional_count=200)[-1].limit_after == 33
    service.slots = 5
    service.tell_until(LimitCause.QUEUEING, provisional_count=200)
    assert service.limit.is_probing
    change = service.limit.stop_probing(now=Instant(service.now))
    assert change.limit_after == 17, "by half at most"
    service.tell(11, provisional_count=200)
    assert not service.limit.is_probing
    assert 5 < service.limit.limit < 9, "where latency would be that of the beginning"


def test_a_first_dip_that_was_given_up_is_made_up_for_once_others_are_refused() -> None:
    """What filled the queue was the flood, not the dip: the limit may be far above the slots."""
    service = Service(10, initial=12)
    service.tell_until(LimitCause.QUEUEING, provisional_count=200)
    service.limit.stop_probing(now=Instant(service.now))
    service.tell(3, provisional_count=200)
    assert not service.limit.is_probing, "a pause is kept while nobody is refused"
    told = service.tell(6, provisional_count=200, is_overloaded=True)
    assert LimitCause.QUEUEING in [change.cause for change in told]
    assert service.limit.is_probing


def test_the_limit_rises_only_when_it_was_in_the_way() -> None:
    service = Service(100)
    [change] = service.tell(limit_was_reached=False)
    assert (change.limit_after, change.cause) == (8, LimitCause.APP_LIMITED)


def test_bounds_are_named_as_the_cause_and_hold_at_once() -> None:
    service = Service(100)
    service.limit.apply(LimitPolicy(maximum=5))
    assert service.limit.limit == 5
    told = service.tell(4)
    assert {change.limit_after for change in told} == {5}
    assert {change.cause for change in told} == {LimitCause.STEADY, LimitCause.CLAMPED}
    service.limit.apply(LimitPolicy(minimum=30))
    assert service.limit.limit == 30


# Noise.


@given(st.floats(0.001, 1e5), st.integers(1, 200), st.floats(0, 100))
@settings(max_examples=50, deadline=None)
def test_one_window_never_takes_more_than_15_percent_of_a_settled_limit(
    ratio: float, count: int, scatter: float
) -> None:
    service = settled(20)
    before = service.limit.limit
    odd = seen(ratio, before, sample_count=count, rtt_scatter=scatter)
    change = service.limit.on_window(odd, now=Instant(service.now))
    assert math.floor(0.85 * before) <= change.limit_after <= math.ceil(1.1 * before)


def test_a_pause_of_the_service_is_not_a_latency() -> None:
    """One window at fifty times the usual: the limit is back where it was soon after."""
    service = settled(20)
    before = service.limit.limit
    service.slowness = 50
    service.tell()
    service.slowness = 1
    limits = [change.limit_after for change in service.tell(60)]
    assert min(limits) >= 0.85 * before
    assert limits[-1] == pytest.approx(before, abs=1)


# Changes of the service.


def become_slower(service: Service) -> None:
    """A slow downstream: three times the latency, whatever is in flight."""
    service.slots, service.slowness = 1000, 3.0


def test_latency_that_jumps_and_does_not_follow_a_trial_is_relearnt_at_the_level_held() -> None:
    """Nobody pays with throughput for a slow downstream."""
    service = settled(30)
    before = service.limit.limit
    become_slower(service)
    limits = [change.limit_after for change in service.tell_until(LimitCause.RELEARNT)]
    held = limits[-1]
    assert held >= 0.7 * before
    assert max(limits) == pytest.approx(1.5 * held, abs=1), "it was tried"
    assert service.limit.is_probing
    assert service.limit.low_in_flight == held, "all of it counts as low"


def test_what_was_learnt_then_is_the_new_standard() -> None:
    """And the limit is free to rise by it."""
    service = settled(30)
    become_slower(service)
    held = service.tell_until(LimitCause.RELEARNT)[-1].limit_after
    service.standard_ns = 3 * BASELINE
    told = service.tell(30, learnt_ratio=3.0, learnt_count=100)
    assert min(change.limit_after for change in told) == held
    assert service.limit.limit > 3 * held


def test_lost_capacity_follows_a_trial_and_leads_to_a_dip() -> None:
    """A third of the slots: latency rises with the trial, so a dip has to tell."""
    service = settled(60)
    service.slots = 20
    told = service.tell_until(LimitCause.RELEARNT)
    assert any(change.limit_after > 1.3 * change.limit_before for change in told), "a trial"
    assert service.limit.limit == service.limit.low_in_flight <= 0.3 * told[-1].limit_before
    service.tell(60, learnt_count=100)
    assert 20 < service.limit.limit <= 26


def on_trial(slots: float) -> tuple[Service, int]:
    """A slower service in the first window of a trial, and the limit before it."""
    service = settled(slots)
    become_slower(service)
    while True:
        [change] = service.tell()
        if change.limit_after > 1.3 * change.limit_before:
            return service, change.limit_before
        assert service.limit.limit > 0.5 * slots


def test_a_trial_that_ends_at_its_upper_level_returns_to_the_one_before() -> None:
    """For want of load: ten seconds in which nothing was learnt."""
    service, before = on_trial(30)
    began = service.now
    assert (before, service.limit.limit) == (31, 46)
    told = service.tell(34, in_flight_mean=3.0)
    assert {change.limit_after for change in told[:-1]} == {46}
    assert told[-2].at < began + 10 * NS_PER_S <= told[-1].at
    assert (told[-1].limit_after, told[-1].cause) == (31, LimitCause.STEADY)


def test_a_jump_that_is_over_when_the_trial_is_changes_nothing() -> None:
    service = settled(60)
    before = service.limit.limit
    service.slowness = 3.0
    while not any(change.limit_after > 1.3 * change.limit_before for change in service.tell()):
        assert service.limit.limit > 0.5 * before
    service.slowness = 1.0
    told = service.tell(60)
    assert LimitCause.RELEARNT not in {change.cause for change in told}
    assert service.limit.limit == pytest.approx(before, abs=3)


def test_while_others_are_refused_there_is_no_trial_but_a_dip() -> None:
    service = settled(60)
    service.slots = 20
    told = service.tell_until(LimitCause.RELEARNT, is_overloaded=True)
    assert all(change.limit_after <= change.limit_before for change in told)
    assert service.limit.is_probing


def test_latency_below_the_baseline_is_relearnt() -> None:
    """Half of what it is without load: no load explains that."""
    service = settled(20)
    service.slowness = 0.4
    service.slots = 50
    service.tell_until(LimitCause.RELEARNT)
    assert service.limit.is_probing


DOUBTFUL = 0.11
"""An error of the baseline that asks for checks soon."""


def relearnt_at(service: Service, seconds: int) -> list[float]:
    """When, in seconds, an overloaded service is put in question. Each dip finds it unchanged."""
    found = []
    while service.now < seconds * NS_PER_S:
        [change] = service.tell(is_overloaded=True, learnt_count=100)
        if change.cause is LimitCause.RELEARNT:
            found.append(service.now / NS_PER_S)
    return found


@pytest.mark.parametrize("slots", [4, 10, 32])
def test_in_overload_the_baseline_is_checked_when_all_others_check_theirs(slots: int) -> None:
    """At a multiple of 16 s after its ramp (sixty of its 100 ms are more than 4 s), twice, then at
    64, 128 s by the clock, to a window."""
    found = relearnt_at(Service(slots, error=DOUBTFUL), 135)
    assert [math.floor(at) for at in found] == [16, 32, 64, 128]


def test_a_baseline_that_is_well_known_is_checked_when_that_costs_little() -> None:
    """Four hundred of its 100 ms are 40 s, and the next period of all is 64 s."""
    found = relearnt_at(Service(10), 135)
    assert [math.floor(at) for at in found] == [64, 128]


def test_a_check_costs_eight_latencies_and_leaves_the_limit_as_it_was() -> None:
    service = settled(20, error=DOUBTFUL)
    before = service.limit.limit
    service.tell_until(LimitCause.RELEARNT, is_overloaded=True)
    began = service.now
    assert service.limit.limit == service.limit.low_in_flight <= 0.3 * before
    while service.limit.is_probing:
        service.tell(is_overloaded=True, learnt_count=100)
    assert 8 * BASELINE <= service.now - began <= 10 * BASELINE
    assert service.limit.limit == pytest.approx(before, abs=1)


def test_out_of_overload_nothing_is_checked() -> None:
    told = settled(20).tell(1000)
    assert {change.cause for change in told} == {LimitCause.STEADY}


def test_a_dip_that_costs_too_much_is_given_up() -> None:
    service = settled(20, error=DOUBTFUL)
    before = service.limit.limit
    service.tell_until(LimitCause.RELEARNT, is_overloaded=True)
    change = service.limit.stop_probing(now=Instant(service.now))
    assert (change.limit_after, change.cause) == (before, LimitCause.HEADROOM)
    assert service.limit.limit == before
    assert not service.limit.is_probing


# Hard evidence.


def test_hard_evidence_takes_a_tenth_per_window() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=100))
    limits = []
    for _ in range(3):
        window = WindowSummary(overload_count=5, late_count=5)
        change = limit.on_window(window, now=Instant(0))
        assert change.cause is LimitCause.OVERLOAD
        limits.append(change.limit_after)
    assert limits == [90, 81, 73]


def test_failures_that_stay_whatever_the_limit_do_not_hold_it_down() -> None:
    """A tenth of all requests fail, for another reason: one halving is tried in vain."""
    service = settled(60)
    before = service.limit.limit
    limits = [change.limit_after for change in service.tell(40, overload_count=8)]
    assert min(limits) <= before / 2
    assert limits[-1] == pytest.approx(before / 2, abs=3)
    assert len(set(limits[-20:])) == 1


def test_the_way_back_to_what_failed_is_slow() -> None:
    """Four clean windows end the episode; near where it began it rises by a fiftieth."""
    service = Service(1000, initial=100)
    service.tell(3, overload_count=50)
    assert service.limit.limit == 73
    told = service.tell(8)
    assert all(change.limit_after <= 1.02 * change.limit_before + 1 for change in told[4:])
    service.tell(80)
    assert service.limit.limit > 200, "and it is tried in the end"


def test_hard_evidence_in_a_dip_is_about_the_level_before_it() -> None:
    service = settled(20, error=DOUBTFUL)
    before = service.limit.limit
    service.tell_until(LimitCause.RELEARNT, is_overloaded=True)
    [change] = service.tell(overload_count=20)
    assert change.cause is LimitCause.OVERLOAD
    assert not service.limit.is_probing
    assert change.limit_after == pytest.approx(0.9 * before, abs=1)


def test_hard_evidence_in_a_trial_is_about_the_level_before_it() -> None:
    service, before = on_trial(30)
    [change] = service.tell(overload_count=20)
    assert change.cause is LimitCause.OVERLOAD
    assert (before, change.limit_before, change.limit_after) == (31, 46, 28), "a tenth off 31"


def test_what_was_found_is_kept_per_healthy_weight() -> None:
    """Half of the hosts: half of the limit, and all of it again when they are back."""
    policy = LimitPolicy(initial=30, minimum=20, maximum=60, weight=4)
    subject = AdaptiveLimit(policy)
    subject.apply(policy.scaled_to(2))
    assert subject.limit == 15
    subject.apply(policy.scaled_to(4))
    assert subject.limit == 30
    # A profile of more hosts is not more hosts.
    subject.apply(LimitPolicy(initial=60, minimum=40, maximum=120, weight=8).scaled_to(4))
    assert subject.limit == 30


def other_hosts(subject: AdaptiveLimit) -> None:
    subject.apply(LimitPolicy(initial=30, weight=4).scaled_to(2))


def failures(subject: AdaptiveLimit) -> None:
    subject.on_window(seen(1, 30, overload_count=20), now=Instant(1))


@pytest.mark.parametrize(
    "event",
    [
        other_hosts,
        failures,
        lambda subject: subject.halve(now=Instant(1)),
        lambda subject: subject.begin_anew(now=Instant(1)),
    ],
    ids=["other_hosts", "failures", "nobody_served", "not_the_service"],
)
def test_of_another_service_no_more_latency_is_allowed(event) -> None:
    subject = AdaptiveLimit(LimitPolicy(initial=30, weight=4))
    subject._allowance.factor = 1.4
    event(subject)
    assert subject._allowance.factor == 1


def test_a_dip_ends_with_the_hosts_that_it_looked_at() -> None:
    policy = LimitPolicy(initial=32, minimum=1, maximum=100, weight=2)
    subject = AdaptiveLimit(policy)
    now = Instant(0)
    for _ in range(200):
        now = Instant(now + NS_PER_S)
        subject.on_window(seen(2.5, subject.limit, is_overloaded=True), now=now)
        if subject.is_probing:
            break
    assert subject.is_probing
    low = subject.limit
    subject.apply(policy.scaled_to(1))
    assert not subject.is_probing
    assert subject.limit >= low


def test_a_ramp_ends_at_the_maximum_and_checks_go_on() -> None:
    """It could end nowhere else, where latency is that without load."""
    service = Service(100, error=DOUBTFUL)
    service.limit.apply(LimitPolicy(maximum=20))
    told = service.tell(400, is_overloaded=True)
    assert LimitCause.RELEARNT in [change.cause for change in told]
    assert statistics.fmean(change.limit_after == 20 for change in told) > 0.8


def test_at_the_maximum_there_is_no_trial_but_a_dip() -> None:
    service = Service(100)
    service.limit.apply(LimitPolicy(maximum=20))
    service.tell(40)
    become_slower(service)
    told = service.tell_until(LimitCause.RELEARNT)
    assert min(change.limit_before for change in told) >= 18
    assert service.limit.is_probing


def test_a_dip_ends_where_more_are_asked_for_at_least() -> None:
    service = settled(20, error=DOUBTFUL)
    service.tell_until(LimitCause.RELEARNT, is_overloaded=True)
    service.limit.apply(LimitPolicy(minimum=18))
    assert not service.limit.is_probing
    assert service.limit.limit >= 18


class Retrograde(Service):
    """Each one in flight slows the others: two do a third less than one."""

    def window(self, **changes: object) -> WindowSummary:
        in_flight = self.limit.limit
        self.slowness = 1 + 0.95 * in_flight * (in_flight - 1)
        self.standard_ns = BASELINE
        return super().window(**changes)


def test_a_service_that_does_most_with_one_at_a_time_is_asked_for_one() -> None:
    """And once in a while for two, to see whether that has changed: a few windows in a hundred."""
    service = Retrograde(1)
    service.tell(40, is_overloaded=True)
    later = [change.limit_after for change in service.tell(200, is_overloaded=True)]
    assert statistics.fmean(limit == 1 for limit in later) > 0.9
    assert max(later) == 2


def test_it_is_asked_for_more_once_more_does_more() -> None:
    service = Retrograde(1)
    service.tell(40, is_overloaded=True)
    grown = Service(8)
    grown.limit, grown.now = service.limit, service.now
    assert grown.tell(400, is_overloaded=True)[-1].limit_after >= 8


def test_a_level_that_did_more_ends_the_belief_in_a_knee_below_it() -> None:
    service = settled(30)
    best = Evidence()
    best.add(seen(2.5, 30, sample_count=500), target_ns=1.2 * BASELINE, memory=math.inf)
    limit = service.limit
    limit._allowance.forget()
    limit._allowance.note(best, scatter=0.1)
    limit._rest_at(1.0)
    limit._knee.level = 1.0
    service.tell(12, rtt_mean_ns=BASELINE, sample_count=20, is_overloaded=True)
    assert not limit._knee.is_known
    assert limit.limit > 15


def test_a_check_in_overload_asks_whether_half_the_latency_allowed_would_do() -> None:
    service = settled(20, error=DOUBTFUL)
    service.limit._allowance.factor = 1.4
    service.tell_until(LimitCause.RELEARNT, is_overloaded=True)
    assert service.limit._allowance.factor == pytest.approx(1.2)


@pytest.mark.parametrize("is_tried", [False, True])
def test_latency_allowed_is_halved_by_time_but_not_amid_a_trial(is_tried: bool) -> None:
    """A trial compares levels by the latency that both aim at."""
    service = settled(20)
    limit = service.limit
    if is_tried:
        become_slower(service)
        while limit._trial is None:
            service.tell()
    limit._allowance.factor = 1.4
    limit._allowance._halved_at = Instant(service.now - 61 * NS_PER_S)
    service.tell()
    assert (limit._allowance.factor == 1.4) is is_tried


def test_another_latency_below_a_knee_is_looked_into_like_any_other() -> None:
    """It is no trial of the knee, which says where more is done and not how long it takes."""
    service = settled(30)
    service.limit._knee.level = 60.0
    become_slower(service)
    service.tell_until(LimitCause.RELEARNT)
    assert service.limit._knee.is_known


@pytest.mark.parametrize(("draw", "most"), [(constant, 52), (exponential, 64)])
def test_a_settled_limit_rises_little_further_than_it_has_to(draw: Draw, most: int) -> None:
    """40 slots, 48 at the target. On the way up most of what is remembered is of lower levels."""
    for seed in range(8):
        service = Service(40, draw, initial=10, seed=seed)
        service.tell_until(LimitCause.HEADROOM)
        service.limit.stop_probing(now=Instant(service.now))  # what is anchored settles
        assert max(change.limit_after for change in service.tell(80)) <= most


@pytest.mark.parametrize("seed", range(3))
def test_a_dip_at_two_ends_where_two_are_no_longer_asked_for(seed: int) -> None:
    """It would like to know more of two, to compare one with them: not for ever."""
    service = Service(1, exponential, seed=seed)
    while not (service.limit.is_probing and service.limit.limit == 2):
        service.tell(is_overloaded=True)
    service.tell(is_overloaded=True)
    service.tell(12, in_flight_mean=1.2, limit_was_reached=False, learnt_count=64)
    assert not service.limit.is_probing
