"""Who is worse than his peers, and when so many are that it is not they."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from shedproxy.core import OutlierPolicy, OutlierReason, Tally, is_correlated, judge

POLICY = OutlierPolicy()


def tally(requests: int = 100, failed: int = 0, ms: float = 20.0) -> Tally:
    timed = requests - failed
    return Tally(requests, failed, timed, timed * math.log2(ms * 1e6))


def test_equals_are_nobodys_outlier():
    assert judge([tally(), tally(failed=3), tally(ms=25)], POLICY) == [None] * 3


def test_who_fails_more_than_its_peers_is_failing():
    assert judge([tally(), tally(failed=40), tally()], POLICY) == [
        None,
        OutlierReason.FAILING,
        None,
    ]


def test_what_all_of_them_suffer_is_nobodys_fault():
    assert judge([tally(failed=60), tally(failed=70), tally(failed=65)], POLICY) == [None] * 3


def test_a_fast_failure_is_no_good_latency():
    quick = Tally(100, 100, 0, 0.0)
    assert judge([tally(), quick, tally()], POLICY)[1] is OutlierReason.FAILING


def test_half_of_the_peers_may_be_bad_before_the_others_are_compared_with_them():
    hosts = [tally(failed=90), tally(failed=90), tally(), tally(), tally()]
    bad = OutlierReason.FAILING
    assert judge(hosts, POLICY) == [bad, bad, None, None, None]


def test_few_requests_say_nothing():
    assert judge([tally(), tally(19, 19), tally()], POLICY) == [None] * 3
    # And a quarter more may be chance among twenty, but not among two hundred.
    assert judge([tally(20, 6), tally(20, 11), tally(20, 6)], POLICY) == [None] * 3
    many = [tally(200, 60), tally(200, 110), tally(200, 60)]
    assert judge(many, POLICY) == [None, OutlierReason.FAILING, None]


def test_who_has_no_peers_is_not_judged():
    assert judge([tally(failed=100)], POLICY) == [None]
    assert judge([tally(failed=100), tally(0)], POLICY) == [None, None]


def test_who_takes_much_longer_is_slow():
    hosts = [tally(ms=20), tally(ms=22), tally(ms=70), tally(ms=19)]
    assert judge(hosts, POLICY) == [None, None, OutlierReason.SLOW, None]
    assert judge(hosts, replace(POLICY, slower_than=0)) == [None] * 4


def test_of_two_hosts_nobody_knows_which_one_is_odd():
    assert judge([tally(ms=20), tally(ms=200)], POLICY) == [None, None]


def test_peers_that_differ_among_themselves_are_given_more():
    scattered = [tally(ms=ms) for ms in (5, 20, 80, 10, 40, 130)]
    assert judge(scattered, POLICY) == [None] * 6


@pytest.mark.parametrize(
    ("bad", "total", "zones", "is_too_many"),
    [(1, 2, 0, False), (2, 3, 0, True), (30, 100, 0, False), (31, 100, 0, True), (2, 100, 2, True),
     (1, 100, 1, False)],
)  # fmt: skip
def test_too_many_at_once_are_not_the_hosts_fault(bad, total, zones, is_too_many):
    assert is_correlated(bad, total, check_zones=zones) is is_too_many
