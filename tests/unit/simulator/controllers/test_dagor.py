"""The published rules of DAGOR: window, detection, step and cursor."""

from __future__ import annotations

from random import Random

import pytest

from shedproxy.core import Criticality, Outcome, Permit, Rejected, RejectReason, RequestInfo, Ticket
from shedproxy.simulator.controllers.dagor import DagorControl, admission_level, priority_of

MS = 1_000_000
S = 1_000_000_000
INFOS = [RequestInfo(criticality=criticality) for criticality in Criticality]


def test_business_comes_before_user():
    """Four criticalities of 128 users, eight cohorts each."""
    assert priority_of(INFOS[0], 0) == 0
    assert priority_of(INFOS[0], 7) == 0
    assert priority_of(INFOS[0], 8) == 1
    assert priority_of(INFOS[0], 1023) == 127
    assert priority_of(INFOS[1], 0) == 128
    assert priority_of(INFOS[3], 1023) == 511


@pytest.mark.parametrize(
    ("expected", "level"),
    [(100, 0), (99, 1), (70, 1), (69, 2), (30, 2), (29.9, 4), (20, 4), (0, 4)],
)
def test_level_lets_the_best_expected_through(expected, level):
    """Arrivals 30, 40, 0, 10, 20 by rising priority: 100 in all, the best always pass."""
    assert admission_level([30, 40, 0, 10, 20], expected) == level


def window(control, *, wait_ms):
    """20 arrivals of each of the 512 priorities, which wait for so long on average.

    How many were admitted.
    """
    admitted = 0
    for arrival in range(20 * 512):
        user = arrival % 512
        decision = control.arrive(INFOS[user // 128], now=0, cohort=user % 128 * 8)
        admitted += isinstance(decision, Permit)
    control._wait_sum_ns = wait_ms * MS * control._wait_count
    return admitted


def test_overloaded_window_admits_five_percent_less():
    """Mean wait over 20 ms: 0.95 of what was admitted, else that and 1 % of what arrived more; in
    whole priorities, of 20 each.
    """
    control = DagorControl(slots=10**6, window_requests=20 * 512)
    admitted = [window(control, wait_ms=wait_ms) for wait_ms in (21, 21, 20, 0, 0)]
    expected = [20 * 512]
    for factor, addend in ((0.95, 0), (0.95, 0), (1, 102.4), (1, 102.4)):
        expected.append((expected[-1] * factor + addend) // 20 * 20)
    assert admitted == expected == [10240, 9720, 9220, 9320, 9420]


def test_lowest_priorities_go_first():
    """5 % of even arrivals are the 25 lowest of 512 levels."""
    control = DagorControl(slots=10**6, window_requests=512)
    for level in range(512):
        control.arrive(INFOS[level // 128], now=0, cohort=level % 128 * 8)
    control._wait_sum_ns = 21 * MS * control._wait_count
    decision = control.arrive(INFOS[0], now=0, cohort=25 * 8)
    assert isinstance(decision, Rejected)
    assert decision.reason is RejectReason.SHED_LEVEL
    assert control.level == 26
    assert isinstance(control.arrive(INFOS[0], now=0, cohort=26 * 8), Permit)
    assert control.reading().refused_share == 26 / 512


@pytest.mark.parametrize(("arrivals", "now", "is_closed"), [(5, S, True), (5, S - 1, False)])
def test_window_ends_after_a_second(arrivals, now, is_closed):
    """Whatever came."""
    control = DagorControl(slots=100)
    for _ in range(arrivals):
        control.arrive(INFOS[0], now=0)
    control.arrive(INFOS[0], now=now)
    assert control._arrived == (1 if is_closed else arrivals + 1)


def test_window_ends_after_two_thousand_requests():
    """Whichever comes first."""
    control = DagorControl(slots=10_000)
    for _ in range(2000):
        control.arrive(INFOS[0], now=0)
    assert control._arrived == 2000
    control.arrive(INFOS[0], now=1)
    assert control._arrived == 1


def test_idle_window_admits_all_again():
    """Nothing arrived, nothing is refused."""
    control = DagorControl(slots=10)
    control.level = 300
    control.arrive(INFOS[0], now=0)
    assert control.level == 0


def test_waits_are_measured_from_arrival_to_start():
    """One thread of 50 ms: waits of 0, 50 and 100 ms are 50 on average, and the window is bad."""
    control = DagorControl(slots=1)
    permit = control.arrive(INFOS[3], now=0, cohort=1023)
    first, second = (control.arrive(INFOS[3], now=0, cohort=1023) for _ in range(2))
    for now, ticket in ((50 * MS, first), (100 * MS, second)):
        (verdict,) = control.release(permit, Outcome.SUCCESS, now=now)
        assert verdict.ticket is ticket
        permit = verdict.decision
    assert not control.release(permit, Outcome.SUCCESS, now=150 * MS)
    assert control._wait_sum_ns == 150 * MS
    assert control._wait_count == 3


def test_task_that_waits_for_half_a_second_is_refused():
    """Its wait counts too, or a stuck server would look like an idle one."""
    control = DagorControl(slots=1)
    control.arrive(INFOS[0], now=0)
    ticket = control.arrive(INFOS[0], now=1)
    assert control.next_tick_at() == 1 + 500 * MS
    assert not control.tick(now=500 * MS)
    (verdict,) = control.tick(now=1 + 500 * MS)
    assert verdict.ticket is ticket
    assert verdict.decision.reason is RejectReason.QUEUE_TIMEOUT
    assert control._wait_sum_ns == 500 * MS
    assert control.next_tick_at() is None


def test_abandoned_waiters_are_gone():
    """Once only, and a wide one lets those behind it run."""
    control = DagorControl(slots=2)
    control.arrive(INFOS[0], now=0)
    wide = control.arrive(RequestInfo(cost=2), now=1)
    narrow = control.arrive(INFOS[0], now=2)
    assert isinstance(wide, Ticket)
    (verdict,) = control.abandon(wide, now=3)
    assert verdict.ticket is narrow
    assert not control.abandon(wide, now=4)
    assert control.reading()[:3] == (2, 2, 0)


def test_double_demand_settles_at_the_capacity():
    """2 threads of 10 ms, 400 per second: half is refused, and not from the best classes."""
    control = DagorControl(slots=2)
    rng = Random(2)
    running = []
    refused = [0] * 4
    for step in range(40 * 400):
        now = step * S // 400
        while running and running[0].admitted_at + 10 * MS <= now:
            permit = running.pop(0)
            ended_at = permit.admitted_at + 10 * MS
            verdicts = control.release(permit, Outcome.SUCCESS, now=ended_at)
            running += [decision for _, decision in verdicts if isinstance(decision, Permit)]
        info = rng.choice(INFOS)
        decision = control.arrive(info, now=now, cohort=rng.randrange(1024))
        if isinstance(decision, Permit):
            running.append(decision)
        elif isinstance(decision, Rejected) and step >= 20 * 400:
            refused[info.criticality] += 1
    assert sum(refused) / (20 * 400) == pytest.approx(0.5, abs=0.05)
    assert refused[3] == 0
    assert refused[0] > 0.95 * 20 * 100
