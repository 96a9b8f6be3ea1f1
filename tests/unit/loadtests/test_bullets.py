"""The promises of the magazines on a small fleet; a full one: `python -m loadtests bullets`."""

from __future__ import annotations

from loadtests.bullets import Fleet, broken_check, envoy, failures, killed, promises, zone_loss


def test_every_promise_is_kept_on_a_small_fleet() -> None:
    results = {
        "failures": failures(Fleet(count=30, seed=3), 0.5),
        "broken_check": broken_check(Fleet(count=30)),
        "broken_check_one_zone": broken_check(Fleet(count=30, zones="a")),
        "zone_loss": zone_loss(Fleet(count=30)),
        "killed": killed(Fleet(count=30)),
    }
    assert promises(results, 30) == []
    assert results["killed"]["kills"] == 20
    assert results["broken_check"]["failed_open"] == results["broken_check"]["ejected"] == 1
    assert results["broken_check_one_zone"]["ejected"] == 3
    assert results["broken_check_one_zone"]["failed_open"] == 3


def test_a_promise_that_is_broken_is_said() -> None:
    kept = {
        "failures": {
            "out_after_s_max": 61, "replaced_after_s_max": 0, "not_replaced": 0, "out_most": 1,
            "spent_without_room": 1, "capacity_over_demand_least": 1.2,
        },
        "broken_check": {"ejected": 0, "is_frozen": True, "out_at_the_end": 0},
        "broken_check_one_zone": {"ejected": 4, "is_frozen": True, "out_at_the_end": 0},
        "zone_loss": {"ejected": 0, "asked_for": 0},
        "killed": {"contradiction": "", "counts_fell": False, "spent": 1, "reloaded": 1},
    }  # fmt: skip
    assert promises(kept, 30) == [
        "a bad host was out too late",
        "a broken check took more than a magazine",
        "failures: a host went that the demand took",
    ]


def test_ten_per_cent_without_a_look_at_the_demand_is_too_many_when_all_fail() -> None:
    found = envoy(20, 0.95)
    assert (found["ours_out"], found["envoy_out"]) == (0, 2)
    assert found["envoy_left_ratio"] < 1 < found["ours_left_ratio"]
