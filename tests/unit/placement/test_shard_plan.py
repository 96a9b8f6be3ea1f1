"""A plan is kept, or refused with a reason."""

from __future__ import annotations

import pytest

from shedproxy.placement.overlap import Lattice
from shedproxy.placement.shard_plan import plan_shards


def test_a_bound_that_can_be_kept_is_shown_to_be():
    made = plan_shards(Lattice(upstreams=64, hand=4), tenants=500, overlap_max=2)
    assert (made.tenants_max, made.tenants_dealt, made.refusal) == (10_416, 500, "")


def test_a_bound_that_cannot_be_kept_is_refused_with_what_could_be():
    made = plan_shards(Lattice(upstreams=8, hand=2), tenants=5, overlap_max=0)
    assert "4 tenants at most" in made.refusal
    assert made.tenants_dealt == 0


def test_a_bound_that_the_search_does_not_reach_is_refused_too():
    made = plan_shards(Lattice(upstreams=14, hand=4), tenants=91, overlap_max=2)
    assert made.tenants_max == 91
    assert f"the search dealt {made.tenants_dealt} hands of 91" in made.refusal


def test_without_a_bound_nothing_is_refused():
    made = plan_shards(Lattice(upstreams=64, hand=3), tenants=4000)
    assert (made.tenants_max, made.refusal) == (None, "")
    assert made.sharing(2) == pytest.approx(3999 * 0.0044163, rel=1e-3)
    assert made.sharing(0) == pytest.approx(3999)


def test_what_would_take_minutes_to_deal_is_refused_at_once():
    lattice = Lattice(upstreams=100_000, hand=3)
    with pytest.raises(ValueError, match="at most 500 tenants are tried"):
        plan_shards(lattice, tenants=4_000_000, overlap_max=1)
    assert plan_shards(lattice, tenants=4_000_000).law
