from __future__ import annotations

from dataclasses import dataclass

import pytest

from shedproxy.dataplane.wire.crowd import LOOKS_MAX, Crowd


@dataclass(eq=False)
class Connection:
    address: bytes
    waits_since: int | None = None
    speaks: bool = False

    def has_spoken(self) -> bool:
        return self.speaks


def crowd_of(*members: Connection) -> Crowd[Connection]:
    crowd: Crowd[Connection] = Crowd()
    for member in members:
        crowd.add(member)
    return crowd


def test_the_longest_waiting_of_the_address_with_the_most_goes() -> None:
    many = [Connection(b"a", since) for since in (30, 20, 40)]
    few = [Connection(b"b", since) for since in (1, 2)]
    crowd = crowd_of(*few, *many)
    assert crowd.longest_waiting() is many[1]
    crowd.remove(many[1])
    crowd.remove(many[2])
    assert crowd.longest_waiting() is few[0], "now b has the most"


def test_among_addresses_with_as_many_the_longest_waiting_goes() -> None:
    members = [Connection(bytes([index]), since) for index, since in enumerate((30, 10, 20))]
    assert crowd_of(*members).longest_waiting() is members[1]


def test_who_is_busy_stays_and_so_another_address_gives_way() -> None:
    busy = [Connection(b"a") for _ in range(5)]
    waiting = Connection(b"b", 7)
    crowd = crowd_of(*busy, waiting)
    assert crowd.longest_waiting() is waiting
    crowd.remove(waiting)
    assert crowd.longest_waiting() is None


def test_who_has_spoken_while_nobody_listened_stays() -> None:
    first, second = Connection(b"a", 1, speaks=True), Connection(b"a", 2)
    crowd = crowd_of(first, second)
    assert crowd.longest_waiting() is second
    second.speaks = True
    assert crowd.longest_waiting() is None
    first.speaks = False
    assert crowd.longest_waiting() is first


def test_the_empty_address_goes_last_however_many_it_has() -> None:
    trusted = [Connection(b"", 1) for _ in range(5)]
    stranger = Connection(b"a", 9)
    crowd = crowd_of(*trusted, stranger)
    assert crowd.longest_waiting() is stranger
    crowd.remove(stranger)
    assert crowd.longest_waiting() is trusted[0]
    for member in trusted:
        crowd.remove(member)
    assert crowd.longest_waiting() is None


def test_one_search_looks_at_so_many_and_the_next_goes_on_behind_them() -> None:
    members = [Connection(b"a") for _ in range(LOOKS_MAX)]
    hidden = Connection(b"a", 5)
    crowd = crowd_of(*members, hidden)
    assert crowd.longest_waiting() is None
    assert crowd.longest_waiting() is hidden


def test_one_search_over_many_addresses_goes_on_behind_them_too() -> None:
    members = [Connection(b"%d" % index) for index in range(LOOKS_MAX)]
    hidden = Connection(b"z", 5)
    crowd = crowd_of(*members, hidden)
    assert crowd.longest_waiting() is None
    assert crowd.longest_waiting() is hidden


@pytest.mark.parametrize("address", [b"a", b""])
def test_an_address_without_connections_is_not_known(address) -> None:
    """State per address is bounded by the connections there are."""
    crowd = crowd_of()
    for _ in range(3):
        members = [Connection(address, 1) for _ in range(4)]
        for member in members:
            crowd.add(member)
        assert (len(crowd), crowd.count(address)) == (4, 4)
        for member in members:
            crowd.remove(member)
            crowd.remove(member)
        assert (len(crowd), crowd.count(address)) == (0, 0)
        assert not crowd._addresses
        assert not crowd._ranks
