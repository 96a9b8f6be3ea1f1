"""The answers of the core, and the numbers that led to them.

A refusal is a value. It carries its reason, from a closed set, and the evidence: the numbers that
the decision compared. `refusal_holds` recomputes the reason from the numbers alone, so that a
checker, a test or a sceptical operator can verify any refusal after the fact.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, Final

from shedproxy.compiling import mypyc_attr
from shedproxy.core.request import RequestInfo
from shedproxy.core.sharding import NO_PLACE
from shedproxy.core.units import Instant, Nanos

__all__ = [
    "EVIDENCE",
    "Decision",
    "Outcome",
    "Permit",
    "RejectReason",
    "Rejected",
    "Ticket",
    "TicketState",
    "Verdict",
    "refusal_holds",
]


class RejectReason(enum.IntEnum):
    """Why a request was refused. The closed set: one label each in headers, logs and metrics."""

    ROUTE_LIMIT = 0
    CLASS_LIMIT = 1
    SHED_LEVEL = 2
    QUEUE_FULL = 3
    QUEUE_TIMEOUT = 4
    EVICTED = 5
    DEADLINE = 6
    FAIR_SHARE = 7
    RESIDENT_LIMIT = 8
    CONTROL_BUDGET = 9
    DRAINING = 10
    NO_UPSTREAM = 11
    CONNECTION_LIMIT = 12
    ADDRESS_LIMIT = 13
    CELL_SHARE = 14
    MOVING = 15

    @property
    def label(self) -> str:
        """The word used in headers, logs and metrics."""
        return self.name.lower()

    @property
    def is_bound(self) -> bool:
        """Whether a number in the settings was reached, and not the capacity of the service."""
        return self in _BOUNDS


_BOUNDS: Final = frozenset(
    (
        RejectReason.ROUTE_LIMIT,
        RejectReason.CLASS_LIMIT,
        RejectReason.RESIDENT_LIMIT,
        RejectReason.CONTROL_BUDGET,
        RejectReason.CONNECTION_LIMIT,
        RejectReason.ADDRESS_LIMIT,
    )
)
EVIDENCE: Final[dict[RejectReason, tuple[str, ...]]] = {
    RejectReason.ROUTE_LIMIT: ("route_in_flight", "cost", "route_limit"),
    RejectReason.CLASS_LIMIT: ("class_in_flight", "cost", "class_limit"),
    RejectReason.SHED_LEVEL: ("rank", "cut_rank", "cut_share_ppm", "cut_phase_ppm"),
    RejectReason.QUEUE_FULL: ("queue_length_max", "rank", "worst_rank"),
    RejectReason.QUEUE_TIMEOUT: ("waited_ns", "wait_max_ns"),
    RejectReason.EVICTED: ("queue_length_max", "rank", "better_rank", "waited_ns"),
    RejectReason.DEADLINE: ("time_left_ns", "wait_expected_ns", "service_expected_ns"),
    RejectReason.FAIR_SHARE: ("flow_in_system", "cost", "flow_share", "flows_active"),
    RejectReason.RESIDENT_LIMIT: ("residents", "resident_limit"),
    RejectReason.CONTROL_BUDGET: ("control_in_flight", "control_budget"),
    RejectReason.DRAINING: (),
    RejectReason.NO_UPSTREAM: ("upstreams_healthy", "upstreams"),
    RejectReason.CONNECTION_LIMIT: ("connections", "connections_max"),
    RejectReason.ADDRESS_LIMIT: ("address_connections", "address_connections_max"),
    RejectReason.CELL_SHARE: ("cell_clients", "cell_clients_max"),
    RejectReason.MOVING: ("waited_ns", "wait_max_ns", "held", "held_max"),
}
"""What `Rejected.numbers` holds, by reason; lengths in ns, ranks and counts as they were.

