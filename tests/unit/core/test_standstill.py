"""A service that stood still is told from one that is slow, and from one that had nothing to do."""

from __future__ import annotations

from shedproxy.core import NS_PER_MS, Instant
from shedproxy.core.standstill import Standstill

MEAN = 20


def at(ms: float) -> Instant:
    return Instant(round(ms * NS_PER_MS))


def usual(begin_ms: int, end_ms: int) -> list[tuple[float, float]]:
    """An end every ten milliseconds."""
    return [(ended_ms - MEAN, ended_ms) for ended_ms in range(begin_ms, end_ms + 1, 10)]


def watching() -> Standstill:
    """For ten seconds of the usual."""
    standstill = Standstill(now=at(-10_000))
    for admitted_ms, ended_ms in usual(-10_000, 80):
        standstill.show(at(admitted_ms), at(ended_ms))
    return standstill


def shown(*ends: tuple[float, float], mean_ms: float = MEAN) -> list[tuple[float, float]]:
    """The times of standstill that ends of work, each with its admission, make known; in ms."""
    standstill, found = watching(), []
    standstill.fit(round(mean_ms * NS_PER_MS))
    for admitted_ms, ended_ms in ends:
        if standstill.show(at(admitted_ms), at(ended_ms)):
            found.append((standstill.since / NS_PER_MS, standstill.until / NS_PER_MS))
    return found


def test_four_that_were_under_way_show_where_the_service_stood_still() -> None:
    before = [(80.0, 100.0)]
    under_way = [(90.0, 600.0), (95.0, 601.0), (99.0, 602.0), (100.0, 603.0)]
    assert shown(*before, *under_way) == [(100, 600)]
    assert shown(*before, *under_way[:3]) == []


def test_who_came_meanwhile_shows_nothing() -> None:
    """One that is short may well be the first to end."""
    came = [(300.0, 600.0), (400.0, 600.5)]
    under_way = [(90.0, 601.0), (95.0, 602.0), (99.0, 603.0), (99.5, 604.0)]
    assert shown((80, 100), *came, *came, *came) == []
    assert shown((80, 100), *came, *under_way) == [(100, 600)]


def test_eight_mean_latencies_without_an_end_are_no_chance_and_less_may_be() -> None:
    under_way = [(95.0, 100 + 8 * MEAN), *[(99.0, 101 + 8 * MEAN)] * 3]
    assert shown((80, 100), *under_way) == []
    late = [(admitted, ended + 1) for admitted, ended in under_way]
    assert shown((80, 100), *late) == [(100, 101 + 8 * MEAN)]


def test_a_service_that_had_nothing_to_do_did_not_stand_still() -> None:
    assert shown((80, 100), *[(5000.0 + index, 5020.0 + index) for index in range(20)]) == []


def test_one_long_request_alone_is_long() -> None:
    assert (
        shown((80, 100), (90, 5000), *[(5000.0 + index, 5020.0 + index) for index in range(9)])
        == []
    )


def test_what_a_gap_was_is_in_doubt_for_a_mean_latency() -> None:
    standstill = watching()
    assert not standstill.is_in_doubt(at(10_000)), "nothing is known of how long work takes"
    standstill.fit(MEAN * NS_PER_MS)
    standstill.show(at(80), at(100))
    assert not standstill.is_in_doubt(at(100))
    standstill.show(at(90), at(600))
    assert standstill.is_in_doubt(at(600 + MEAN - 1))
    assert not standstill.is_in_doubt(at(600 + MEAN))
    for _ in range(3):
        standstill.show(at(90), at(601))
    assert not standstill.is_in_doubt(at(601)), "it was one"


def test_who_ends_much_later_was_long_and_shows_nothing_of_a_quiet_gap() -> None:
    """Within eight mean latencies, as what was under way does: then they are told apart no more."""
    for last_ms, known in ((500 + 8 * MEAN, [(100, 500)]), (501 + 8 * MEAN, [])):
        under_way = [(90.0, 500.0), (95.0, 501.0), (99.0, 502.0), (99.5, last_ms)]
        assert shown(*usual(80, 100), *under_way) == known


def test_slow_calls_beside_quick_ones_show_nothing_of_a_second_without_requests() -> None:
    ends = [*usual(80, 10_000), *usual(11_000, 60_000)]
    slow = [(5_000.0, 20_000.0 + 10_000 * index) for index in range(5)]
    assert shown(*sorted([*ends, *slow], key=lambda end: end[1])) == []


def standing(begin_ms: int, end_ms: int) -> list[tuple[float, float]]:
    """Four that were under way then."""
    return [(begin_ms - 1, end_ms + index) for index in range(4)]


def test_standstills_are_known_that_come_four_times_their_length_apart() -> None:
    for usual_until, known in ((2110, [(100, 500), (2110, 2500)]), (2000, [(100, 500)])):
        ends = [*usual(80, 100), *standing(100, 500), *usual(510, usual_until)]
        assert shown(*ends, *standing(usual_until, usual_until + 390)) == known


def test_a_service_that_has_become_slower_and_works_in_bunches_stands_still_once() -> None:
    """Sixteen at a time, in 20 ms and then in 200: the first bunch may be one, no other is."""
    ends = [(at_ms - 20, at_ms) for at_ms in range(20, 1001, 20) for _ in range(16)]
    ends += [(at_ms - 200, at_ms) for at_ms in range(1200, 9001, 200) for _ in range(16)]
    assert shown(*ends) == [(1000, 1200)]
