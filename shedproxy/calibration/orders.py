"""One step as it is ordered, and as it was played: what planner, player and evaluation pass on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from shedproxy.calibration.measurement import Phase
from shedproxy.core import Criticality, Instant, Nanos

__all__ = ["GeneratorPart", "Order", "Played", "Sent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to play: so many at a time (`concurrency`), or so many a second (`planned_rps`)."""

    phase: Phase
    pass_number: int
    length_ns: Nanos
    settle_ns: Nanos
    """The least that is cut off at the start."""
    seed: int
    concurrency: int | None = None
    rate_max_rps: float | None = None
    """Closed: fewer are in flight where more than this would be sent a second."""
    planned_rps: float | None = None
    in_flight_max: int = 4_000
    """Open: arrivals beyond are not sent, but counted."""
    not_sent_max: int | None = 50
    """More of those end it; None: however many."""
    then_rps: float | None = None
    """Open: this rate follows at once, for `then_ns`; the step itself is what came before."""
    then_ns: Nanos | None = None


class Sent(NamedTuple):
    """A request of a step. `status` is 0 where no answer came."""

    intended_at: Instant
    sent_at: Instant
    done_at: Instant
    status: int
    route: int = 0
    criticality: Criticality = Criticality.CRITICAL


class GeneratorPart(NamedTuple):
    """One process of several that made the load."""

    planned_count: int
    sent_count: int
    lag_p99_ns: Nanos
    """Sent minus intended."""
    cpu_ns: Nanos


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of an order. Instants are of the player's clock."""

    rows: list[Sent]
    started_at: Instant
    stopped_at: Instant
    """When sending ended, or should have."""
    ended_at: Instant
    """When nothing was in flight any more."""
    planned_count: int
    not_sent_count: int = 0
    cpu_ns: int = 0
    """In ns, of the busiest process of the generator."""
    in_flight_area: int | None = None
    """Integral of in flight over time from `started_at + settle_ns` to `stopped_at`, in ns, as the
    player counted it; None: it did not."""
    ended_early: str = ""
    """Why, if it was ended before its time."""
    is_stopped: bool = False
    """It was asked to send nothing more before its time."""
    generators: tuple[GeneratorPart, ...] = ()
    """The processes of the generator, where it has several: each is judged by itself."""
    faults: tuple[str, ...] = ()
    """Sentences that void the step: a generator died."""
