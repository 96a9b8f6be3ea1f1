"""The published rules of Cinnamon, and its published experiment in small."""

from __future__ import annotations

import math
from collections import deque
from heapq import heappop, heappush
from itertools import pairwise
from random import Random
from statistics import median

import pytest

from shedproxy.core import Criticality, Outcome, Rejected, RejectReason, RequestInfo, Ticket
from shedproxy.simulator.controllers.cinnamon import (
    AutoTuner,
    CinnamonControl,
    Rejector,
    priority_of,
)

MS = 1_000_000
S = 1_000_000_000
INFOS = [RequestInfo(criticality=criticality) for criticality in Criticality]
LOWEST = 767


def test_priority_is_tier_then_cohort():
    """0 is best; the criticalities are four of six tiers, eight of our cohorts one of 128."""
    assert priority_of(INFOS[3], 1023) == 0
    assert priority_of(INFOS[3], 1015) == 1
    assert priority_of(INFOS[3], 0) == 127
    assert priority_of(INFOS[2], 1023) == 128
    assert priority_of(INFOS[0], 0) == 511


# --- rejector -----------------------------------------------------------------------------------


def test_share_is_proportional_and_integral():
    """P = (150 - 100) / 100 for 0.1 s: 0.1 x 0.5 + 1.4 x 0.05; with P = 0 the integral stays."""
    rejector = Rejector()
    rejector.step(entered_count=150, left_count=100, free_count=0, elapsed_ns=S // 10)
    assert rejector.share == pytest.approx(0.12)
    rejector.step(entered_count=100, left_count=100, free_count=0, elapsed_ns=S // 10)
    assert rejector.share == pytest.approx(0.07)


def test_free_slots_lower_the_share():
    """20 free of what left 100 are P = -0.2."""
    rejector = Rejector()
    rejector.step(entered_count=150, left_count=100, free_count=0, elapsed_ns=S)
    rejector.step(entered_count=100, left_count=100, free_count=20, elapsed_ns=S)
    assert rejector.share == pytest.approx(0.1 * -0.2 + 1.4 * (0.5 - 0.2))


def test_share_stays_between_nobody_and_all():
    """And the integral does not wind up: one step back is enough to be seen."""
    rejector = Rejector()
    for _ in range(10):
        rejector.step(entered_count=1000, left_count=0, free_count=0, elapsed_ns=S)
    assert rejector.share == 1.0
    rejector.step(entered_count=0, left_count=100, free_count=0, elapsed_ns=S // 10)
    assert rejector.share == pytest.approx(1 - 1.4 * 0.1 - 0.1)
    for _ in range(10):
        rejector.step(entered_count=0, left_count=100, free_count=100, elapsed_ns=S)
    assert rejector.share == 0.0
    rejector.step(entered_count=200, left_count=100, free_count=0, elapsed_ns=S // 10)
    assert rejector.share == pytest.approx(0.24)


@pytest.mark.parametrize(
    ("share", "threshold"), [(0.25, 74), (0.2499, 75), (0.0, 99), (0.999, 0), (1.0, -1)]
)
def test_threshold_is_read_off_the_recent_priorities(share, threshold):
    """Ten arrivals of each priority 0..99: the worst quarter is 75..99."""
    rejector = Rejector()
    for index in range(1000):
        rejector.add(index % 100)
    rejector.share = share
    assert rejector._threshold() == threshold


def test_only_the_last_thousand_count():
    """After 1 000 arrivals of priority 5 those of priority 700 are forgotten."""
    rejector = Rejector()
    for priority, count in ((700, 1000), (5, 999)):
        for _ in range(count):
            rejector.add(priority)
    rejector.share = 0.0
    assert rejector._threshold() == 700
    rejector.add(5)
    assert rejector._threshold() == 5


# --- auto-tuner ---------------------------------------------------------------------------------


class Tuning:
    """A tuner, and the time it is in."""

    def __init__(self, *, limit=100, floor=1, target_ms=0.0):
        self.tuner = AutoTuner(limit=limit, floor=floor)
        self.tuner.target_ns = target_ms * MS
        self.now = 0

    def interval(self, latency_ms, *, in_flight=100):
        """Two seconds of 250 equal samples: the limit after them."""
        for index in range(250):
            now = self.now + 2 * S * index // 249
            is_over = self.tuner.add(round(latency_ms * MS), in_flight, now=now)
        assert is_over
        self.now = now
        return self.tuner.limit

    def intervals(self, latencies_ms, *, in_flight=100):
        return [self.interval(latency_ms, in_flight=in_flight) for latency_ms in latencies_ms]


def test_first_interval_sets_the_target_and_the_limit_grows():
    """No queue: + log10 of the limit, 2 at 100."""
    tuning = Tuning()
    assert tuning.interval(50) == 102
    assert tuning.tuner.target_ns == 50 * MS


@pytest.mark.parametrize(("queued", "expected"), [(5, 102), (9, 100), (13, 98)])
def test_limit_falls_where_latency_shows_a_queue(queued, expected):
    """Queue = limit x (1 - target / latency), against 3 and 6 times log10 of the limit."""
    assert Tuning(target_ms=50).interval(50 / (1 - queued / 100)) == expected


def test_limit_in_no_use_does_not_grow():
    """Under half of it in flight."""
    assert Tuning().interval(50, in_flight=49) == 100
    assert Tuning().interval(50, in_flight=50) == 102


def test_limit_keeps_its_floor():
    """The number of cores, as published."""
    assert Tuning(limit=10, floor=8, target_ms=1).intervals([50] * 4) == [9, 8, 8, 8]


def test_interval_takes_two_seconds_and_250_samples():
    """249 samples or 1.9 s are not enough; after 30 s the few are thrown away."""
    tuner = AutoTuner(limit=100)
    ended = [tuner.add(MS, 1, now=index * 7_000_000) for index in range(250)]
    assert not any(ended)
    assert tuner.add(MS, 1, now=2 * S)
    assert not tuner.add(MS, 1, now=31 * S)
    assert not tuner.add(MS, 1, now=32 * S + 1)
    assert tuner._latencies_ns == []
    ended = [tuner.add(MS, 1, now=33 * S + index * 10 * MS) for index in range(250)]
    assert ended == [False] * 249 + [True]


def test_ninetieth_percentile_through_a_median_and_smoothing():
    """One wild interval among five does not show; a lasting change comes in thirds."""
    tuning = Tuning()
    tuning.intervals([50, 50, 500, 50, 50])
    assert tuning.tuner.latency_ns == 50 * MS
    tuning.intervals([80, 80])
    assert tuning.tuner.latency_ns == 60 * MS
    tuning.interval(80)
    assert tuning.tuner.latency_ns == pytest.approx(66.67 * MS, rel=1e-3)


@pytest.mark.parametrize(("slow", "expected_ms"), [(25, 200), (24, 10)])
def test_a_tenth_of_slow_answers_is_the_percentile(slow, expected_ms):
    """Of 250, 25 are."""
    tuner = AutoTuner(limit=100)
    for index in range(250):
        latency_ns = 200 * MS if index < slow else 10 * MS
        tuner.add(latency_ns, 100, now=2 * S * index // 249)
    assert tuner.latency_ns == expected_ms * MS


def test_falling_throughput_with_more_in_flight_lowers_the_limit():
    """50 intervals in which throughput fell while in-flight rose: the covariance decides, although
    by its latency the limit could grow.
    """
    tuning = Tuning(target_ms=1000)
    limits = [tuning.interval(50 + 2 * step, in_flight=100 + step) for step in range(50)]
    assert tuning.tuner._covariance() < 0
    assert limits[:49] == sorted(limits[:49])
    assert limits[49] == limits[48] - math.log10(limits[48])


def test_target_is_captured_anew_while_more_in_flight_brings_more():
    """After 50 intervals, with a covariance that is not negative."""
    tuning = Tuning()
    tuning.intervals([50] * 25, in_flight=20)
    tuning.intervals([55] * 25, in_flight=30)
    assert tuning.tuner._covariance() > 0
    assert tuning.tuner.target_ns == 50 * MS
    tuning.interval(55, in_flight=30)
    assert tuning.tuner.target_ns == pytest.approx(55 * MS, rel=1e-3)


# --- the whole ----------------------------------------------------------------------------------


def test_best_waiter_first_oldest_among_equals():
    """One slot; four wait."""
    control = CinnamonControl(slots=1)
    permit = control.arrive(INFOS[0], now=0)
    tickets = [
        control.arrive(INFOS[index], now=1, cohort=cohort)
        for index, cohort in ((1, 0), (3, 0), (1, 3), (3, 1023))
    ]
    order = []
    while verdicts := control.release(permit, Outcome.IGNORE, now=2):
        order.append(tickets.index(verdicts[0].ticket))
        permit = verdicts[0].decision
    assert order == [3, 1, 0, 2]
    assert control.reading()[1:3] == (0, 0)


@pytest.mark.parametrize(("time_left_ns", "expected_ns"), [(None, 330 * MS), (2 * S, 660 * MS)])
def test_a_third_of_the_timeout_is_for_waiting(time_left_ns, expected_ns):
    """33 % of a second, or of the time left."""
    control = CinnamonControl(slots=1)
    control.arrive(INFOS[0], now=0)
    ticket = control.arrive(INFOS[0], now=0, time_left_ns=time_left_ns)
    assert ticket.expires_at == expected_ns
    assert not control.tick(now=expected_ns - 1)
    (verdict,) = control.tick(now=expected_ns)
    assert verdict.decision.reason is RejectReason.QUEUE_TIMEOUT


def test_abandoned_waiters_are_gone():
    """Once only, and a wide one lets those behind it run."""
    control = CinnamonControl(slots=2)
    control.arrive(INFOS[0], now=0)
    wide = control.arrive(RequestInfo(cost=2), now=1)
    narrow = control.arrive(INFOS[0], now=2)
    assert isinstance(wide, Ticket)
    (verdict,) = control.abandon(wide, now=3)
    assert verdict.ticket is narrow
    assert not control.abandon(wide, now=4)
    assert control.reading()[1:3] == (2, 0)


def test_it_ticks_every_100_ms_from_the_first_request_on():
    """Or earlier, for a waiter."""
    control = CinnamonControl(slots=1)
    assert control.next_tick_at() is None
    assert not control.tick(now=5)
    control.arrive(INFOS[0], now=10)
    assert control.next_tick_at() == 10 + 100 * MS
    control.arrive(INFOS[0], now=20, time_left_ns=100 * MS)
    assert control.next_tick_at() == 20 + 33 * MS


class Overload:
    """A backend of 650 requests per second and 120 ms behind Cinnamon, and Poisson arrivals."""

    def __init__(self, control, rate, *, seed=1):
        self.control = control
        self.rng = Random(seed)
        self.rate = rate
        self.free = 78
        self.now = 0
        self.backlog = deque()
        self.events = []
        self.serial = 0
        self.served = 0
        self.waits = []
        self.refused = [0] * 4
        self.offered = [0] * 4
        self.after(0, self.offer, None)
        self.after(0, self.tick, None)

    def after(self, delay, action, argument):
        self.serial += 1
        heappush(self.events, (self.now + round(delay), self.serial, action, argument))

    def offer(self, _):
        self.after(self.rng.expovariate(self.rate) * S, self.offer, None)
        info = self.rng.choice(INFOS)
        self.offered[info.criticality] += 1
        decision = self.control.arrive(info, now=self.now, cohort=self.rng.randrange(1024))
        if not isinstance(decision, Ticket):
            self.deliver(info, decision)

    def deliver(self, info, decision):
        if isinstance(decision, Rejected):
            self.refused[info.criticality] += 1
            return
        self.waits.append(decision.waited_ns)
        self.backlog.append(decision)
        self.start()

    def start(self):
        while self.free and self.backlog:
            self.free -= 1
            self.after(self.rng.expovariate(1 / 120) * MS, self.finish, self.backlog.popleft())

    def finish(self, permit):
        self.free += 1
        self.served += 1
        self.start()
        self.verdicts(self.control.release(permit, Outcome.SUCCESS, now=self.now))

    def tick(self, _):
        self.verdicts(self.control.tick(now=self.now))
        self.after(self.control.next_tick_at() - self.now, self.tick, None)

    def verdicts(self, verdicts):
        for ticket, decision in verdicts:
            self.deliver(ticket.request, decision)

    def run(self, until):
        while self.events[0][0] <= until:
            self.now, _, action, argument = heappop(self.events)
            action(argument)

    def forget(self):
        """Count from now on."""
        self.served, self.waits, self.refused, self.offered = 0, [], [0] * 4, [0] * 4


def test_overload_is_a_queue_that_was_not_empty_for_ten_seconds():
    """Before, only the timeout refuses; after, the threshold does, and the queue is short."""
    control = CinnamonControl(slots=78)
    world = Overload(control, 1300)
    for second in range(1, 11):
        world.run(second * S)
        assert not control.is_overloaded
        assert control.rejector.threshold == LOWEST
    assert control.reading().queue_length > 100
    world.run(11 * S)
    assert control.is_overloaded
    assert control.rejector.threshold < LOWEST


@pytest.mark.parametrize(("times", "best_refused"), [(2, 0.0), (3, 0.01), (4, 0.15)])
def test_published_experiment_share_is_stable_at_full_throughput(times, best_refused):
    """650 per second, 120 ms, timeout 1 s, 300 % overload (read either way): throughput stays at
    the capacity, the share near what is needed, the median wait is short; who is refused is the
    worst, although at 4 x the best tier is all of the capacity.
    """
    control = CinnamonControl(slots=78, overload_after_ns=S)
    world = Overload(control, times * 650)
    world.run(4 * S)
    world.forget()
    shares = []
    for now in range(4 * S, 9 * S, S // 10):
        world.run(now)
        shares.append(control.rejector.share)
    assert world.served >= 0.95 * 650 * 4.9
    assert abs(sum(shares) / len(shares) - (1 - 1 / times)) < 0.08
    assert max(shares) - min(shares) < 0.3
    assert median(world.waits) < 60 * MS
    refused = [count / all_of for count, all_of in zip(world.refused, world.offered, strict=True)]
    assert refused[3] <= best_refused
    assert all(worse >= better - 0.01 for worse, better in pairwise(refused))


def test_overload_ends():
    """Demand falls under the capacity: within seconds nobody is refused any more."""
    control = CinnamonControl(slots=78, overload_after_ns=S)
    world = Overload(control, 1950)
    world.run(4 * S)
    assert control.is_overloaded
    world.rate = 400
    world.run(8 * S)
    assert not control.is_overloaded
    assert control.rejector.threshold == LOWEST
    assert control.reading().refused_share == 0.0
