"""Who has how much in the system, how many have anything, and what a fair share is."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.core.fair_share import UNBOUNDED_SHARE, FairShare, estimate_flows
from shedproxy.core.policy import FairnessPolicy
from shedproxy.core.sharding import mix64


def test_a_new_one_is_empty():
    fair = FairShare(FairnessPolicy())
    assert fair.flows_active == 0
    assert fair.in_system(7) == 0


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), max_size=200),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([2, 16, 1024]),
)
def test_counts_are_never_too_low_and_all_return_to_zero(entered, hand, buckets):
    fair = FairShare(FairnessPolicy(), buckets=buckets, hand=hand)
    truth: Counter[int] = Counter()
    for flow, cost in entered:
        fair.enter(mix64(flow), cost)
        truth[flow] += cost
        assert fair.flows_active >= 1
    for flow in range(31):
        assert fair.in_system(mix64(flow)) >= truth[flow]
    for flow, cost in entered:
        fair.leave(mix64(flow), cost)
    assert fair.flows_active == 0
    assert all(fair.in_system(mix64(flow)) == 0 for flow in range(31))


def test_few_flows_are_counted_exactly_though_their_hashes_are_small_numbers():
    fair = FairShare(FairnessPolicy())
    for flow in range(1, 21):
        fair.enter(flow, flow)
        assert fair.flows_active == flow
    assert [fair.in_system(flow) for flow in range(1, 21)] == list(range(1, 21))


@pytest.mark.parametrize("flows", [100, 1000, 3000])
def test_many_flows_are_estimated_within_a_tenth(flows):
    fair = FairShare(FairnessPolicy())
    for flow in range(flows):
        fair.enter(mix64(flow), 1)
    assert 0.9 < fair.flows_active / flows < 1.1


def test_a_hundred_thousand_flows_cost_nothing_more_and_stay_a_finite_estimate():
    fair = FairShare(FairnessPolicy(), buckets=16)
    for flow in range(1000):
        fair.enter(mix64(flow), 1)
    assert 40 < fair.flows_active < 200


def test_a_busy_tenant_does_not_hide_a_small_one():
    fair = FairShare(FairnessPolicy())
    fair.enter(mix64(1), 10_000)
    fair.enter(mix64(2), 1)
    assert fair.in_system(mix64(2)) == 1


def test_leaving_what_never_entered_is_an_error_and_changes_nothing():
    fair = FairShare(FairnessPolicy())
    fair.enter(3, 2)
    with pytest.raises(ValueError, match="less than 3"):
        fair.leave(3, 3)
    with pytest.raises(ValueError, match="less than 1"):
        fair.leave(4, 1)
    assert fair.in_system(3) == 2
    assert fair.flows_active == 1


def test_the_share_is_an_equal_one_with_slack():
    fair = FairShare(FairnessPolicy(slack=1.5))
    assert fair.share(10) == 15
    for flow in (1, 2, 3, 4):
        fair.enter(flow, 1)
    assert fair.share(10) == 4
    assert fair.share(0) == 1


def test_a_policy_changes_the_share_and_keeps_the_counts():
    fair = FairShare(FairnessPolicy(slack=1.0))
    fair.enter(1, 3)
    fair.enter(2, 3)
    assert fair.share(10) == 5
    fair.apply(FairnessPolicy(slack=2.0))
    assert fair.share(10) == 10
    fair.apply(FairnessPolicy(enabled=False))
    assert fair.share(10) == UNBOUNDED_SHARE
    assert fair.in_system(1) == 3


@pytest.mark.parametrize(("buckets", "hand"), [(1000, 2), (1, 2), (2**17, 2), (16, 0), (16, 5)])
def test_a_sketch_of_the_wrong_shape_is_an_error(buckets, hand):
    with pytest.raises(ValueError, match="must be"):
        FairShare(FairnessPolicy(), buckets=buckets, hand=hand)


def test_the_estimate_inverts_the_expected_number_of_buckets_in_use():
    for flows in (1, 10, 100, 2000):
        used = 1024 * (1 - (1 - 1 / 1024) ** flows)
        assert estimate_flows(round(used), 1024) == pytest.approx(flows, rel=0.02)
