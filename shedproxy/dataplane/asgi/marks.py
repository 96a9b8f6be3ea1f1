"""Marks on endpoints: what a developer knows of a handler, written beside it.

A mark is an attribute. The function is not wrapped, so that frameworks that read its signature see
what they always saw. Where a rule of the operator says something else, the rule wins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from shedproxy.core import Criticality, Kind
from shedproxy.snapshot import Rule

__all__ = ["criticality", "mark_of"]

_ATTRIBUTE = "__shedproxy_mark__"
_E = TypeVar("_E", bound=Callable[..., Any])


def criticality(
    level: Criticality
    | Literal["critical_plus", "critical", "sheddable_plus", "sheddable"]
    | None = None,
    *,
    cost: int = 1,
    limit: int | None = None,
    kind: Kind | Literal["auto", "unary", "stream", "longpoll"] = Kind.AUTO,
) -> Callable[[_E], _E]:
    """Mark an endpoint of FastAPI or Starlette (function or class) for `ShedMiddleware`.

    Put it next to the function, below the framework's decorator:

        @app.post("/checkout")
        @criticality("critical_plus")
        async def checkout() -> dict[str, str]: ...

    Args:
        level: how much the endpoint matters; None leaves it to headers and the default.
        cost: slots that a request takes while in flight, 1 or more.
        limit: most slots that requests of this endpoint take at a time, of all workers together; 0
            refuses all; None: no bound of its own.
        kind: `stream` and `longpoll` take no slot; `auto` sees it from the answer.

    Raises:
        ValueError: a value is outside its range.
    """
    parsed = Criticality.parse(level) if isinstance(level, str) else level
    if parsed is None and level is not None:
        names = ", ".join(member.label for member in reversed(Criticality))
        raise ValueError(f"{level!r} is no criticality; there are {names}")
    if cost < 1:
        raise ValueError(f"cost is {cost}; it must be 1 or more")
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}; it must be 0 or more")
    if limit is not None and 0 < limit < cost:
        raise ValueError(f"limit is {limit}, below the cost {cost}: to refuse always, say 0")
    mark = Rule(criticality=parsed, cost=cost, limit=limit, kind=_parse_kind(kind))

    def set_mark(endpoint: _E) -> _E:
        setattr(endpoint, _ATTRIBUTE, mark)
        return endpoint

    return set_mark


def mark_of(endpoint: Any, method: str = "") -> Rule | None:
    """The mark of an endpoint, or of the method of a class that answers `method`."""
    if isinstance(endpoint, type) and method:
        mark = getattr(getattr(endpoint, method.lower(), None), _ATTRIBUTE, None)
        if isinstance(mark, Rule):
            return mark
    mark = getattr(endpoint, _ATTRIBUTE, None)
    return mark if isinstance(mark, Rule) else None


def _parse_kind(kind: Kind | str) -> Kind:
    if isinstance(kind, Kind):
        return kind
    try:
        return Kind[kind.upper()]
    except KeyError:
        names = ", ".join(member.name.lower() for member in Kind)
        raise ValueError(f"{kind!r} is no kind; there are {names}") from None
