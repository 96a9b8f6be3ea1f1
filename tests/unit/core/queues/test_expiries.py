"""Who has waited long enough first, whatever the order in which they came and leave."""

from __future__ import annotations

import random

from shedproxy.core.decision import Ticket
from shedproxy.core.queues.expiries import Expiries
from shedproxy.core.request import RequestInfo
from shedproxy.core.units import Instant

INFO = RequestInfo()


def waiter(serial: int, expires_at: int) -> Ticket:
    one = Ticket(serial, INFO, 0, 0, 0, Instant(0), Instant(expires_at))
    one.queue_slot = "somewhere"
    return one


def leave(expiries: Expiries, one: Ticket) -> None:
    one.queue_slot = None
    expiries.remove(one)


def test_nobody_is_the_soonest_of_nobody() -> None:
    assert Expiries().soonest() is None


def test_from_a_line_anybody_leaves_and_nothing_is_kept_of_him() -> None:
    expiries = Expiries()
    line = [waiter(serial, 100 + serial) for serial in range(5)]
    for one in line:
        expiries.add(one, 5)
    for place in (2, 0, 4):
        leave(expiries, line[place])
    assert expiries.soonest() is line[1]
    assert len(expiries) == 2
    leave(expiries, line[1])
    leave(expiries, line[3])
    assert expiries.soonest() is None
    assert not any(one.sooner or one.later for one in line)
    expiries.add(line[0], 1)
    assert expiries.soonest() is line[0]


def test_of_equals_the_oldest_is_the_soonest() -> None:
    expiries = Expiries()
    first, hurried, equal = waiter(1, 20), waiter(2, 10), waiter(3, 10)
    for one in (first, hurried, equal):
        expiries.add(one, 3)
    assert expiries.soonest() is hurried
    leave(expiries, hurried)
    assert expiries.soonest() is equal
    leave(expiries, equal)
    late, alike = waiter(5, 30), waiter(4, 20)
    expiries.add(late, 2)
    expiries.add(alike, 3)
    assert expiries.soonest() is first, "4 came later than 1"


def test_of_those_who_left_the_heap_few_entries_stay() -> None:
    expiries = Expiries()
    expiries.add(waiter(0, 10_000), 1)
    for serial in range(1, 2_000):
        one = waiter(serial, 10_000 - serial)
        expiries.add(one, 2)
        leave(expiries, one)
    assert len(expiries) < 100
    found = expiries.soonest()
    assert found is not None
    assert found.serial == 0
    assert len(expiries) == 1


def test_it_says_what_a_list_would() -> None:
    rng = random.Random(5)
    expiries = Expiries()
    here: list[Ticket] = []
    for serial in range(3_000):
        if here and rng.random() < 0.49:
            one = here.pop(rng.randrange(len(here)))
            leave(expiries, one)
        else:
            one = waiter(serial, rng.choice([serial + 50, serial, 0]))
            here.append(one)
            expiries.add(one, len(here))
        if not here:
            expiries.clear()
        soonest = min(here, key=lambda one: (one.expires_at, one.serial), default=None)
        assert expiries.soonest() is soonest
