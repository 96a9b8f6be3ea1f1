"""What a rule decides of a request, and the RequestInfos made from it so far."""

from __future__ import annotations

import math
from dataclasses import replace

from shedproxy.core import Criticality, Kind, Lane, RequestInfo
from shedproxy.snapshot import Rule, part_of

__all__ = ["Route"]


class Route:
    """One rule, or what holds where no rule matches."""

    __slots__ = (
        "by_cell",
        "cell",
        "criticality",
        "default_timeout_ns",
        "infos",
        "is_control",
        "is_criticality_fixed",
        "is_keyed",
        "is_pinned",
        "kind",
        "name",
        "own_info",
        "pinned",
        "rule",
        "worth",
    )

    def __init__(
        self,
        rule: Rule,
        name: str,
        default_criticality: Criticality,
        *,
        is_pinned: bool = False,
    ) -> None:
        self.rule = rule
        self.is_pinned = is_pinned
        """Its requests are of keys that no other cell may take."""
        self.pinned: Route | None = None
        """The same for those."""
        self.name = rule.name or name
        self.cell = rule.cell or "default"
        self.kind = rule.kind
        self.is_control = rule.lane is Lane.CONTROL
        self.is_keyed = rule.cell is None and not self.is_control
        """No rule names its cell: the key of the request does, if there is one."""
        self.by_cell: dict[str, Route] = {}
        """What it is in the cells that keys have led to so far."""
        self.is_criticality_fixed = rule.criticality is not None
        self.criticality = default_criticality if rule.criticality is None else rule.criticality
        self.default_timeout_ns: int | None = None
        self.infos: list[RequestInfo | None] = [None] * (len(Criticality) * 8)
        self.own_info = self.intern(self.criticality, self.kind, is_retry=False)
        # Out of the limit first, then what it is worth in it.
        is_aside = self.kind in {Kind.STREAM, Kind.LONGPOLL}
        bound = math.inf if rule.limit is None else rule.limit
        self.worth = (self.is_control, is_aside, self.criticality, -rule.cost, bound)

    def filled_by(self, mark: Rule, *, is_default: bool, part: tuple[int, int]) -> Route:
        """The route with its gaps filled by what the code says of the endpoint.

        `part`: which of so many parts of the mark's bound is ours; a rule's is cut already.
        """
        rule = self.rule
        bound = None if mark.limit is None else part_of(mark.limit, *part)
        merged = replace(
            rule,
            name=mark.name if is_default else self.name,
            criticality=mark.criticality if rule.criticality is None else rule.criticality,
            kind=rule.kind or mark.kind,
            cost=mark.cost if rule.cost == 1 else rule.cost,
            limit=bound if rule.limit is None else rule.limit,
        )
        route = Route(merged, self.name, self.criticality)
        route.default_timeout_ns = self.default_timeout_ns
        return route

    def in_cell(self, cell: str, default_timeout_ns: int | None, is_pinned: bool = False) -> Route:
        """The route for requests whose key leads to this cell, or is pinned to it. Remembered."""
        known = self.by_cell.get(cell)
        if known is None:
            known = Route(replace(self.rule, cell=cell), self.name, self.criticality)
            known.default_timeout_ns = default_timeout_ns
            self.by_cell[cell] = known
        return known.as_pinned() if is_pinned else known

    def as_pinned(self) -> Route:
        """The route for requests whose key is pinned to this cell. Remembered."""
        pinned = self.pinned
        if pinned is None:
            pinned = Route(self.rule, self.name, self.criticality, is_pinned=True)
            pinned.default_timeout_ns = self.default_timeout_ns
            self.pinned = pinned
        return pinned

    def intern(self, criticality: Criticality, kind: Kind, *, is_retry: bool) -> RequestInfo:
        """The one RequestInfo of this class, kind and attempt on this route."""
        # As plain integers: of members of an enum every operation would be a call.
        row: int = criticality
        column: int = kind
        index = row * 8 + (4 if is_retry else 0) + column
        info = self.infos[index]
        if info is not None:
            return info
        rule = self.rule
        info = RequestInfo(
            route=self.name,
            cell=self.cell,
            criticality=criticality,
            lane=rule.lane,
            kind=kind,
            measure=rule.measure,
            cost=rule.cost,
            is_retry=is_retry,
            route_limit=rule.limit,
            is_pinned=self.is_pinned,
        )
        self.infos[index] = info
        return info
