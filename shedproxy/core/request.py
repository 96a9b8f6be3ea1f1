"""What the core knows of a request: what it is worth and what it takes. Nothing of HTTP."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "COHORTS",
    "IN_PROGRESS",
    "LEVELS",
    "LEVEL_BITS",
    "RANKS",
    "Criticality",
    "Kind",
    "Lane",
    "Measure",
    "RequestInfo",
    "rank_of",
]

COHORTS: Final = 1024
"""Cohorts per criticality. The cohort of a request is a hash of its task or user (never of its
tenant), so that a multi-call task lives or dies together."""
RANKS: Final = 4 * COHORTS
LEVEL_BITS: Final = 9
LEVELS: Final = RANKS >> LEVEL_BITS
"""A level (criticality x retry or first try) is `rank >> LEVEL_BITS`."""
IN_PROGRESS: Final = 1 << LEVEL_BITS - 1
"""The bit of a rank that a task has which is under way: upper half of the level. A waiter whose
tenant has less than others has it too: it is the first of its level."""


class Criticality(enum.IntEnum):
    """How much a request matters, in the words of Google's SRE book. Shed from the bottom up."""

    SHEDDABLE = 0
    SHEDDABLE_PLUS = 1
    CRITICAL = 2
    CRITICAL_PLUS = 3

    @property
    def label(self) -> str:
        """The word used in configuration, headers, logs and metrics."""
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Criticality | None:
        """The criticality a header or file names (`Critical-Plus`, `critical_plus`), or None."""
        return _BY_LABEL.get(text.strip().lower().replace("-", "_"))


_BY_LABEL: Final = {member.name.lower(): member for member in Criticality}


class Lane(enum.IntEnum):
    """Data requests are admitted; control requests (health, readiness, admin) bypass admission."""

    DATA = 0
    CONTROL = 1


class Kind(enum.IntEnum):
    """How long a request stays. A stream is a resident: it takes no slot of the unary limit."""

    AUTO = 0
    UNARY = 1
    STREAM = 2
    LONGPOLL = 3


_STREAMS: Final = (Kind.STREAM, Kind.LONGPOLL)


class Measure(enum.IntEnum):
    """Where a latency sample ends: `auto` is the end of a unary answer, else its head."""

    AUTO = 0
    HEAD = 1
    END = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """What is the same for every request of a class on a route: made once, then shared.

    What differs from request to request (flow, cohort, time left) is an argument of
    `Shedder.arrive`, because building an object per request would cost more than the decision.
    """

    route: str = "default"
    """Name of the rule that matched; latency is normalised per route."""
    cell: str = "default"
    criticality: Criticality = Criticality.CRITICAL
    lane: Lane = Lane.DATA
    kind: Kind = Kind.AUTO
    measure: Measure = Measure.AUTO
    cost: int = 1
    """Slots taken while in flight, 1 or more."""
    is_retry: bool = False
    """Attempt 2 or later: ranks last in its class."""
    route_limit: int | None = None
    """Most requests of this route in flight; 0 refuses all; None: no bound of its own."""
    is_pinned: bool = False
    """Its key is pinned to its cell, or changes it: no other cell takes it."""
    is_aside: bool = field(init=False, repr=False, compare=False)
    """A control request or a stream: it takes no slot of the limit."""
    is_plain: bool = field(init=False, repr=False, compare=False)
    """Takes a slot and has no bound of its own: one look instead of three per request."""
    rank_min: int = field(init=False, repr=False, compare=False)
    """Rank of its lowest cohort."""

    def __post_init__(self) -> None:
        is_aside = self.lane is Lane.CONTROL or self.kind in _STREAMS
        rank_min = self.criticality * COHORTS + (0 if self.is_retry else COHORTS // 2)
        object.__setattr__(self, "is_aside", is_aside)
        object.__setattr__(self, "is_plain", not is_aside and self.route_limit is None)
        object.__setattr__(self, "rank_min", rank_min)


def rank_of(request: RequestInfo, cohort: int) -> int:
    """Importance, 0..4095, of a call that begins a task: criticality x 1 024, 512 more for a first
    try, and a quarter of the cohort. Later calls have `IN_PROGRESS` besides.

    `cohort` is in 0..1023. A quarter of it makes `rank // 512` a strict order of classes in which
    attempt 2 and later come after every first try, and `rank // 256` one in which tasks that are
    under way come before those to be begun.
    """
    return request.rank_min + (cohort >> 2)
