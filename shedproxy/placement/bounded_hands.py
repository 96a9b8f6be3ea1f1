"""Hands of which no two share more than so many members: dealt one after the other, and kept.

Infima's stateful search: every group of `overlap_max + 1` members that some hand holds is written
down, and a new hand may hold none of them. The search tries members in an order of the tenant's
own, goes back where it gets stuck, and says so when there is no such hand (or none is found in
reasonable time). Pure: the same tenants in the same order have the same hands, so that a list that
only grows never deals anybody anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Final

from shedproxy.core import choose_compartments, mix64

__all__ = ["BoundedHands", "NoHandError"]

_STEPS_MAX: Final = 20_000
"""Members tried for one tenant."""
_TRIES_MAX: Final = 8
"""Choices of compartments tried for one tenant."""
_GROUPS_MAX: Final = 2_000
"""Of one hand: each member that is tried costs nearly as many looks."""
_TAKEN_MAX: Final = 4_000_000
"""Groups of all hands, which are kept in memory."""


class NoHandError(ValueError):
    """No hand is left that keeps the bound."""


class BoundedHands:
    """Deals hands from members, each its hash, zone and version."""

    def __init__(
        self, members: Sequence[tuple[int, str, str]], *, hand_size: int, overlap_max: int
    ) -> None:
        if not 1 <= hand_size <= len(members):
            raise ValueError(f"a hand of {hand_size} cannot be dealt from {len(members)}")
        if not 0 <= overlap_max < hand_size:
            raise ValueError(f"an overlap of {overlap_max} is no bound for hands of {hand_size}")
        self._hashes = [member_hash for member_hash, _, _ in members]
        self._compartment = [(zone, version) for _, zone, version in members]
        self._compartments = sorted(set(self._compartment))
        self._hand_size = hand_size
        self._group = overlap_max + 1
        self._groups = comb(hand_size, self._group)
        """Of each hand."""
        self._taken: set[tuple[int, ...]] = set()
        self._steps = 0
        self.dealt = 0
        """Hands so far."""

    def deal(self, tenant_hash: int) -> tuple[int, ...]:
        """A new tenant's hand, as places in ascending order.

        Raises:
            NoHandError: none is left, none was found, or it would take too long to look for one.
        """
        if self._groups > _GROUPS_MAX or (self.dealt + 1) * self._groups > _TAKEN_MAX:
            raise NoHandError(
                f"each hand has {self._groups} groups of {self._group} members:"
                f" more than can be kept of {self.dealt + 1} hands"
            )
        self._steps = 0
        for attempt in range(_TRIES_MAX):
            quotas = self._quotas(mix64(tenant_hash + attempt))
            if quotas is None:
                continue
            order = sorted(
                (place for place, where in enumerate(self._compartment) if where in quotas),
                key=lambda place: -mix64(tenant_hash ^ self._hashes[place]),
            )
            hand = self._search([], order, 0, quotas)
            if hand is not None:
                self._taken.update(combinations(sorted(hand), self._group))
                self.dealt += 1
                return tuple(sorted(hand))
        raise NoHandError(f"no hand is left after {self.dealt}")

    def _quotas(self, tenant: int) -> dict[tuple[str, str], int] | None:
        """How many members of which compartments; None where they are too small for a hand."""
        chosen = choose_compartments(
            self._compartments, [mix64(tenant ^ index) for index in range(len(self._compartments))]
        )
        room = {where: self._compartment.count(where) for where in chosen}
        quotas = dict.fromkeys(chosen, 0)
        left = self._hand_size
        while left and any(quotas[where] < room[where] for where in chosen):
            for where in chosen:
                if left and quotas[where] < room[where]:
                    quotas[where] += 1
                    left -= 1
        return None if left else quotas

    def _search(
        self, hand: list[int], order: list[int], start: int, quotas: dict[tuple[str, str], int]
    ) -> list[int] | None:
        """The hand completed from members that come later in the order, or None."""
        if len(hand) == self._hand_size:
            return hand
        for index in range(start, len(order)):
            self._steps += 1
            if self._steps > _STEPS_MAX:
                return None
            place = order[index]
            where = self._compartment[place]
            if not quotas[where] or self._is_taken(hand, place):
                continue
            quotas[where] -= 1
            found = self._search([*hand, place], order, index + 1, quotas)
            quotas[where] += 1
            if found is not None:
                return found
        return None

    def _is_taken(self, hand: list[int], place: int) -> bool:
        if len(hand) < self._group - 1:
            return False
        return any(
            tuple(sorted((*rest, place))) in self._taken
            for rest in combinations(hand, self._group - 1)
        )
