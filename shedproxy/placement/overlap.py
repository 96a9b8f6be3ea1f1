"""How much of their hands two tenants share, and how many tenants can share no more than that.

Two hands of k that are dealt freely from n share j members with the probability of the
hypergeometric law, C(k, j) C(n - k, k - j) / C(n, k). Over a lattice of zones and versions a hand
lies in c compartments that share neither; two hands have s of these in common as two random
placements of rooks have squares, and share members only there.

A bound on overlap bounds tenants: each takes some of all groups of `bound + 1` members for itself
alone, so that there are no more tenants than groups over groups per hand (a packing bound, after
Johnson 1962). A search gets only part of the way; plan for half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import comb, factorial, prod

__all__ = ["Lattice", "overlap_law", "tenants_max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Upstreams spread evenly over zones and versions, and hands dealt from them.

    Raises:
        ValueError: hands or upstreams do not divide into the compartments.
    """

    upstreams: int
    hand: int
    zones: int = 1
    versions: int = 1

    def __post_init__(self) -> None:
        if min(self.upstreams, self.hand, self.zones, self.versions) < 1:
            raise ValueError("upstreams, hand, zones and versions are 1 or more")
        if self.upstreams % (self.zones * self.versions):
            raise ValueError(
                f"{self.upstreams} upstreams cannot be spread evenly over"
                f" {self.zones * self.versions} compartments"
            )
        if self.hand % self.used:
            raise ValueError(
                f"a hand of {self.hand} cannot be spread evenly over {self.used} compartments"
            )
        if self.depth > self.size:
            raise ValueError(
                f"a compartment of {self.size} upstreams has none for a hand of {self.hand}"
            )

    @property
    def used(self) -> int:
        """Compartments of one hand."""
        return self.zones if self.versions == 1 else min(self.zones, self.versions)

    @property
    def size(self) -> int:
        """Upstreams of one compartment."""
        return self.upstreams // (self.zones * self.versions)

    @property
    def depth(self) -> int:
        """Of a hand in each of its compartments."""
        return self.hand // self.used

    def placements(self, count: int) -> int:
        """Sets of `count` compartments that a hand could have."""
        if self.versions == 1:
            return comb(self.zones, count)
        return comb(self.zones, count) * comb(self.versions, count) * factorial(count)

    @property
    def hands(self) -> int:
        """Different hands."""
        return self.placements(self.used) * int(comb(self.size, self.depth) ** self.used)


def overlap_law(lattice: Lattice) -> tuple[float, ...]:
    """The probability that two tenants share 0, 1, ... all members of their hands."""
    within = _hypergeometric(lattice.size, lattice.depth)
    total = [Fraction(0)] * (lattice.hand + 1)
    for shared, chance in enumerate(_shared_compartments(lattice)):
        law = [Fraction(1)]
        for _ in range(shared):
            law = _convolve(law, within)
        for count, share in enumerate(law):
            total[count] += chance * share
    return tuple(float(share) for share in total)


def tenants_max(lattice: Lattice, overlap: int) -> int:
    """Most tenants of which no two can share more than `overlap` upstreams.

    No placing can have more; which have so many is an open question of combinatorics.

    Raises:
        ValueError: an overlap of the whole hand, or less than none, bounds nothing.
    """
    if not 0 <= overlap < lattice.hand:
        raise ValueError(f"an overlap of {overlap} is no bound for hands of {lattice.hand}")
    bounds = []
    for form in _forms(overlap + 1, lattice.depth, lattice.used):
        groups = lattice.placements(len(form)) * prod(comb(lattice.size, part) for part in form)
        per_hand = comb(lattice.used, len(form)) * prod(comb(lattice.depth, part) for part in form)
        bounds.append(groups // per_hand)
    return min(bounds)


def _hypergeometric(size: int, depth: int) -> list[Fraction]:
    whole = comb(size, depth)
    return [
        Fraction(comb(depth, shared) * comb(size - depth, depth - shared), whole)
        for shared in range(depth + 1)
    ]


def _shared_compartments(lattice: Lattice) -> list[Fraction]:
    """The chance that two hands have 0, 1, ... compartments in common."""
    used, wide = lattice.used, max(lattice.zones, lattice.versions)
    if lattice.versions == 1:
        return [Fraction(0)] * used + [Fraction(1)]
    whole = factorial(wide) // factorial(wide - used)
    law = []
    for shared in range(used + 1):
        rest = used - shared
        # Placements of the rest that meet the other's nowhere: by inclusion and exclusion.
        apart = sum(
            (-1) ** met * comb(rest, met) * factorial(wide - shared - met) // factorial(wide - used)
            for met in range(rest + 1)
        )
        law.append(Fraction(comb(used, shared) * apart, whole))
    return law


def _convolve(one: list[Fraction], other: list[Fraction]) -> list[Fraction]:
    result = [Fraction(0)] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            result[i + j] += a * b
    return result


def _forms(total: int, most: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Ways to spread `total` over at most so many compartments, with at most so many in each."""
    if not total:
        yield ()
    elif parts:
        for first in range(min(total, most), 0, -1):
            for rest in _forms(total - first, first, parts - 1):
                yield (first, *rest)
