"""Who is connected, by address, and who goes first when there is no room for another.

Pure bookkeeping in memory bounded by the number of connections: an address without one is not
known. The one to go is of the address with the most connections, among those that only keep us
waiting (for a request, a head, a body or a handshake) the one that has done so the longest.
Connections that share the empty address, those of trusted proxies, have no count and go last.
"""

from __future__ import annotations

from itertools import islice
from typing import Generic, Protocol, TypeVar

from shedproxy.core import Instant

__all__ = ["LOOKS_MAX", "Crowd", "Member"]

LOOKS_MAX = 64
"""Connections that are looked at among addresses of the same count; the next search goes on behind
them. It bounds what a newcomer costs when everybody is busy."""


class Member(Protocol):
    """One connection."""

    address: bytes
    """Fixed while it is in the crowd."""

    @property
    def waits_since(self) -> Instant | None:
        """Since when it has kept us waiting; None: it is busy."""

    def has_spoken(self) -> bool:
        """Whether it waits for us by now: the kernel has what it sent, and we are to read it.

        Asked of those only that would go, as it is the kernel who knows.
        """


M = TypeVar("M", bound=Member)


class Crowd(Generic[M]):
    """Connections by address, and addresses by how many they have."""

    __slots__ = ("_addresses", "_ranks", "_size")

    def __init__(self) -> None:
        self._addresses: dict[bytes, dict[M, None]] = {}
        self._ranks: dict[int, dict[bytes, None]] = {}
        """Addresses by their number of connections; 0 is the empty address."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def count(self, address: bytes) -> int:
        """Connections of an address."""
        members = self._addresses.get(address)
        return 0 if members is None else len(members)

    def add(self, member: M) -> None:
        """One more; it is not in yet."""
        address = member.address
        members = self._addresses.setdefault(address, {})
        members[member] = None
        self._size += 1
        self._move(address, len(members) - 1, len(members))

    def remove(self, member: M) -> None:
        """One less; harmless when it is not in."""
        address = member.address
        members = self._addresses.get(address)
        if members is None or member not in members:
            return
        del members[member]
        self._size -= 1
        self._move(address, len(members) + 1, len(members))
        if not members:
            del self._addresses[address]

    def longest_waiting(self) -> M | None:
        """Who should go to make room; None when everybody that was looked at is busy."""
        for rank in sorted(self._ranks, reverse=True):
            found = self._look_in(self._ranks[rank])
            if found is not None:
                return found
        return None

    def _look_in(self, addresses: dict[bytes, None]) -> M | None:
        best: M | None = None
        best_since = 0
        looks = 0
        for address in tuple(islice(addresses, LOOKS_MAX)):
            # Looked at now, so looked at last the next time.
            del addresses[address]
            addresses[address] = None
            members = self._addresses[address]
            for member in tuple(islice(members, LOOKS_MAX - looks)):
                looks += 1
                del members[member]
                members[member] = None
                since = member.waits_since
                if since is None or (best is not None and since >= best_since):
                    continue
                if not member.has_spoken():
                    best, best_since = member, since
            if looks >= LOOKS_MAX:
                break
        return best

    def _move(self, address: bytes, old: int, new: int) -> None:
        if not address:
            # Behind all others, however many: they answer for many.
            if new:
                self._ranks[0] = {address: None}
            else:
                del self._ranks[0]
            return
        if old:
            rank = self._ranks[old]
            del rank[address]
            if not rank:
                del self._ranks[old]
        if new:
            self._ranks.setdefault(new, {})[address] = None
