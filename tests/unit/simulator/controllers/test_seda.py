"""The published rules of SEDA's response time controller, one by one."""

from __future__ import annotations

import math

import pytest

from shedproxy.core import Outcome, Permit, Rejected, RejectReason, RequestInfo
from shedproxy.simulator.controllers.seda import SedaControl

MS = 1_000_000
S = 1_000_000_000
INFO = RequestInfo()


def served(control, *times_ms, now=0):
    """So many requests that arrive at `now` and take that long, in ms."""
    for time_ms in times_ms:
        permit = control.admit(INFO, now=now)
        control.release(permit, Outcome.SUCCESS, now=now + time_ms * MS)


def test_over_the_target_the_rate_is_divided():
    """100 responses of 100 ms make a smoothed 30 ms: target 20 ms, rate / 1.2."""
    control = SedaControl(target_ns=20 * MS, rate_rps=600)
    served(control, *[100] * 99)
    assert control.rate_rps == 600
    served(control, 100)
    assert control.p90_ns == pytest.approx(0.3 * 100 * MS)
    assert control.rate_rps == 600 / 1.2


@pytest.mark.parametrize(
    ("p90_ms", "expected"),
    [(30, 500), (20, 600), (10, 600), (8, 601), (4, 601.4), (0, 601.8)],
)
def test_between_half_and_the_whole_target_nothing_moves(p90_ms, expected):
    """Target 20 ms; below half of it, rate + 2 x (-0.1 - error)."""
    control = SedaControl(target_ns=20 * MS, rate_rps=600)
    control.p90_ns = float(p90_ms * MS)
    served(control, *[p90_ms] * 100)
    assert control.p90_ns == pytest.approx(p90_ms * MS)
    assert control.rate_rps == pytest.approx(expected)


def test_former_percentile_weighs_seven_tenths():
    """0, then twice 100 ms: 30, then 51 ms."""
    control = SedaControl(target_ns=1000 * MS)
    served(control, *[100] * 100)
    served(control, *[100] * 100)
    assert control.p90_ns == pytest.approx(51 * MS)


def test_ninetieth_of_a_hundred_counts():
    """The 91st smallest: 90 fast ones and 10 slow ones."""
    control = SedaControl(target_ns=S)
    served(control, *[200] * 10, *[1] * 90)
    assert control.p90_ns == pytest.approx(0.3 * 200 * MS)
    control = SedaControl(target_ns=S)
    served(control, *[200] * 9, *[1] * 91)
    assert control.p90_ns == pytest.approx(0.3 * MS)


def test_a_second_is_enough_for_a_step():
    """With fewer than 100 responses the next one after it closes the window."""
    control = SedaControl(target_ns=20 * MS, rate_rps=600)
    served(control, 100, 100, now=800 * MS)
    assert control.rate_rps == 600
    served(control, 100, now=900 * MS)
    assert control.rate_rps == 500
    served(control, 100, now=950 * MS)
    assert control.rate_rps == 500


def test_rate_stays_between_its_bounds():
    """0.05 and 5 000 per second."""
    control = SedaControl(target_ns=20 * MS, rate_rps=4999)
    for _ in range(3):
        served(control, *[0] * 100)
    assert control.rate_rps == 5000
    for _ in range(100):
        served(control, *[1000] * 100)
    assert control.rate_rps == 0.05


def test_however_it_ended_a_response_is_a_sample():
    """A failure or a client that left too; what the client stalled is not the stage's."""
    control = SedaControl(target_ns=20 * MS)
    for _ in range(50):
        control.leave_zombie(control.admit(INFO, now=0), now=100 * MS)
    for _ in range(50):
        permit = control.admit(INFO, now=0)
        control.release(permit, Outcome.OVERLOAD, now=150 * MS, stalled_ns=50 * MS)
    assert control.p90_ns == pytest.approx(30 * MS)
    assert control.in_flight == 0


def test_bucket_lets_its_rate_through():
    """10 at once from a full bucket of 10, then one each 10 ms at 100 per second."""
    control = SedaControl(target_ns=20 * MS, rate_rps=100, burst=10)
    kinds = [type(control.arrive(INFO, now=0)) for _ in range(12)]
    assert kinds == [Permit] * 10 + [Rejected] * 2
    kinds = [type(control.arrive(INFO, now=now * MS)) for now in range(5, 46, 5)]
    assert kinds == [Rejected, Permit] * 4 + [Rejected]
    decision = control.arrive(INFO, now=45 * MS)
    assert decision.reason is RejectReason.SHED_LEVEL


def test_bucket_holds_no_more_than_its_burst():
    """After 10 s as at the beginning."""
    control = SedaControl(target_ns=20 * MS, rate_rps=100, burst=10)
    kinds = [type(control.arrive(INFO, now=10 * S)) for _ in range(11)]
    assert kinds == [Permit] * 10 + [Rejected]


def test_tokens_of_the_time_before_a_step_are_of_the_former_rate():
    """An empty bucket, 100 ms at 600 per second, then 500: 60 tokens."""
    control = SedaControl(target_ns=20 * MS, rate_rps=600, burst=100)
    permits = [control.arrive(INFO, now=0) for _ in range(100)]
    for permit in permits:
        control.release(permit, Outcome.SUCCESS, now=100 * MS)
    assert control.rate_rps == 500
    kinds = [type(control.arrive(INFO, now=100 * MS)) for _ in range(61)]
    assert kinds == [Permit] * 60 + [Rejected]


def test_wide_requests_take_as_many_tokens():
    """4 of a bucket of 10, twice."""
    control = SedaControl(target_ns=20 * MS, rate_rps=100, burst=10)
    wide = RequestInfo(cost=4)
    assert [type(control.arrive(wide, now=0)) for _ in range(3)] == [Permit, Permit, Rejected]
    assert control.in_flight == 8


def test_reading_shows_no_limit():
    """A rate is no number of slots."""
    control = SedaControl(target_ns=20 * MS)
    control.arrive(INFO, now=0)
    assert control.reading() == (math.inf, 1, 0, 0.0, 0)


def test_its_step_and_greatest_rate_go_with_the_service():
    control = SedaControl(target_ns=S, rate_rps=20_000, increase_rps=400, rate_max_rps=20_500)
    served(control, *[10] * 100)
    assert control.rate_rps == pytest.approx(20_359, abs=1)
    served(control, *[10] * 100)
    assert control.rate_rps == 20_500
