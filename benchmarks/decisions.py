"""What the core costs: decisions per limit algorithm and in overload, refusals, and the queue.

Time is given to the core and not read here, so that no clock is in the figures. Where a request is
admitted and released four are in flight at any time, each for about a millisecond with some
scatter; the limit is kept above them, so that every arrival is admitted at once and every release
is a sample. In overload, 64 slots of 10 ms are offered twice what they can do, and an arrival comes
with what follows from it: half an end of work, and the start or refusal of who waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread, in_process
from shedproxy.core import (
    CellPolicy,
    Criticality,
    Instant,
    LimitPolicy,
    Nanos,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    RequestInfo,
    Shedder,
    Ticket,
    milliseconds,
    rank_of,
)
from shedproxy.core.limits import ALGORITHMS
from shedproxy.core.queues import PriorityQueue

__all__ = ["measure"]

WAITERS = (10, 100, 1000, 10_000)
IN_FLIGHT = 4
STEP_NS = 250_000
SCATTER = 1024
"""Arrivals come up to half a step late, in an order that repeats after so many."""
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
FLOWS = [(index + 1) * GOLDEN & MASK for index in range(1000)]
"""Hashes of a thousand tenants."""

LATE_NS = [index * GOLDEN % MASK % (STEP_NS // 2) for index in range(SCATTER)]

SLOTS = 64
SERVICE_NS = 10_000_000
OVERLOAD_STEP_NS = SERVICE_NS // SLOTS // 2

DECISION = Budget(target=3.0, floor=5.0)


def deciding(algorithm: str, *, tenants: bool = False) -> Callable[[int], None]:
    """One arrival and one release per operation."""
    limit = LimitPolicy(algorithm=algorithm, initial=64, minimum=2 * IN_FLIGHT)
    shedder = Shedder(Policy(cells=(CellPolicy(limit=limit),)), now=Instant(0))
    request = RequestInfo()
    flows = FLOWS if tenants else [0]
    flow_count = len(flows)
    time_left_ns = milliseconds(1000) if tenants else None
    permits: deque[Permit] = deque()
    serial = 0

    def decide(count: int) -> None:
        nonlocal serial
        arrive, release = shedder.arrive, shedder.release
        for _ in range(count):
            serial += 1
            now = serial * STEP_NS + LATE_NS[serial % SCATTER]
            decision = arrive(
                request,
                now=now,
                flow_hash=flows[serial % flow_count],
                cohort=serial % SCATTER,
                time_left_ns=time_left_ns,
            )
            if type(decision) is not Permit:
                raise NotMeasuredError(f"{algorithm} did not admit: {decision!r}")
            permits.append(decision)
            if len(permits) > IN_FLIGHT:
                release(permits.popleft(), Outcome.SUCCESS, now=now)

    return decide


def idling() -> Callable[[int], None]:
    """The loop around a decision, with nothing decided."""
    permits: deque[int] = deque()
    serial = 0

    def idle(count: int) -> None:
        nonlocal serial
        for _ in range(count):
            serial += 1
            permits.append(serial * STEP_NS + LATE_NS[serial % SCATTER])
            if len(permits) > IN_FLIGHT:
                permits.popleft()

    return idle


def refusing(cell: CellPolicy, request: RequestInfo, reason: RejectReason) -> Callable[[int], None]:
    """One refused arrival per operation."""
    shedder = Shedder(Policy(cells=(cell,)), now=Instant(0))
    shedder.arrive(RequestInfo(), now=Instant(0))  # holds the only slot, where there is one
    serial = 0

    def refuse(count: int) -> None:
        nonlocal serial
        for _ in range(count):
            serial += 1
            decision = shedder.arrive(request, now=Instant(serial), cohort=serial & 1023)
            if type(decision) is not Rejected or decision.reason is not reason:
                raise NotMeasuredError(f"not refused for {reason.label}: {decision!r}")

    return refuse


def overloaded(*, tenants: bool) -> Callable[[int], None]:
    """One arrival per operation at twice capacity, with its share of ends of work."""
    limit = LimitPolicy(algorithm="fixed", initial=SLOTS)
    shedder = Shedder(Policy(cells=(CellPolicy(limit=limit),)), now=Instant(0))
    requests = [RequestInfo(criticality=c) for c in Criticality] if tenants else [RequestInfo()]
    flows = FLOWS if tenants else [0]
    ends: deque[tuple[int, Permit]] = deque()
    serial = 0

    def arrive(count: int) -> None:
        nonlocal serial
        for _ in range(count):
            serial += 1
            now = serial * OVERLOAD_STEP_NS
            while ends and ends[0][0] <= now:
                end_at, permit = ends.popleft()
                for _, decision in shedder.release(permit, Outcome.SUCCESS, now=Instant(end_at)):
                    if type(decision) is Permit:
                        ends.append((end_at + SERVICE_NS, decision))
            decision = shedder.arrive(
                requests[serial % len(requests)],
                now=Instant(now),
                flow_hash=flows[serial % len(flows)],
                cohort=serial * GOLDEN % MASK % 1024,
            )
            if type(decision) is Permit:
                ends.append((now + SERVICE_NS, decision))
        if not shedder.stats().cells[0].shed_share:
            raise NotMeasuredError("no overload")

    arrive(4 * SERVICE_NS // OVERLOAD_STEP_NS * 50)  # until it has begun
    return arrive


def queueing(waiters: int, *, tenants: bool) -> Callable[[int], None]:
    """One new ticket pushed and one popped per operation, beside `waiters` that stay."""
    queue = PriorityQueue(QueuePolicy(length_max=waiters + 1))
    wait_max_ns: Nanos = milliseconds(500)
    requests = [RequestInfo(criticality=c) for c in Criticality] if tenants else [RequestInfo()]
    flows = FLOWS if tenants else [0]
    serial = 0

    def ticket() -> Ticket:
        nonlocal serial
        serial += 1
        now = Instant(serial * 10_000)
        request = requests[serial % len(requests)]
        cohort = serial & 1023
        rank = rank_of(request, cohort)
        flow = flows[serial % len(flows)]
        return Ticket(serial, request, flow, cohort, rank, now, Instant(now + wait_max_ns))

    for _ in range(waiters):
        fresh = ticket()
        queue.push(fresh, now=fresh.arrived_at)

    def push_and_pop(count: int) -> None:
        for _ in range(count):
            fresh = ticket()
            now = fresh.arrived_at
            if queue.push(fresh, now=now) is not None or queue.pop(now=now) is None:
                raise NotMeasuredError(f"the queue does not hold {waiters}")

    return push_and_pop


def measure(*, quick: bool) -> Report:
    fixed = LimitPolicy(algorithm="fixed", initial=1)
    no_queue = CellPolicy(limit=fixed, queue=QueuePolicy(length_max=0))
    decisions = {f"admit and release, {name}": deciding(name) for name in ALGORITHMS}
    decisions["admit and release, adaptive, tenants, deadlines"] = deciding(
        "adaptive", tenants=True
    )
    others = {
        "the caller's loop alone": idling(),
        "refuse, limit = 0": refusing(
            CellPolicy(), RequestInfo(route_limit=0), RejectReason.ROUTE_LIMIT
        ),
        "refuse, full queue": refusing(no_queue, RequestInfo(), RejectReason.QUEUE_FULL),
    }
    others["arrive in overload, one flow"] = overloaded(tenants=False)
    others["arrive in overload, 4 classes, 1000 tenants"] = overloaded(tenants=True)
    for waiters in WAITERS:
        others[f"push and pop beside {waiters}, one flow"] = queueing(waiters, tenants=False)
        others[f"push and pop beside {waiters}, 4 classes, 1000 tenants"] = queueing(
            waiters, tenants=True
        )
    rounds, count = (3, 4000) if quick else (9, 20_000)
    values = in_process(decisions | others, rounds=rounds, count=count)
    return Report(
        title="CPU of the core in process, its caller's loop included",
        unit="us per operation",
        rows=[
            Row(name, Spread.of(values[name]), DECISION if name in decisions else None)
            for name in values
        ],
    )
