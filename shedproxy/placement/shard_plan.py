"""What hands of a size promise, before anybody relies on them."""

from __future__ import annotations

from dataclasses import dataclass

from shedproxy.core import mix64
from shedproxy.placement.bounded_hands import BoundedHands, NoHandError
from shedproxy.placement.overlap import Lattice, overlap_law, tenants_max

__all__ = ["ShardPlan", "plan_shards"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """The overlap law of a lattice, and of a bound what is known of it."""

    lattice: Lattice
    law: tuple[float, ...]
    """The probability that two tenants share 0, 1, ... all members."""
    tenants: int
    overlap_max: int | None
    tenants_max: int | None
    """Most tenants for that bound; None without one."""
    tenants_dealt: int
    """Of `tenants`, how many the search gave a hand."""

    @property
    def refusal(self) -> str:
        """Why the plan cannot be kept, or ""."""
        if self.tenants_max is None or not self.tenants:
            return ""
        bound = f"no two of {self.tenants} tenants share more than {self.overlap_max}"
        if self.tenants > self.tenants_max:
            return f"it cannot be that {bound}: {self.tenants_max} tenants at most"
        if self.tenants_dealt < self.tenants:
            return (
                f"nothing found so that {bound}: the search dealt {self.tenants_dealt} hands"
                f" of {self.tenants_max} that there can be at most"
            )
        return ""

    def sharing(self, count: int) -> float:
        """Tenants that one tenant is expected to share `count` members or more with."""
        return max(0, self.tenants - 1) * sum(self.law[count:])


_WORK_MAX = 50_000_000
"""Upstreams times tenants: each hand looks at all of them."""


def plan_shards(lattice: Lattice, *, tenants: int = 0, overlap_max: int | None = None) -> ShardPlan:
    """The plan; with tenants and a bound, their hands are dealt to see whether it can be kept.

    Raises:
        ValueError: the bound is none for such hands, or they would take minutes to deal.
    """
    if overlap_max is not None and tenants * lattice.upstreams > _WORK_MAX:
        raise ValueError(
            f"to deal {tenants:,} hands of {lattice.upstreams:,} upstreams would take too long:"
            f" at most {_WORK_MAX // lattice.upstreams:,} tenants are tried; without tenants the"
            " law and the largest count are said"
        )
    most = None if overlap_max is None else tenants_max(lattice, overlap_max)
    dealt = 0
    if overlap_max is not None and most is not None and tenants <= most:
        dealt = _deal(lattice, tenants, overlap_max)
    return ShardPlan(
        lattice=lattice,
        law=overlap_law(lattice),
        tenants=tenants,
        overlap_max=overlap_max,
        tenants_max=most,
        tenants_dealt=dealt,
    )


def _deal(lattice: Lattice, tenants: int, overlap_max: int) -> int:
    zones, versions = lattice.zones, lattice.versions
    members = [
        (mix64(index), str(index % zones), str(index // zones % versions))
        for index in range(lattice.upstreams)
    ]
    hands = BoundedHands(members, hand_size=lattice.hand, overlap_max=overlap_max)
    try:
        for tenant in range(tenants):
            hands.deal(mix64(~tenant))
    except NoHandError:
        pass
    return hands.dealt
