"""One cell's state, and what is refused before slots and queue are looked at.

The base of AdmissionController: counts what is in the system and compares it with the policy. Every
refusal made here carries the numbers that were compared.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.baseline import Memory
from shedproxy.core.decision import Permit, Rejected, RejectReason
from shedproxy.core.fair_share import FairShare, SlotShare
from shedproxy.core.limit_loop import LimitLoop
from shedproxy.core.patience import Patience
from shedproxy.core.policy import CellPolicy
from shedproxy.core.progress import Progress
from shedproxy.core.queues import PriorityQueue
from shedproxy.core.request import LEVEL_BITS, Lane, RequestInfo, rank_of
from shedproxy.core.sharding import NO_PLACE, place_of
from shedproxy.core.share import CellShare
from shedproxy.core.shed_level import ShedLevel
from shedproxy.core.spill import SpillBook
from shedproxy.core.units import NS_PER_S, Instant, Nanos

__all__ = ["CONTROL", "Screening"]

# Before Python 3.12 a look-up of an enum's member costs more than a call: these are hot.
CONTROL: Final = Lane.CONTROL
_DEADLINE: Final = RejectReason.DEADLINE
_FAIR_SHARE: Final = RejectReason.FAIR_SHARE
_QUEUE_FULL: Final = RejectReason.QUEUE_FULL
_ROUTE_LIMIT: Final = RejectReason.ROUTE_LIMIT
_SHED_LEVEL: Final = RejectReason.SHED_LEVEL

_WAIT_SERVICES: Final = 4.0
_WAIT_SERVICES_MAX: Final = 12.0
"""The longest wait is at least so many mean service times: for constant ones, and at most."""


class Screening:
    """Counts of one cell and the refusals that follow from them alone."""

    __slots__ = (
        "_begin_length",
        "_class_count",
        "_control_in_flight",
        "_deadline_share",
        "_default_timeout_ns",
        "_demand",
        "_fair",
        "_has_class_limits",
        "_is_fair",
        "_is_hasty",
        "_is_shadowing",
        "_level",
        "_limits",
        "_look_at",
        "_must_trim",
        "_orphans",
        "_patience",
        "_policy",
        "_progress",
        "_queue",
        "_residents",
        "_route_count",
        "_running",
        "_serial",
        "_shadow_refused",
        "_share",
        "_wait_max_ns",
        "_zombies",
        "in_flight",
        "spill",
    )

    def __init__(self, policy: CellPolicy, *, now: Instant) -> None:
        self._set_policy(policy)
        self._limits = LimitLoop(policy.limit, now=now)
        self._look_at = now
        """When a waiter looks at the slots of all workers again."""
        self._share: CellShare | None = None
        """The words of all workers; None: we are the only one."""
        self._queue = PriorityQueue(policy.queue)
        self._fair = FairShare(policy.fairness)
        self._running = SlotShare()
        self._level = ShedLevel(policy.shed_level, now=now)
        self._demand = self._level.demand
        self._patience = Patience()
        self._is_hasty = False
        """A turn of the short queue may take longer than clients wait."""
        self._progress = Progress()
        self._wait_max_ns = 0
        self._begin_length = 0
        self.in_flight = 0
        self._residents = 0
        self._control_in_flight = 0
        self._is_shadowing = False
        """Observe mode: nobody waits in the queue, who would is in flight."""
        self._shadow_refused = 0
        self._class_count = [0, 0, 0, 0]
        self._route_count: dict[str, int] = {}
        self._orphans = 0
        """Permits of abandoned work that is watched to its end."""
        self._zombies: list[tuple[Instant, int, Permit]] = []
        self._serial = 0
        self._must_trim = False
        """Overload has begun and the queue is still as long as before."""
        self.spill: SpillBook | None = None
        """Of its guests, and of requests that other cells take; None: there are none."""
        self._move_level(now)

    def _set_policy(self, policy: CellPolicy) -> None:
        self._policy = policy
        # Read for every request, or every waiter.
        self._default_timeout_ns = policy.default_timeout_ns
        self._is_fair = policy.fairness.enabled
        self._deadline_share = policy.queue.deadline_share
        self._has_class_limits = any(bound is not None for bound in policy.class_limits)

    def _slots(self) -> int:
        """Slots that are ours now: those of the limit that no other worker has."""
        share = self._share
        if share is None:
            return self._limits.limit
        return max(1, self._limits.limit - share.others())

    def _host_in_flight(self) -> int:
        """What all workers have in flight."""
        share = self._share
        return self.in_flight if share is None else share.total()

    @property
    def name(self) -> str:
        """Of the cell."""
        return self._policy.name

    def screen(
        self,
        request: RequestInfo,
        now: Instant,
        flow_hash: int,
        cohort: int,
        time_left_ns: int | None,
    ) -> Rejected | None:
        """The provisional answer on a request's head: would it be refused outright?"""
        if time_left_ns is None:
            time_left_ns = self._default_timeout_ns
        place = place_of(flow_hash) if flow_hash else NO_PLACE
        rank = self._rank_now(rank_of(request, cohort), cohort, now)
        return self._refusal(request, rank, place, time_left_ns, now, is_tried=False)

    def _rank_now(self, rank: int, cohort: int, now: Instant) -> int:
        """A rank, or a better one for a task that is under way while there is not room for all."""
        if self._queue.length or self._level.is_overloaded:
            return self._progress.rank(rank, cohort, now)
        return rank

    def _refusal(
        self,
        request: RequestInfo,
        rank: int,
        place: int,
        time_left_ns: int | None,
        now: Instant,
        *,
        is_tried: bool = True,
    ) -> Rejected | None:
        """Everything that refuses before slots and queue are looked at."""
        if not request.is_plain or self._has_class_limits:
            bounded = self._bound_refusal(request, now)
            if bounded is not None or request.is_aside:
                return bounded
        # An idle cell tries anyway: an expectation learnt under load must not refuse for ever.
        if time_left_ns is not None and (self.in_flight or time_left_ns <= 0):
            route, limits = request.route, self._limits
            service_ns = limits.expected_ns(route)
            wait_ns = self._expected_wait_ns(rank) if self._queue.length else 0
            # So does any other now and then: where all of a route are refused nothing is learnt.
            if time_left_ns <= wait_ns or (
                time_left_ns < wait_ns + service_ns
                and not limits.baselines.recent(route).is_due(now, is_tried=is_tried)
            ):
                numbers = (time_left_ns, wait_ns, service_ns)
                return self._reject(request, _DEADLINE, numbers, now)
        level = self._level
        if now >= level.due_at:
            self._move_level(now)
        if level.is_overloaded:
            return self._overload_refusal(request, rank, place, now)
        return None

    def _overload_refusal(
        self, request: RequestInfo, rank: int, place: int, now: Instant
    ) -> Rejected | None:
        """Demand is above capacity: first to each tenant its share, then by rank."""
        level, queue = self._level, self._queue
        ahead = self._waiting if self._is_shadowing else queue.length_from(rank)
        is_relaxed = ahead < level.relaxed_below[rank >> LEVEL_BITS]
        is_heavy = place >= 0 and self._limits.heavy.is_heavy(place)
        if is_relaxed and not is_heavy:
            return None
        cost = request.cost
        if place >= 0 and self._is_fair:
            in_system = self._fair.in_system(place)
            flows = self._fair.flows_active + (in_system == 0)
            if flows > 1:
                slots = self._slots()
                capacity = slots + queue.length
                share = self._fair.share(capacity, flows=flows)
                if is_heavy:
                    # What it is given beyond an equal part of the slots is not back for long, and
                    # of the few that there are while a baseline is learnt none is.
                    share = 0 if self._limits.is_probing else max(1, -(-slots // flows))
                # Who is wider than its share runs when it is alone, unless it has none.
                if in_system + cost > share and (in_system or not share):
                    level.on_refusal()
                    numbers = (in_system, cost, share, flows)
                    return self._reject(request, _FAIR_SHARE, numbers, now)
                if (in_system + cost) * flows <= capacity:
                    # Not above an equal part: the excess is not this tenant's to give up.
                    return None
        if is_relaxed:
            return None
        cut = level.refusal(rank)
        if cut is None:
            return None
        self._demand.on_arrival(rank, cost)
        level.on_refusal()
        return self._reject(request, _SHED_LEVEL, cut, now)

    def _bound_refusal(self, request: RequestInfo, now: Instant) -> Rejected | None:
        """The bounds that hold whatever the load is: of route, class, streams, control requests."""
        if request.lane is CONTROL:
            bound = self._policy.control_budget
            if self._control_in_flight >= bound:
                numbers = (self._control_in_flight, bound)
                return self._reject(request, RejectReason.CONTROL_BUDGET, numbers, now)
            return None
        route_refusal = self._route_refusal(request, now)
        if route_refusal is not None:
            return route_refusal
        bound = self._policy.resident_limit
        if request.is_aside and self._residents >= bound:
            numbers = (self._residents, bound)
            return self._reject(request, RejectReason.RESIDENT_LIMIT, numbers, now)
        return None

    def _route_refusal(self, request: RequestInfo, now: Instant) -> Rejected | None:
        bound = request.route_limit
        if bound is not None:
            count = self._route_count.get(request.route, 0)
            # Who is wider than a worker's part of the bound runs when it is alone.
            if count + request.cost > bound and (count or not bound):
                numbers = (count, request.cost, bound)
                return self._reject(request, _ROUTE_LIMIT, numbers, now)
        bound = self._policy.class_limits[request.criticality]
        if bound is not None:
            count = self._class_count[request.criticality]
            if count + request.cost > bound and (count or not bound):
                numbers = (count, request.cost, bound)
                return self._reject(request, RejectReason.CLASS_LIMIT, numbers, now)
        return None

    def _expected_wait_ns(self, rank: int) -> int:
        rate = self._demand.capacity_rps
        return int(self._queue.length_from(rank) * NS_PER_S / rate) if rate > 0 else 0

    def _shadow_queue_refusal(
        self, request: RequestInfo, rank: int, now: Instant
    ) -> Rejected | None:
        level, waiting = self._level, self._waiting
        if waiting >= self._begin_length and not level.is_overloaded:
            self._begin_overload(now)
        bound = min(self._policy.queue.length_max, level.ahead_max[rank >> LEVEL_BITS])
        rate = self._demand.capacity_rps
        if rate > 0:
            bound = min(bound, max(1, int(rate * self._wait_max_ns / NS_PER_S)))
        if waiting < bound:
            return None
        level.on_refusal()
        refused = self._reject(request, _QUEUE_FULL, (bound, rank, rank), now)
        refused.queue_length = waiting
        return refused

    @property
    def _waiting(self) -> int:
        """Waiters; in observe mode, what is in flight above the limit stands for them."""
        if not self._is_shadowing:
            return self._queue.length
        above = self.in_flight - self._shadow_refused - self._slots()
        return max(self._queue.length, above, 0)

    # --- counts ---

    def _count(self, request: RequestInfo, place: int) -> None:
        """Into the system: in flight or waiting."""
        cost = request.cost
        criticality: int = request.criticality
        self._class_count[criticality] += cost
        # The request carries its bound, so that what was counted is what is counted off,
        # whatever a new policy says meanwhile.
        if request.route_limit is not None:
            self._tally_route(request.route, cost)
        if place >= 0:
            self._fair.enter(place, cost)

    def _uncount(self, request: RequestInfo, place: int) -> None:
        cost = request.cost
        criticality: int = request.criticality
        self._class_count[criticality] -= cost
        if request.route_limit is not None:
            self._tally_route(request.route, -cost)
        if place >= 0:
            self._fair.leave(place, cost)

    def _tally_route(self, route: str, cost: int) -> None:
        count = self._route_count.get(route, 0) + cost
        if count:
            self._route_count[route] = count
        else:
            self._route_count.pop(route, None)  # clients may make up names

    def _admit_aside(self, request: RequestInfo, flow_hash: int, now: Instant) -> Permit:
        """Control requests and residents: counted, but they take no slot of the limit."""
        self._serial += 1
        permit = Permit(self._serial, request, flow_hash, 0, now, now, None, 0, self)
        if request.lane is CONTROL:
            self._control_in_flight += 1
        else:
            permit.is_resident = True
            self._residents += 1
            self._count(request, NO_PLACE)
        return permit

    def _reject(
        self, request: RequestInfo, reason: RejectReason, numbers: tuple[int, ...], now: Instant
    ) -> Rejected:
        held, length = self._host_in_flight(), self._queue.length
        return Rejected(request, reason, now, numbers, held, self._limits.limit, length)

    # --- overload ---

    def _move_level(self, now: Instant) -> None:
        """Close a period of the shed level, and take over what the queue is compared with."""
        level, limits, patience = self._level, self._limits, self._patience
        # A few slots need a queue of several services to be kept busy, more of scattered ones;
        # whoever asks for work of a second can wait for some.
        services = min(_WAIT_SERVICES_MAX, _WAIT_SERVICES * (1.0 + limits.scatter))
        wait_max_ns = max(self._policy.queue.wait_max_ns, int(limits.service_ns * services))
        patience.update()
        if patience.bound_ns is not None:
            wait_max_ns = max(0, min(wait_max_ns, patience.bound_ns - limits.typical_ns))
        self._wait_max_ns = wait_max_ns
        level.is_shared = self._fair.flows_active > 1
        level.largest_part = self._fair.largest_part
        level.busy_slots = int(limits.limit - limits.limit * limits.standing_share)
        self._progress.fit(Nanos(limits.typical_ns))
        if self._demand.starved_since >= 0 and self._host_in_flight() >= level.full_from:
            self._demand.feed(now)  # by other workers, which do not say so
        slots = self._slots()
        # In observe mode what is above the limit stands for the queue.
        waiting = self._queue.length + max(0, self.in_flight - slots)
        level.update(
            limit=slots,
            waiting=waiting,
            standing=slots * limits.standing_share,
            scatter=limits.scatter,
            wait_max_ns=wait_max_ns,
            now=now,
        )
        self._begin_length = max(1, min(level.begin_length, self._policy.queue.length_max))
        # By chance scattered work takes up to twice as long as it should.
        turn_ns = level.turn_ns * (1.0 + min(1.0, limits.scatter))
        self._is_hasty = patience.bound_ns is not None and turn_ns > wait_max_ns

    def _begin_overload(self, now: Instant) -> None:
        """The queue takes most of the longest wait. A probe of the limit may be what filled it."""
        level, limits = self._level, self._limits
        if limits.is_costly:
            limits.stop_probing(now=now)
        elif self._policy.shed_level.enabled:
            self._move_level(now)
            slots = self._slots()
            level.begin(
                limit=slots,
                standing=slots * limits.standing_share,
                scatter=limits.scatter,
                wait_max_ns=self._wait_max_ns,
            )
            self._must_trim = self._queue.length > 0

    def memory(self) -> Memory:
        """What was learnt of the routes without load."""
        return self._limits.baselines.memory()

    def remember(self, memory: Memory) -> None:
        """Take what a predecessor had learnt."""
        self._limits.baselines.remember(memory)
