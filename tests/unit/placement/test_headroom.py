"""Losing a zone takes demand x a / (a - 1)."""

from __future__ import annotations

import pytest

from shedproxy.placement.headroom import zone_headroom


@pytest.mark.parametrize(("zones", "needed"), [(2, 12), (3, 9), (4, 8), (6, 7.2)])
def test_evenly_over_zones_it_takes_a_over_a_less_one(zones, needed):
    hosts = {f"z{index}": 10 for index in range(zones)}
    room = zone_headroom(hosts, host_rps=1.0, demand_rps=6.0)
    assert room.needed_rps == pytest.approx(needed)


def test_what_counts_is_what_is_left_without_the_largest():
    room = zone_headroom({"a": 1, "b": 3, "c": 2}, host_rps=10.0, demand_rps=30.0)
    assert (room.largest, room.left_rps, room.capacity_rps, room.is_enough) == ("b", 30, 60, True)
    assert not zone_headroom({"a": 1, "b": 3, "c": 2}, host_rps=10.0, demand_rps=31.0).is_enough


def test_of_one_zone_there_is_nothing_to_say():
    assert zone_headroom({"a": 4}, host_rps=1.0, demand_rps=1.0) is None
    assert zone_headroom({}, host_rps=1.0, demand_rps=1.0) is None
