"""What the core costs: decisions per limit algorithm, through a queue, in overload; refusals.

Time is given to the core and not read here, so that no clock is in the figures. Where a request is
admitted and released four are in flight at any time, each for about a millisecond with some
scatter; the limit is kept above them, so that every arrival is admitted at once and every release
is a sample. Through a queue, 64 slots are taken and so many wait: each arrival joins them, and each
release lets one of them in. In overload, 64 slots of 10 ms are offered twice what they can do, and
an arrival comes with what follows from it: half an end of work, and the start or refusal of who
waits.

Last, what the simulator takes for a million requests through our controller, nothing checked: a
service of 16 x 40 ms, exponential, offered 1.5 times what it can do, cold start included; seconds
of one core, of some of them, times what is missing to a million.
"""

from __future__ import annotations

import functools
import gc
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence

from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread, in_process
from benchmarks.overload_shapes import Shape, play_ours
from shedproxy.core import (
    BUCKETS,
    CellPolicy,
    CellTable,
    Criticality,
    Instant,
    LimitPolicy,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    RequestInfo,
    Shedder,
    ShedLevelPolicy,
    Ticket,
    build_cell_table,
    milliseconds,
    seconds,
)
from shedproxy.core.limits import ALGORITHMS
from shedproxy.snapshot import cell_hash

__all__ = ["measure"]

WAITERS = (10, 100, 1000, 10_000)
IN_FLIGHT = 4
STEP_NS = 250_000
SCATTER = 1024
"""Arrivals come up to half a step late, in an order that repeats after so many."""
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
NOBODY = array("Q", [0])
TENANTS = array("Q", [(index + 1) * GOLDEN & MASK for index in range(1000)])
"""Hashes of a thousand tenants."""
MANY = array("Q", [(index + 1) * GOLDEN & MASK for index in range(1_000_000)])

