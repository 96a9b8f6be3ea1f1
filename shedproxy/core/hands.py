"""Which upstreams a tenant may use: a hand, dealt from a hash, with nothing stored per tenant.

Shuffle sharding: each tenant has a few of many upstreams, so that one whose requests are poison
takes down its own hand, and hardly anybody has the same. The hand is the members with the highest
keyed scores (rendezvous hashing; Thaler, Ravishankar 1998): the head of a shuffle of its own for
each tenant, so that every hand is equally likely, and one member more or less changes only the
hands that get or had it. A zone or a version more, or less, deals most hands anew.

Over a lattice of zones and versions (as Route 53's Infima has it) a hand lies in compartments that
share neither zone nor version, evenly, so that what loses a whole zone or a whole version leaves
the tenant the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shedproxy.core.sharding import mix64

__all__ = ["HandDealer", "choose_compartments"]

_SALT: Final = 0xA0761D6478BD642F
"""Scores of compartments are not those of members."""

Compartment = tuple[str, str]


def choose_compartments(
    compartments: Sequence[Compartment], scores: Sequence[int]
) -> list[Compartment]:
    """The best compartments that share no zone, nor a version if there are several of them."""
    has_versions = len({version for _, version in compartments}) > 1
    zones: set[str] = set()
    versions: set[str] = set()
    chosen: list[Compartment] = []
    ranked = sorted(range(len(compartments)), key=lambda index: -scores[index])
    for index in ranked:
        zone, version = compartments[index]
        if zone in zones or (has_versions and version in versions):
            continue
        zones.add(zone)
        versions.add(version)
        chosen.append((zone, version))
    return chosen


class HandDealer:
    """Deals hands of `hand_size` from members.

    Args:
        members: by their place, each its 64-bit hash (keyed with a secret, so that nobody can look
            for a tenant's name with a certain hand), its zone and its version.
        hand_size: 1 or more; all members where there are no more.
    """

    __slots__ = ("_by_compartment", "_compartments", "_hand_size", "_hashes")

    def __init__(self, members: Sequence[tuple[int, str, str]], *, hand_size: int) -> None:
        if hand_size < 1:
            raise ValueError("a hand has one member or more")
        self._hand_size = min(hand_size, len(members))
        self._hashes = [member_hash for member_hash, _, _ in members]
        by_compartment: dict[Compartment, list[int]] = {}
        for index, (_, zone, version) in enumerate(members):
            by_compartment.setdefault((zone, version), []).append(index)
        self._by_compartment = by_compartment
        self._compartments = sorted(by_compartment)

    def deal(self, tenant_hash: int) -> tuple[int, ...]:
        """The places of a tenant's hand, best score first in each compartment."""
        hashes = self._hashes
        scores = [mix64(tenant_hash ^ member_hash) for member_hash in hashes]
        if len(self._compartments) == 1:
            return tuple(_best(list(range(len(hashes))), scores)[: self._hand_size])
        tenant = mix64(tenant_hash ^ _SALT)
        chosen = choose_compartments(
            self._compartments,
            [mix64(tenant + index) for index in range(len(self._compartments))],
        )
        columns = [_best(self._by_compartment[compartment], scores) for compartment in chosen]
        hand: list[int] = []
        for depth in range(max(len(column) for column in columns)):
            for column in columns:
                if depth < len(column) and len(hand) < self._hand_size:
                    hand.append(column[depth])
        if len(hand) < self._hand_size:
            # The compartments are too small for it: others stand in.
            rest = [index for index in range(len(hashes)) if index not in hand]
            hand += _best(rest, scores)[: self._hand_size - len(hand)]
        return tuple(hand)


def _best(places: list[int], scores: list[int]) -> list[int]:
    return sorted(places, key=lambda place: -scores[place])
