"""What workers say of hosts, added up."""

from __future__ import annotations

from shedproxy.core import Tally
from shedproxy.supervisor.host_tallies import HostTallies


def told(*numbers: float) -> dict:
    return {"a": {"h": list(numbers)}}


def test_counts_of_all_workers_add_up_and_those_of_ended_ones_stay():
    tallies = HostTallies()
    tallies.take(1, told(10, 1, 9, 90.0, 1))
    tallies.take(2, told(5, 0, 5, 50.0, 1))
    tallies.take(1, told(12, 2, 10, 100.0, 1))
    assert tallies.total("a", "h") == Tally(17, 2, 15, 150.0)
    tallies.forget(1)
    tallies.take(1, told(3, 0, 3, 30.0, 1))
    assert tallies.total("a", "h") == Tally(20, 2, 18, 180.0)


def test_a_worker_that_began_anew_unnoticed_counts_from_nothing():
    tallies = HostTallies()
    tallies.take(1, told(10, 1, 9, 90.0, 1))
    tallies.take(1, told(4, 0, 4, 40.0, 1))
    assert tallies.total("a", "h") == Tally(14, 1, 13, 130.0)


def test_a_host_is_reachable_as_long_as_one_worker_can_use_it():
    tallies = HostTallies()
    assert tallies.is_reachable("a", "h")
    tallies.take(1, told(1, 1, 0, 0, 0))
    assert not tallies.is_reachable("a", "h")
    tallies.take(2, told(1, 0, 1, 9, 1))
    assert tallies.is_reachable("a", "h")
    tallies.forget(2)
    assert not tallies.is_reachable("a", "h")


def test_nonsense_is_left_out():
    tallies = HostTallies()
    for nonsense in (None, {"a": 3}, {"a": {"h": [1, 2]}}, {"a": {"h": [1, 2, 3, "4", 5]}}):
        tallies.take(1, nonsense)
    assert tallies.total("a", "h") == Tally()


def test_hosts_that_are_configured_no_more_are_forgotten():
    tallies = HostTallies()
    tallies.take(1, told(10, 1, 9, 90.0, 1))
    tallies.keep(set())
    assert tallies.total("a", "h") == Tally()


def test_a_cell_that_is_not_watched_for_a_while_is_not_counted_again():
    """Workers leave it out meanwhile, and go on from where they were."""
    tallies = HostTallies()
    both = {"a": {"h": [1, 0, 1, 9, 1]}, "b": {"h": [100, 10, 90, 9, 0]}}
    tallies.take(1, both)
    tallies.take(1, {"a": both["a"]})
    assert tallies.is_reachable("b", "h")  # nobody says otherwise any more
    tallies.take(1, both)
    assert tallies.total("b", "h") == Tally(100, 10, 90, 9)


def test_a_host_that_comes_back_counts_from_nothing():
    tallies = HostTallies()
    tallies.take(1, told(10, 1, 9, 90.0, 1))
    tallies.keep(set())
    tallies.take(1, told(12, 1, 11, 110.0, 1))
    assert tallies.total("a", "h") == Tally(12, 1, 11, 110.0)
