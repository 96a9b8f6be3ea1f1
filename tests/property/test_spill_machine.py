"""Every order in which three cells fill, lend, fail and empty, and mistakes to be found in it."""

from __future__ import annotations

import pytest
from harness.machines.spill import Order, walk


def test_no_order_makes_a_cascade_or_keeps_a_cells_own_out():
    space = walk()
    print(f"spill among three cells: {space}")
    assert space.violation is None, space.violation
    assert space.states >= 1_000


MISTAKES = {
    "nobody asks whether the sender is a host": (
        Order(asks_sender=False), "a host sends one on",
    ),
    "hosts forget that they had guests": (
        Order(remembers_guests=False), "a host sends one on",
    ),
    "nobody asks whether the taker sends": (
        Order(asks_whether_taker_sends=False), "who sends takes one",
    ),
    "the whole limit is lent": (Order(keeps_half=False), "more than half"),
    "its peak is forgotten": (Order(keeps_peak=False), "more than half"),
    "a failure is not heeded": (Order(heeds_failure=False), "just failed one"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_by_its_shortest_trace(name: str):
    order, what = MISTAKES[name]
    found = walk(order).violation
    assert found is not None
    print(f"{name}: {found}")
    assert what in found.what