`queue_length_max` bounds `Rejected.queue_length`: the whole queue, or in overload the waiters of
the request's class and attempt with all better ones. A `better_rank` of 4096 stands for nobody in
particular: overload began, and its queues are shorter.
"""


class Outcome(enum.IntEnum):
    """How admitted work ended: what it teaches the estimator.

    SUCCESS gives a latency sample. OVERLOAD (503/504 of the upstream, timeout, connection refused)
    is hard evidence and gives no sample. ABANDONED (the client left) is a lower bound, kept as
    censored. IGNORE (an error answer, a crash, an instant 4xx) says nothing about capacity: a fast
    failure is load, not success.
    """

    SUCCESS = 0
    OVERLOAD = 1
    ABANDONED = 2
    IGNORE = 3


@mypyc_attr(acyclic=True, free_list_len=1)
class Rejected:
    """A refusal: why, with the numbers compared, and when to come back (0: do not say)."""

    __slots__ = (
        "at",
        "in_flight",
        "limit",
        "numbers",
        "queue_length",
        "reason",
        "record_id",
        "request",
        "retry_after_ns",
        "spill_bar",
        "waited_ns",
    )

    def __init__(
        self,
        request: RequestInfo,
        reason: RejectReason,
        at: Instant,
        numbers: tuple[int, ...],
        in_flight: int = 0,
        limit: int = 0,
        queue_length: int = 0,
        retry_after_ns: int = 0,
        waited_ns: int = 0,
    ) -> None:
        self.request = request
        self.reason = reason
        self.at = at
        self.numbers = numbers
        self.in_flight = in_flight
        self.limit = limit
        self.queue_length = queue_length
        self.retry_after_ns = retry_after_ns
        self.waited_ns = waited_ns
        self.spill_bar = 0
        """Why no other cell took it (a `SpillBar`); 0: none was asked."""
        self.record_id = 0
        """Belongs to the driver: under which id it recorded the refusal (`ring.format_id`)."""

    @property
    def evidence(self) -> dict[str, int]:
        """The numbers by name."""
        return dict(zip(EVIDENCE[self.reason], self.numbers, strict=True))

    def __repr__(self) -> str:
        return f"Rejected({self.reason.label}, {self.evidence})"


class Permit:
    """The right to be in flight. Given back exactly once with `Shedder.release`.

    `would_reject` is set in observe mode: what enforce mode would have answered.
    """

    __slots__ = (
        "admitted_at",
        "arrived_at",
        "cohort",
        "context",
        "controller",
        "cost",
        "expires_at",
        "flow_hash",
        "in_flight_before",
        "is_released",
        "is_resident",
        "is_sampled",
        "is_zombie",
        "place",
        "request",
        "responded_at",
        "serial",
        "would_reject",
    )

    def __init__(
        self,
        serial: int,
        request: RequestInfo,
        flow_hash: int,
        cost: int,
        arrived_at: Instant,
        admitted_at: Instant,
        expires_at: Instant | None,
        in_flight_before: int,
        controller: Any,
        place: int = NO_PLACE,
        cohort: int = 0,
    ) -> None:
        self.serial = serial
        self.request = request
        self.flow_hash = flow_hash
        self.cost = cost
        self.arrived_at = arrived_at
        self.admitted_at = admitted_at
        self.expires_at = expires_at
        self.in_flight_before = in_flight_before
        self.controller = controller
        self.place = place
        self.cohort = cohort
        self.responded_at: Instant | None = None
        self.is_released = False
        self.is_resident = False
        self.is_sampled = False
        """It gives no (further) latency sample: how long a stream stays says nothing."""
        self.is_zombie = False
        """Nobody waits for the answer, and the work may go on."""
        self.would_reject: Rejected | None = None
        self.context: Any = None

    @property
    def waited_ns(self) -> Nanos:
        """Time spent in the queue."""
        return Nanos(self.admitted_at - self.arrived_at)

    def __repr__(self) -> str:
        return f"Permit(#{self.serial} {self.request.route})"


class TicketState(enum.IntEnum):
    """Where a waiter is: each ticket leaves WAITING once."""

    WAITING = 0
    ADMITTED = 1
    REJECTED = 2
    ABANDONED = 3


_WAITING: Final = TicketState.WAITING


class Ticket:
    """A place in the queue. Answered exactly once by a `Verdict`, unless abandoned first.

    `evicted` is what followed from this arrival: the verdict of the waiter that had to leave.
    `context` belongs to the driver (whom to wake); the core never looks at it.
    """

    __slots__ = (
        "arrived_at",
        "cohort",
        "context",
        "controller",
        "cost",
        "deadline_at",
        "evicted",
        "expires_at",
        "flow_hash",
        "later",
        "newer",
        "older",
        "place",
        "queue_slot",
        "rank",
        "request",
        "serial",
        "sooner",
        "state",
    )

    def __init__(
        self,
        serial: int,
        request: RequestInfo,
        flow_hash: int,
        cohort: int,
        rank: int,
        arrived_at: Instant,
        expires_at: Instant,
        deadline_at: Instant | None = None,
        controller: Any = None,
        place: int = NO_PLACE,
    ) -> None:
        self.serial = serial
        self.request = request
        self.flow_hash = flow_hash
        self.place = place
        """Where tables keep its flow (`sharding.place_of`)."""
        self.cohort = cohort
        self.rank = rank
        """Importance, as `rank_of` says, with `IN_PROGRESS` when it came while its task was so; the
        highest of its level, which has that bit too, where its tenant had less than others.
        """
        self.cost = request.cost
        self.arrived_at = arrived_at
        self.expires_at = expires_at
        """When it has waited long enough: the queue's bound, or what the deadline leaves."""
        self.deadline_at = deadline_at
        self.controller = controller
        self.state = _WAITING
        self.evicted: Verdict | None = None
        self.queue_slot: Any = None
        """Belongs to the queue that holds the ticket, as do its neighbours there."""
        self.older: Ticket | None = None
        self.newer: Ticket | None = None
        self.sooner: Ticket | None = None
        self.later: Ticket | None = None
        self.context: Any = None

    def __repr__(self) -> str:
        return f"Ticket(#{self.serial} rank {self.rank} {self.state.name})"


