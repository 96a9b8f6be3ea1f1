"""Which upstream is taken: fewest in use, the own zone first, another zone after a failure."""

from __future__ import annotations

from collections import Counter

from shedproxy.core import Lane
from shedproxy.dataplane.wire.candidates import Chooser, Upstream

DATA = Lane.DATA


def upstreams(*zones, room=100):
    made = []
    for index, zone in enumerate(zones):
        upstream = Upstream(f"{zone}{index}", room)
        upstream.zone = zone
        made.append(upstream)
    return made


def chooser(own="a"):
    made = Chooser()
    made.own_zone, made.has_zones = own, True
    return made


def take(made, candidates, count=1, tried=(), now=0):
    keys = []
    for _ in range(count):
        chosen = made.choose(candidates, now, DATA, tried)
        if chosen is None:
            break
        chosen.data.in_use += 1
        keys.append(chosen.zone)
    return keys


def put_out(upstream):
    upstream.failed(0, fail_after=1, probe_every_ns=10, is_connected=False)


def test_the_own_zone_comes_first():
    assert take(chooser(), upstreams("a", "b", "a", "c"), 50) == ["a"] * 50


def test_a_proxy_without_a_zone_uses_all_alike():
    assert Counter(take(chooser(""), upstreams("a", "b", "c"), 30)) == {"a": 10, "b": 10, "c": 10}


def test_a_zone_that_is_full_is_left():
    assert take(chooser(), upstreams("a", "b", room=2), 5) == ["a", "a", "b", "b"]


def test_a_zone_with_five_of_seven_in_service_takes_all():
    pool = upstreams(*"aaaaaaabb")
    for upstream in pool[:2]:
        put_out(upstream)
    assert set(take(chooser(), pool, 100)) == {"a"}


def test_what_a_zone_has_lost_beyond_that_goes_elsewhere_in_proportion():
    """Two of five in service carry 2/5 x 1.4 of what is asked for: 56 of 100."""
    pool = upstreams(*"aaaaabb")
    for upstream in pool[:3]:
        put_out(upstream)
    assert Counter(take(chooser(), pool, 100)) == {"a": 56, "b": 44}


def test_whom_the_supervisor_took_out_a_zone_has_lost_too():
    pool = upstreams(*"aaaaabb")
    for upstream in pool[:3]:
        upstream.weight = 0
    assert Counter(take(chooser(), pool, 100)) == {"a": 56, "b": 44}


def test_without_any_other_zone_the_own_takes_all():
    pool = upstreams(*"aaaa")
    put_out(pool[0])
    put_out(pool[1])
    assert take(chooser(), pool, 10) == ["a"] * 10


def test_a_zone_that_is_gone_is_left():
    pool = upstreams(*"aabb")
    for upstream in pool[:2]:
        put_out(upstream)
    assert take(chooser(), pool, 10) == ["b"] * 10


def test_a_second_try_goes_to_another_zone():
    pool = upstreams(*"aabb")
    assert take(chooser(), pool, 4, tried=(pool[0],)) == ["b"] * 4
    assert take(chooser(), pool[:2], 1, tried=(pool[0],)) == ["a"]


def test_a_zone_that_is_weighed_away_gets_what_nobody_else_can_take():
    pool = upstreams(*"aab", room=2)
    for upstream in pool[:2]:
        upstream.is_away = True
    assert take(chooser(), pool, 6) == ["b", "b", "a", "a", "a", "a"]


def test_of_two_that_are_away_the_own_zone_still_comes_first():
    pool = upstreams(*"ab")
    for upstream in pool:
        upstream.is_away = True
    assert take(chooser(), pool, 2) == ["a", "a"]


def test_inside_a_zone_the_fewest_in_use_wins_and_ties_go_round():
    pool = upstreams(*"aaa")
    made = chooser()
    take(made, pool, 9)
    assert [upstream.data.in_use for upstream in pool] == [3, 3, 3]


def test_nobody_who_is_retired_is_taken():
    pool = upstreams("a")
    pool[0].retire()
    assert take(chooser(), pool) == []
    assert take(Chooser(), pool) == []


def test_nobody_to_choose_from_is_nobody():
    assert take(chooser(), []) == []
    assert take(Chooser(), []) == []


def test_who_was_taken_out_or_is_on_trial_counts_in_every_zone() -> None:
    near, far, other = (Upstream(key, 8) for key in ("near", "far", "other"))
    near.zone, far.zone, other.zone = "p", "q", "p"
    chooser: Chooser = Chooser()
    chooser.own_zone, chooser.has_zones = "p", True
    near.weight = 0
    hosts = [near, far, other]
    assert [chooser.choose(hosts, 0, Lane.DATA, ()) for _ in range(3)] == [other] * 3
    near.weight = 100
    picked = [chooser.choose(hosts, 0, Lane.DATA, ()) for _ in range(300)]
    assert 8 <= picked.count(near) <= 12
    near.weight = far.weight = other.weight = 0
    assert chooser.choose(hosts, 0, Lane.DATA, ()) in {near, other}
