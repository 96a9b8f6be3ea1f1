"""A queue that swells: told from one that falls, and from one that wanders."""

from __future__ import annotations

import random

import pytest

from shedproxy.core.queues.swell import Swell


class Queue:
    """Its length, and what a swell is told of it."""

    def __init__(self) -> None:
        self.swell = Swell()
        self.length = 0

    def come(self, count: int = 1) -> None:
        for _ in range(count):
            self.length += 1
            self.swell.rise(self.length)

    def serve(self, count: int = 1) -> None:
        for _ in range(count):
            if self.length:
                self.length -= 1
                self.swell.serve()
                self.swell.fall(self.length)

    @property
    def is_on(self) -> bool:
        return self.swell.is_on(self.length)

    def share_on(self, load: float, turns: int, rng: random.Random) -> float:
        """Of so many services, before how many it swells, with Poisson arrivals between them."""
        on = 0
        for _ in range(turns):
            until = 1.0
            while (until := until - rng.expovariate(load)) > 0:
                self.come()
            on += self.is_on
            self.serve()
        return on / turns


def test_a_few_are_no_swell() -> None:
    queue = Queue()
    queue.come(1)
    queue.serve()
    queue.come(11)
    assert not queue.is_on
    queue.serve()
    queue.come(3)
    assert queue.is_on, "13 more than when one was served"


def test_what_comes_in_a_pause_to_a_short_queue_is_no_swell() -> None:
    queue = Queue()
    queue.come(200)
    assert not queue.is_on
    for _ in range(300):  # the service catches up, at 0.9 of its capacity
        queue.serve(10)
        queue.come(9)
        assert not queue.is_on


def test_a_pause_of_a_long_queue_does_not_end_its_swell() -> None:
    queue = Queue()
    for _ in range(20):
        queue.come(2)
        queue.serve()
    queue.come(100)
    assert queue.is_on


@pytest.mark.parametrize("batch", [4, 16, 64])
def test_a_flood_of_work_that_ends_together_is_a_swell_from_the_second_time_on(batch: int) -> None:
    """Of equal work that began together nobody is served in between, as in a pause."""
    queue = Queue()
    for turn in range(4):
        queue.come(3 * batch)
        assert queue.is_on or not turn
        queue.serve(batch)


def test_beyond_chance_it_swells_while_a_quarter_of_what_is_served_comes_on_top() -> None:
    queue = Queue()
    queue.come(10)
    for _ in range(10):
        queue.serve()
        queue.come(2)
    for _ in range(22):
        assert queue.is_on
        queue.serve()
        queue.come()
    queue.serve()
    queue.come()
    assert not queue.is_on, "8 more than chance have come on top of 33"


def test_it_ends_when_the_queue_falls_and_begins_again_from_there() -> None:
    queue = Queue()
    for _ in range(25):
        queue.come(3)
        queue.serve()
    queue.serve(7)
    assert queue.is_on
    queue.serve()
    assert not queue.is_on
    queue.come(12)
    assert queue.is_on


def test_a_crowd_of_which_each_comes_back_when_it_is_served_stands() -> None:
    queue = Queue()
    for _ in range(25):
        queue.come(20)
        queue.serve()
    for _ in range(127):
        queue.come()
        assert queue.is_on
        queue.serve()
    queue.come()
    queue.serve()
    queue.come()
    assert not queue.is_on, "128 were served, and it is as long as it was"
    queue.serve()
    queue.come(20)
    assert queue.is_on, "it grows again"


def test_who_leaves_unserved_makes_no_swell_gentle() -> None:
    """In a pause of the service nobody is passed by, however many give up."""
    queue = Queue()
    for _ in range(7):
        queue.come(4)
        queue.serve()
    for _ in range(5):
        queue.length -= 1
        queue.swell.fall(queue.length)
    assert queue.is_on
    assert not queue.swell.is_gentle(queue.length)


def test_it_is_gentle_below_twice_what_is_served() -> None:
    queue = Queue()
    for _ in range(10):
        queue.come(2)
        queue.serve()
    assert queue.swell.is_gentle(queue.length)
    queue.come()
    assert not queue.swell.is_gentle(queue.length)


@pytest.mark.parametrize(("load", "least"), [(1.5, 0.7), (2.0, 0.9), (3.0, 0.97), (10.0, 0.99)])
def test_a_flood_is_a_swell_most_of_the_time(load: float, least: float) -> None:
    """The nearer to capacity, the longer it may be chance."""
    rng = random.Random(3)
    assert Queue().share_on(load, 500, rng) > least


@pytest.mark.parametrize(("load", "most"), [(0.5, 0.0), (0.8, 0.01), (0.9, 0.04), (1.0, 0.08)])
def test_chance_below_capacity_seldom_is_one(load: float, most: float) -> None:
    rng = random.Random(3)
    assert Queue().share_on(load, 20_000, rng) <= most