@mypyc_attr(acyclic=True, free_list_len=1)
class Verdict:
    """The later answer to a ticket. Comes apart as the pair of both.

    No NamedTuple: a call from compiled code to make one takes as long as to decide.
    """

    __slots__ = ("decision", "ticket")

    def __init__(self, ticket: Ticket, decision: Permit | Rejected) -> None:
        self.ticket = ticket
        self.decision = decision

    def __iter__(self) -> Iterator[Any]:
        return iter((self.ticket, self.decision))

    def __repr__(self) -> str:
        return f"Verdict({self.ticket!r}, {self.decision!r})"


Decision = Permit | Ticket | Rejected
"""What `Shedder.arrive` answers: run now, wait, or no."""


def refusal_holds(rejected: Rejected) -> bool:
    """Recompute a refusal from its numbers: True when the reason follows from them."""
    numbers = rejected.numbers
    reason = rejected.reason
    if len(numbers) != len(EVIDENCE[reason]):
        return False
    match reason:
        case RejectReason.ROUTE_LIMIT | RejectReason.CLASS_LIMIT:
            in_flight, cost, limit = numbers
            return in_flight + cost > limit
        case RejectReason.SHED_LEVEL:
            rank, cut_rank, share_ppm, phase_ppm = numbers
            return rank < cut_rank or (rank == cut_rank and phase_ppm < share_ppm)
        case RejectReason.QUEUE_FULL:
            length_max, rank, worst_rank = numbers
            return rejected.queue_length >= length_max and rank <= worst_rank
        case RejectReason.EVICTED:
            length_max, rank, better_rank, _ = numbers
            return rejected.queue_length >= length_max and rank < better_rank
        case RejectReason.DEADLINE:
            time_left_ns, wait_ns, service_ns = numbers
            return time_left_ns <= 0 or time_left_ns < wait_ns + service_ns
        case RejectReason.FAIR_SHARE:
            in_system, cost, share, flows = numbers
            return flows > 1 and in_system + cost > share
        case RejectReason.NO_UPSTREAM:
            return numbers[0] == 0
        case RejectReason.MOVING:
            return numbers[0] >= numbers[1] or numbers[2] >= numbers[3]
        case RejectReason.DRAINING:
            return True
        case _:  # so much there is, of so much
            return numbers[0] >= numbers[1]
