"""Every order in which workers look, write, claim and wake, and mistakes to be found in it."""

from __future__ import annotations

import pytest
from harness.machines.share import Order, walk


@pytest.mark.parametrize(
    ("workers", "limit", "most", "states"),
    [(2, 1, 1, 152), (2, 2, 2, 516), (3, 1, 1, 2372), (3, 2, 1, 1520), (3, 2, 2, 10_000)],
)
def test_no_order_exceeds_the_limit_by_more_than_the_others_or_forgets_who_waits(
    workers, limit, most, states
):
    space = walk(workers=workers, limit=limit, most=most)
    print(f"share of {limit} by {workers} workers: {space}")
    assert space.violation is None, space.violation
    assert space.states >= states


MISTAKES = {
    "it claims after its last look": (
        Order(claims_before_last_look=False),
        "somebody waits beside a free slot",
    ),
    "it wakes before it writes": (
        Order(writes_before_waking=False),
        "somebody waits beside a free slot",
    ),
    "it wakes nobody": (Order(wakes=False), "somebody waits beside a free slot"),
    "it looks at its own only": (Order(looks_at_others=False), "run of 2"),
    "who is woken does not look": (
        Order(looks_when_woken=False),
        "somebody waits beside a free slot",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_by_its_shortest_trace(name: str):
    order, what = MISTAKES[name]
    found = walk(workers=2, limit=2, most=2, order=order).violation
    assert found is not None
    print(f"{name}: {found}")
    assert what in found.what


@pytest.mark.parametrize("order", [Order(unclaims=False), Order(passes_on=False)])
def test_a_mistake_that_takes_three_workers_is_found_too(order: Order):
    """Who has its slot is woken in place of who has none; of two free slots one is forgotten."""
    found = walk(workers=3, limit=2, most=2, order=order).violation
    assert found is not None
    print(f"{order}: {found}")
    assert "somebody waits beside a free slot" in found.what