LATE_NS = [index * GOLDEN % MASK % (STEP_NS // 2) for index in range(SCATTER)]

SLOTS = 64
SERVICE_NS = 10_000_000
OVERLOAD_STEP_NS = SERVICE_NS // SLOTS // 2

DECISION = Budget(target=3.0, floor=5.0)
ROUTING = Budget(target=1.0, floor=1.0)
MILLION = Budget(target=60.0, floor=60.0)

SIMULATED = Shape(16, 40, "exponential")
SIMULATED_LOAD = 1.5


def deciding(
    algorithm: str,
    *,
    flows: Sequence[int] = NOBODY,
    time_left_ns: int | None = None,
    mode: Mode = Mode.ENFORCE,
) -> Callable[[int], None]:
    """One arrival and one release per operation."""
    limit = LimitPolicy(algorithm=algorithm, initial=64, minimum=2 * IN_FLIGHT)
    shedder = Shedder(Policy(mode=mode, cells=(CellPolicy(limit=limit),)), now=Instant(0))
    request = RequestInfo()
    flow_count = len(flows)
    permits: deque[Permit] = deque()
    serial = 0

    def decide(count: int) -> None:
        nonlocal serial
        arrive, release = shedder.arrive, shedder.release
        for _ in range(count):
            serial += 1
            now = Instant(serial * STEP_NS + LATE_NS[serial % SCATTER])
            decision = arrive(
                request, now, flows[serial % flow_count], serial % SCATTER, time_left_ns
            )
            if type(decision) is not Permit:
                raise NotMeasuredError(f"{algorithm} did not admit: {decision!r}")
            permits.append(decision)
            if len(permits) > IN_FLIGHT:
                release(permits.popleft(), Outcome.SUCCESS, now)

    return decide


def waiting(waiters: int, *, mixed: bool) -> Callable[[int], None]:
    """One arrival that has to wait and one release that lets a waiter in, beside `waiters`."""
    cell = CellPolicy(
        limit=LimitPolicy(algorithm="fixed", initial=SLOTS),
        queue=QueuePolicy(length_max=waiters + 1, wait_max_ns=seconds(3600)),
        shed_level=ShedLevelPolicy(enabled=False),
    )
    shedder = Shedder(Policy(cells=(cell,)), now=Instant(0))
    requests = [RequestInfo(criticality=c) for c in Criticality] if mixed else [RequestInfo()]
    flows = TENANTS if mixed else NOBODY
    request_count, flow_count = len(requests), len(flows)
    running: deque[Permit] = deque()
    serial = 0

    def arrive() -> None:
        nonlocal serial
        serial += 1
        request, flow_hash = requests[serial % request_count], flows[serial % flow_count]
        now = Instant(serial * OVERLOAD_STEP_NS)
        decision = shedder.arrive(request, now, flow_hash, serial % SCATTER)
        if type(decision) is Permit:
            running.append(decision)
        elif type(decision) is not Ticket:
            raise NotMeasuredError(f"no room for {waiters}: {decision!r}")

    def wait(count: int) -> None:
        for _ in range(count):
            arrive()
            now = Instant(serial * OVERLOAD_STEP_NS)
            for _, decision in shedder.release(running.popleft(), Outcome.SUCCESS, now):
                if type(decision) is Permit:
                    running.append(decision)
        if (len(running), shedder.waiting("default")) != (SLOTS, waiters):
            raise NotMeasuredError(f"the queue does not hold {waiters}")

    for _ in range(SLOTS + waiters):
        arrive()
    return wait


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
    flows = TENANTS if tenants else NOBODY
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
                Instant(now),
                flows[serial % len(flows)],
                serial * GOLDEN % MASK % 1024,
            )
            if type(decision) is Permit:
                ends.append((now + SERVICE_NS, decision))
        if not shedder.stats().cells[0].shed_share:
            raise NotMeasuredError("no overload")

    arrive(4 * SERVICE_NS // OVERLOAD_STEP_NS * 50)  # until it has begun
    return arrive


@functools.cache
def pinned_table(pins: int) -> tuple[list[bytes], CellTable]:
    """Twice as many keys, and a table in which every other one is pinned to the second cell."""
    hashed = cell_hash("secret")
    keys = [b"tenant-%d" % index for index in range(2 * pins)]
    pinned = {hashed(key): 1 for key in keys[::2]}
    return keys, CellTable(build_cell_table(("a", "b"), [0] * BUCKETS, pinned))


def routing(pins: int, *, hashes: bool) -> Callable[[int], None]:
    """The cell of one key per operation: half of them pinned, and hashed first if asked."""
    hashed = cell_hash("secret")
    keys, table = pinned_table(pins)
    # The bytes of a key have just been read when it is looked up; the table is where it is.
    asked = [(serial * GOLDEN >> 16) % len(keys) for serial in range(SCATTER)]
    texts = [keys[index] for index in asked]
    known = [hashed(text) for text in texts]
    cells = [(index + 1) % 2 for index in asked]
    serial = 0

    def route(count: int) -> None:
        nonlocal serial
        find = table.find
        for _ in range(count):
            serial += 1
            index = serial % SCATTER
            if find(hashed(texts[index]) if hashes else known[index]) != cells[index]:
                raise NotMeasuredError("a key is in the wrong cell")

    return route


def simulated_s(count: int, *, seed: int) -> float:
    """Seconds of one core for a million simulated requests, by about so many of them."""
    gc.collect()
    length_s = count / SIMULATED.capacity_rps / SIMULATED_LOAD
    start = time.thread_time()
    played = play_ours(SIMULATED, SIMULATED_LOAD, seconds=length_s, seed=seed)
    return (time.thread_time() - start) / played.offered * 1_000_000


def measure(*, quick: bool, rounds: int = 0) -> Report:
    rounds = rounds or (3 if quick else 9)
    fixed = LimitPolicy(algorithm="fixed", initial=1)
    no_queue = CellPolicy(limit=fixed, queue=QueuePolicy(length_max=0))
    time_left_ns = milliseconds(1000)
    decisions = {f"admit and release, {name}": deciding(name) for name in ALGORITHMS}
    for name in ALGORITHMS:
        decisions[f"admit and release, {name}, tenants, deadlines"] = deciding(
            name, flows=TENANTS, time_left_ns=time_left_ns
        )
    decisions["admit and release, a million tenants, deadlines"] = deciding(
        "adaptive", flows=MANY, time_left_ns=time_left_ns
    )
    decisions["admit and release, observe mode"] = deciding("adaptive", mode=Mode.OBSERVE)
    for waiters in WAITERS:
        for mixed in (False, True):
            which = "4 classes, 1000 tenants" if mixed else "one flow"
            name = f"wait and release beside {waiters}, {which}"
            decisions[name] = waiting(waiters, mixed=mixed)
    cells = {
        "the cell of a hashed key, 100 000 pinned": routing(100_000, hashes=False),
        "the cell of a key, hash included, 100 000 pinned": routing(100_000, hashes=True),
    }
    others = {
        "the caller's loop alone": idling(),
        "refuse, limit = 0": refusing(
            CellPolicy(), RequestInfo(route_limit=0), RejectReason.ROUTE_LIMIT
        ),
        "refuse, full queue": refusing(no_queue, RequestInfo(), RejectReason.QUEUE_FULL),
        "arrive in overload, one flow": overloaded(tenants=False),
        "arrive in overload, 4 classes, 1000 tenants": overloaded(tenants=True),
    }
    count = 4000 if quick else 20_000
    values = in_process(decisions | cells | others, rounds=rounds, count=count)
    played = 5_000 if quick else 100_000
    million_s = [simulated_s(played, seed=number + 1) for number in range(rounds)]
    million = f"s for a million simulated requests, from {played}"
    return Report(
        title="CPU of the core in process, its caller's loop included",
        unit="us per operation, or as the line says",
        rows=[
            Row(
                name,
                Spread.of(values[name]),
                DECISION if name in decisions else ROUTING if name in cells else None,
            )
            for name in values
        ]
        + [Row(million, Spread.of(million_s), MILLION)],
    )
