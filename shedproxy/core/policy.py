"""What the operator decided, as frozen values. State lives in the Shedder and survives a change."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shedproxy.core.request import Criticality
from shedproxy.core.units import Nanos, milliseconds, seconds

__all__ = [
    "CellPolicy",
    "FairnessPolicy",
    "LimitPolicy",
    "Mode",
    "Policy",
    "QueuePolicy",
    "RetryPolicy",
    "ShedLevelPolicy",
    "SpillPolicy",
]


class Mode(enum.IntEnum):
    """What is done with a refusal: not decided at all, decided and counted, or sent."""

    OFF = 0
    OBSERVE = 1
    ENFORCE = 2

    @property
    def label(self) -> str:
        """The word used in configuration, flags and metrics."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPolicy:
    """How many slots may be in flight, and who moves that number."""

    algorithm: str = "adaptive"
    """`adaptive` (ours), `fixed`, `aimd`, `vegas` or `gradient2`."""
    initial: int = 8
    minimum: int = 1
    maximum: int = 1000
    baseline_ns: Nanos | None = None
    """Calibrated no-load latency of the cell's routes; None: learnt, at low in-flight only."""
    weight: int = 0
    """Healthy upstream weight that initial, minimum and maximum are for; 0: for any."""

    def scaled_to(self, weight: int) -> LimitPolicy:
        """The same for another healthy weight, never for none. Rounded up: too few slots cost more
        than too many.
        """
        weight = max(1, weight)
        if not self.weight or weight == self.weight:
            return self
        share = weight / self.weight
        return replace(
            self,
            initial=math.ceil(self.initial * share),
            minimum=math.ceil(self.minimum * share),
            maximum=math.ceil(self.maximum * share),
            weight=weight,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """Where arrivals wait for a slot: bounded in time and in length."""

    length_max: int = 1024
    """Most waiters; the bounds of the shed level are lower in overload."""
    wait_max_ns: Nanos = field(default_factory=lambda: milliseconds(500))
    """Longest wait, or 4 to 12 mean service times where those are longer; less in overload."""
    deadline_share: float = 0.33
    """Most of a request's remaining time that it may spend waiting."""
    lifo_after_ns: Nanos = field(default_factory=lambda: seconds(10))
    """A level that has not been empty for this long, while more of better ones were served than of
    it, serves newest first."""
    shards: int = 64
    hand: int = 4
    """Queues per level, and how many of them one flow may use (shuffle sharding)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FairnessPolicy:
    """A tenant's fair share of a contended cell. Without a tenant key all are one flow."""

    enabled: bool = True
    slack: float = 1.5
    """How far above an equal share a tenant may go while others want the cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedLevelPolicy:
    """Overload: how short the queue is then, and which ranks are refused before they reach it."""

    enabled: bool = True
    period_ns: Nanos = field(default_factory=lambda: milliseconds(100))
    """Longest time between two moves of the level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillPolicy:
    """Where requests may go that the cell has no room for: into measured headroom (`spill`)."""

    to: tuple[str, ...] = ()
    """Cells, in the order in which they are asked; empty: nothing spills."""
    classes: tuple[Criticality, ...] = ()
    """Requests of these alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPolicy:
    """One isolated share of the service: its own limit, queue, shed level and residents."""

    name: str = "default"
    limit: LimitPolicy = field(default_factory=LimitPolicy)
    queue: QueuePolicy = field(default_factory=QueuePolicy)
    fairness: FairnessPolicy = field(default_factory=FairnessPolicy)
    shed_level: ShedLevelPolicy = field(default_factory=ShedLevelPolicy)
    resident_limit: int = 10_000
    """Most streams (SSE, WebSocket, long poll) at once; they take no slot of the limit."""
    control_budget: int = 16
    """Most control requests in flight at once; they bypass everything else."""
    default_timeout_ns: Nanos | None = None
    """Time a request has when no trusted header says; None: unknown, only the queue bounds it."""
    class_limits: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)
    """Most slots per criticality (index = Criticality); 0 refuses the class; None: no own bound."""
    spill: SpillPolicy = field(default_factory=SpillPolicy)

    def class_limit(self, criticality: Criticality) -> int | None:
        """The slots this class may hold at most, if bounded."""
        return self.class_limits[criticality]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a request is sent, and what sending it again costs."""

    attempts_max: int = 2
    """Times one request is sent at most; 1: never again."""
    budget_ppm: int = 100_000
    """Retries that each answered request earns, in parts per million."""
    floor_rps: int = 3
    """Retries per second that are always earned."""
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
    """Methods that may be sent again although the first try may have been seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything the core is told by the operator."""

    mode: Mode = Mode.ENFORCE
    cells: tuple[CellPolicy, ...] = (CellPolicy(),)
    """The first cell takes requests of unknown cells."""
    salt: int = 0
    """Mixed into cohort hashes by drivers; workers and proxies of one policy agree on it."""

    def scaled_to(self, healthy: Mapping[str, int]) -> Policy:
        """The policy for the healthy weight behind each cell; nothing spills where nobody is.

        A cell that is not among them has what is behind the first; none is known: nothing changes.
        """
        usual = healthy.get(self.cells[0].name)
        cells = []
        for cell in self.cells:
            weight = healthy.get(cell.name, usual)
            limit, spill = cell.limit, cell.spill
            if weight is not None:
                limit = limit.scaled_to(weight)
            to = tuple(name for name in spill.to if healthy.get(name, usual) != 0)
            if to != spill.to:
                spill = replace(spill, to=to)
            is_same = limit is cell.limit and spill is cell.spill
            cells.append(cell if is_same else replace(cell, limit=limit, spill=spill))
        return replace(self, cells=tuple(cells))
