"""Who has how much in the system, how many have anything, and what a fair share is."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.core.decision import Ticket
from shedproxy.core.fair_share import UNBOUNDED_SHARE, FairShare, SlotShare, estimate_flows
from shedproxy.core.policy import FairnessPolicy
from shedproxy.core.request import RequestInfo
from shedproxy.core.sharding import PLACE_BITS, mix64, place_of
from shedproxy.core.units import Instant


def test_a_new_one_is_empty():
    fair = FairShare(FairnessPolicy())
    assert fair.flows_active == 0
    assert fair.in_system(7) == 0


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), max_size=200),
    # With few bits of the place all flows share a row's buckets with others.
    st.sampled_from([1, 4, PLACE_BITS]),
)
def test_counts_are_never_too_low_and_all_return_to_zero(entered, bits):
    fair = FairShare(FairnessPolicy())

    def place(flow):
        return mix64(flow) & ((1 << bits) - 1)

    truth: Counter[int] = Counter()
    for flow, cost in entered:
        fair.enter(place(flow), cost)
        truth[flow] += cost
        assert fair.flows_active >= 1
    for flow in range(31):
        assert fair.in_system(place(flow)) >= truth[flow]
    for flow, cost in entered:
        fair.leave(place(flow), cost)
    assert fair.flows_active == 0
    assert all(fair.in_system(place(flow)) == 0 for flow in range(31))


def test_few_flows_are_counted_exactly_though_their_hashes_are_small_numbers():
    fair = FairShare(FairnessPolicy())
    for flow in range(1, 21):
        fair.enter(place_of(flow), flow)
        assert fair.flows_active == flow
    assert [fair.in_system(place_of(flow)) for flow in range(1, 21)] == list(range(1, 21))


@pytest.mark.parametrize("flows", [100, 1000, 3000])
def test_many_flows_are_estimated_within_a_tenth(flows):
    fair = FairShare(FairnessPolicy())
    for flow in range(flows):
        fair.enter(place_of(mix64(flow)), 1)
    assert 0.9 < fair.flows_active / flows < 1.1


def test_a_hundred_thousand_flows_cost_nothing_more_and_stay_a_finite_estimate():
    fair = FairShare(FairnessPolicy())
    for flow in range(100_000):
        fair.enter(place_of(mix64(flow)), 1)
    assert 7000 < fair.flows_active < 8000


def test_a_busy_tenant_does_not_hide_a_small_one():
    fair = FairShare(FairnessPolicy())
    fair.enter(place_of(1), 10_000)
    fair.enter(place_of(2), 1)
    assert fair.in_system(place_of(2)) == 1


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), min_size=1, max_size=200),
    st.sampled_from([1, PLACE_BITS]),
)
def test_nobody_has_more_than_the_largest_part(entered, bits):
    fair = FairShare(FairnessPolicy())
    truth: Counter[int] = Counter()
    for flow, cost in entered:
        fair.enter(mix64(flow) & ((1 << bits) - 1), cost)
        truth[flow] += cost
    assert max(truth.values()) / truth.total() <= fair.largest_part <= 1.0
    for flow, cost in entered:
        fair.leave(mix64(flow) & ((1 << bits) - 1), cost)
    assert fair.largest_part == 1.0, "of nothing, one may have all"


def test_of_many_alike_the_largest_part_is_small_and_of_a_flood_it_is_what_it_has():
    fair = FairShare(FairnessPolicy())
    for flow in range(100):
        fair.enter(place_of(flow), 2)
    assert fair.largest_part == pytest.approx(0.1)
    fair.enter(place_of(200), 800)
    assert fair.largest_part == pytest.approx(0.8, rel=0.01)


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
        fair.enter(place_of(flow), 1)
    assert fair.share(10) == 4
    assert fair.share(0) == 1


def test_a_policy_changes_the_share_and_keeps_the_counts():
    fair = FairShare(FairnessPolicy(slack=1.0))
    fair.enter(place_of(1), 3)
    fair.enter(place_of(2), 3)
    assert fair.share(10) == 5
    fair.apply(FairnessPolicy(slack=2.0))
    assert fair.share(10) == 10
    fair.apply(FairnessPolicy(enabled=False))
    assert fair.share(10) == UNBOUNDED_SHARE
    assert fair.in_system(place_of(1)) == 3


def test_a_flow_is_over_its_slots_when_one_more_would_be_too_many():
    slots = SlotShare()
    slots.most = 3
    waiter = Ticket(1, RequestInfo(), 7, 0, 0, Instant(0), Instant(9), place=place_of(7))
    slots.enter(place_of(7), 2)
    slots.enter(place_of(8), 40)
    assert not slots.is_over(waiter)
    slots.enter(place_of(7), 1)
    assert slots.is_over(waiter)
    slots.leave(place_of(7), 2)
    assert not slots.is_over(waiter)


def test_the_estimate_inverts_the_expected_number_of_buckets_in_use():
    for flows in (1, 10, 100, 2000):
        used = 1024 * (1 - (1 - 1 / 1024) ** flows)
        assert estimate_flows(round(used), 1024) == pytest.approx(flows, rel=0.02)
