"""The queue in its two states: the buffer of bursts, and the short one of overload."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable

import pytest

from shedproxy.core import (
    SHARE_WORDS,
    CellShare,
    Criticality,
    Instant,
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
    TicketState,
    milliseconds,
    refusal_holds,
    seconds,
)
from shedproxy.core.limit_loop import LimitLoop
from shedproxy.core.queues import PriorityQueue

CRITICAL = RequestInfo()
SHEDDABLE = RequestInfo(criticality=Criticality.SHEDDABLE)
SERVICE_NS = milliseconds(20)
NOW = Instant(0)


class Service:
    """A cell and the work behind it in virtual time; by default 20 ms, always."""

    def __init__(self, policy: Policy, draw: Callable[[], int] = lambda: SERVICE_NS) -> None:
        self.now = Instant(0)
        self.shedder = Shedder(policy, now=self.now)
        self.draw = draw
        self.ends: list[tuple[int, int, Permit]] = []
        self.refused: list[Rejected] = []
        self.waits_ns: list[int] = []
        self.done = 0
        self.on_end: Callable[[Permit], object] = lambda _: None
        """Called with each permit whose work is done."""

    @property
    def cell(self):
        return self.shedder.stats().cells[0]

    @property
    def level(self):
        return self.shedder._cells["default"]._level

    def take(self, decision: Permit | Rejected) -> None:
        if isinstance(decision, Rejected):
            assert refusal_holds(decision), decision
            self.refused.append(decision)
        else:
            self.waits_ns.append(decision.waited_ns)
            end_at = self.now + self.draw()
            heapq.heappush(self.ends, (end_at, decision.serial, decision))

    def run(self, until: int) -> None:
        """Let work end and waiters expire, in their order."""
        while True:
            tick_at = self.shedder.next_tick_at()
            end_at = self.ends[0][0] if self.ends else None
            due = min((at for at in (tick_at, end_at) if at is not None), default=until + 1)
            if due > until:
                break
            self.now = Instant(max(self.now, due))
            if due == end_at:
                permit = heapq.heappop(self.ends)[2]
                self.done += 1
                verdicts = self.shedder.release(permit, Outcome.SUCCESS, now=self.now)
            else:
                verdicts = self.shedder.tick(now=self.now)
            for verdict in verdicts:
                self.take(verdict.decision)
            if due == end_at:
                self.on_end(permit)
        self.now = Instant(until)

    def arrive(self, request: RequestInfo = CRITICAL, cohort: int = 0):
        decision = self.shedder.arrive(request, now=self.now, cohort=cohort)
        if not isinstance(decision, Ticket):
            self.take(decision)
        elif decision.evicted is not None:
            self.take(decision.evicted.decision)
        return decision

    def burst(self, count: int, request: RequestInfo = CRITICAL) -> list:
        """So many at once, each of a cohort of its own, the best first."""
        return [self.arrive(request, 4 * (255 - index)) for index in range(count)]

    def offer(self, rate_rps: float, until: int, rng: random.Random, *requests) -> int:
        """Poisson arrivals of random cohorts; how many there were."""
        arrivals = 0
        while True:
            at = self.now + int(rng.expovariate(rate_rps) * 1e9)
            self.run(min(at, until))
            if at > until:
                return arrivals
            self.arrive(rng.choice(requests or [CRITICAL]), rng.randrange(1024))
            arrivals += 1

    def reasons(self) -> Counter[RejectReason]:
        return Counter(rejected.reason for rejected in self.refused)


@pytest.fixture
def warm(fixed) -> Callable[..., Service]:
    """Two slots that have shown what they can do: 100 a second."""

    def make(mode: Mode = Mode.ENFORCE, **cell) -> Service:
        service = Service(fixed(2, mode=mode, **cell))
        for _ in range(50):
            service.burst(4)
            service.run(service.now + milliseconds(40))
        assert service.cell.capacity_rps == pytest.approx(100, rel=0.02)
        assert not service.refused
        return service

    return make


# --- a buffer of bursts ---


def test_a_burst_that_can_be_served_in_time_is_served_whole(warm) -> None:
    """37 waiters are three quarters of half a second: still no overload."""
    service = warm()
    decisions = service.burst(2 + 37)
    assert [type(one) for one in decisions] == [Permit] * 2 + [Ticket] * 37
    service.run(service.now + milliseconds(400))
    assert not service.refused
    assert max(service.waits_ns) == milliseconds(360) + SERVICE_NS
    assert service.cell.in_flight == 0


def arrive_every(service: Service, gap_ns: int, until: int) -> list:
    """At equal distances; what each was told."""
    decisions = []
    while service.now + gap_ns <= until:
        service.run(service.now + gap_ns)
        decisions.append(service.arrive())
    return decisions


def test_while_the_queue_swells_the_newest_are_served(warm) -> None:
    """At three times capacity: once it is no chance they wait for next to nothing, where first come
    first served would let each wait for longer than the one before, up to 110 ms."""
    service = warm()
    service.waits_ns.clear()
    arrive_every(service, milliseconds(10) // 3, service.now + milliseconds(170))
    assert not service.refused
    assert service.cell.queue_length > 20
    assert max(service.waits_ns) <= milliseconds(60)
    assert max(service.waits_ns[-8:]) <= SERVICE_NS // 4


def test_after_a_burst_the_oldest_come_first_and_all_are_served(warm) -> None:
    """Twice capacity for 300 ms: nobody waits longer than that, as first come first served."""
    service = warm()
    service.waits_ns.clear()
    decisions = arrive_every(service, milliseconds(5), service.now + milliseconds(300))
    service.run(service.now + seconds(1))
    assert not service.refused
    assert len(service.waits_ns) == len(decisions)
    assert max(service.waits_ns) <= milliseconds(300 + 100)


def test_who_is_passed_by_for_most_of_the_longest_wait_begins_overload(fixed) -> None:
    """At 1.5 times capacity the queue would be that long after 750 ms; those that wait are told."""
    service = Service(fixed(2), lambda: milliseconds(5))
    for _ in range(50):
        service.burst(4)
        service.run(service.now + milliseconds(10))
    began_at = service.now
    while not service.level.is_overloaded:
        service.run(service.now + milliseconds(5) // 3)
        service.arrive(cohort=1000)
    assert milliseconds(375) <= service.now - began_at <= milliseconds(560)
    assert service.reasons() == {RejectReason.QUEUE_FULL: 1}, "the one that begins it"
    service.run(service.now + milliseconds(5))
    assert service.refused[1:]
    assert service.cell.queue_length <= 13


def test_nobody_is_refused_for_old_waiters_while_demand_is_below_capacity(
    fixed, monkeypatch
) -> None:
    """Small bursts one after the other may leave the same waiter to the last each time."""
    monkeypatch.setattr(PriorityQueue, "passed_by_since", lambda _: Instant(0))
    service = Service(fixed(2), lambda: milliseconds(5))
    for _ in range(100):  # 0.94 of the capacity
        service.burst(30)
        service.run(service.now + milliseconds(80))
    assert service.now > seconds(5)
    assert not service.level.is_overloaded
    assert not service.refused


def test_who_has_waited_too_long_for_a_short_queue_is_told_when_overload_begins(fixed) -> None:
    """Whatever its rank: it would be served late, in the place of somebody fresh."""
    service = Service(fixed(2), lambda: milliseconds(5))
    for _ in range(50):
        service.burst(4)
        service.run(service.now + milliseconds(10))
    begun_at = service.now
    while not service.level.is_overloaded:
        service.run(service.now + milliseconds(5) // 3)
        is_first = service.now - begun_at < milliseconds(200)
        service.arrive(cohort=1000 if is_first else 10)
    service.waits_ns.clear()
    arrive_every(service, milliseconds(5) // 3, service.now + milliseconds(100))
    assert RejectReason.QUEUE_TIMEOUT in service.reasons()
    assert max(service.waits_ns) <= service.level.wait_max_ns[4]


def quick(fixed) -> Service:
    """Two slots that have shown what they can do: a thousand a second."""
    service = Service(fixed(2), lambda: milliseconds(2))
    for _ in range(200):
        service.burst(4)
        service.run(service.now + milliseconds(4))
    assert service.cell.capacity_rps == pytest.approx(1000, rel=0.02)
    return service


def test_demand_that_lasts_begins_overload_before_the_long_queue_is_full(fixed) -> None:
    """At 1.3 times capacity the oldest would wait for 375 ms after a second, and many with them;
    what is above capacity for three tenths of a second is no burst."""
    service = quick(fixed)
    began_at = service.now
    service.waits_ns.clear()
    while not service.level.is_overloaded:
        arrive_every(service, milliseconds(10) // 13, service.now + milliseconds(2))
    assert milliseconds(200) <= service.now - began_at <= milliseconds(500)
    assert max(service.waits_ns) <= milliseconds(100)


def test_bursts_of_a_tenth_of_a_second_begin_none_however_many(fixed) -> None:
    """Three times the usual load of 0.6: nobody is refused."""
    service = quick(fixed)
    for _ in range(20):
        arrive_every(service, milliseconds(5) // 9, service.now + milliseconds(100))
        arrive_every(service, milliseconds(5) // 3, service.now + milliseconds(400))
    assert not service.refused
    assert not service.level.is_overloaded


def test_soon_after_an_overload_a_queue_that_swells_is_the_next(fixed) -> None:
    """Later it is a burst again."""
    service = quick(fixed)

    def flood_until_overloaded() -> int:
        began_at = service.now
        while not service.level.is_overloaded:
            arrive_every(service, milliseconds(1) // 2, service.now + milliseconds(2))
        return service.now - began_at

    def calm_down(length_ns: int) -> None:
        arrive_every(service, milliseconds(4), service.now + length_ns)
        assert not service.level.is_overloaded

    first_ns = flood_until_overloaded()
    arrive_every(service, milliseconds(1) // 2, service.now + milliseconds(500))
    calm_down(seconds(2))
    assert flood_until_overloaded() < milliseconds(70) < first_ns / 3
    calm_down(seconds(10))
    assert flood_until_overloaded() > milliseconds(200)


def test_a_pause_of_the_service_begins_it_by_length_alone(warm) -> None:
    """Nobody is passed by while nothing is served."""
    service = warm()
    service.burst(2)
    for permit in service.ends:
        assert permit[0] > service.now
    service.ends.clear()
    arrive_every(service, milliseconds(20), service.now + milliseconds(480))
    assert service.cell.queue_length == 24
    assert not service.level.is_overloaded


def test_one_more_begins_overload_and_the_rest_is_told_at_the_next_end_of_work(warm) -> None:
    """Refusals were inevitable: better now than after half a second."""
    service = warm()
    service.burst(2 + 37)
    assert service.cell.shed_share == 0
    assert service.arrive().reason is RejectReason.QUEUE_FULL
    assert service.cell.shed_share > 0
    assert service.cell.queue_length == 37
    service.run(service.now + SERVICE_NS)
    bound = service.refused[-1].evidence["queue_length_max"]
    assert 2 < bound <= 13, "what keeps two slots busy"
    assert service.reasons() == {RejectReason.QUEUE_FULL: 1, RejectReason.EVICTED: 37 - bound}
    assert service.cell.queue_length == bound - 2


def test_who_is_told_then_is_of_the_lowest_ranks(warm) -> None:
    """With the short bound, how many there were, and that nobody in particular took the place."""
    service = warm()
    waiting = service.burst(2 + 37)[2:]
    service.arrive()
    service.refused.clear()
    service.run(service.now + SERVICE_NS)
    told = service.refused
    (bound,) = {one.evidence["queue_length_max"] for one in told}
    assert [one.evidence["rank"] for one in told] == [one.rank for one in waiting[: bound - 1 : -1]]
    assert [one.queue_length for one in told] == list(range(37, bound, -1))
    assert {one.evidence["better_rank"] for one in told} == {4096}
    assert {one.waited_ns for one in told} == {SERVICE_NS}


def test_a_queue_without_room_for_that_many_begins_overload_when_it_is_full(warm) -> None:
    """Its length is the shorter of the two bounds."""
    service = warm(queue=QueuePolicy(length_max=20))
    service.burst(2 + 20)
    assert service.cell.shed_share == 0
    service.arrive(cohort=1000)
    assert service.cell.shed_share > 0


def test_a_queue_of_one_begins_it_with_the_second_waiter(fixed) -> None:
    """And one of none never does: nobody waits."""
    for length_max, expected in ((1, True), (0, False)):
        service = Service(fixed(2, queue=QueuePolicy(length_max=length_max)))
        service.burst(2 + length_max)
        assert not service.level.is_overloaded
        service.arrive()
        assert service.level.is_overloaded is expected


def test_without_a_shed_level_the_queue_stays_long(warm) -> None:
    """Only a full queue and expired waiters are refused."""
    service = warm(queue=QueuePolicy(length_max=100), shed_level=ShedLevelPolicy(enabled=False))
    service.burst(2 + 100 + 7)
    assert service.reasons() == {RejectReason.QUEUE_FULL: 7}
    service.run(service.now + seconds(2))
    assert service.reasons() == {RejectReason.QUEUE_FULL: 7, RejectReason.QUEUE_TIMEOUT: 52}
    assert service.cell.shed_share == 0


def test_a_probe_of_the_limit_is_stopped_by_a_quarter_of_that_queue(warm, monkeypatch) -> None:
    """It is what fills the queue, and nobody is refused for it; the rest may begin overload. One
    that costs nothing is not what fills it."""
    service = warm()
    probing = [True]
    monkeypatch.setattr(LimitLoop, "is_costly", property(lambda _: bool(probing)))
    monkeypatch.setattr(LimitLoop, "stop_probing", lambda _, *, now: probing.clear())
    service.burst(2 + 10)
    assert probing
    service.arrive()
    assert not probing
    service.burst(26)
    assert service.cell.shed_share == 0
    service.arrive()
    assert service.cell.shed_share > 0


# --- what is compared in overload ---


@pytest.fixture
def overloaded(warm) -> Service:
    """At the short queue: 200 a second have been offered for a while."""
    service = warm()
    rng = random.Random(1)
    service.offer(200, service.now + seconds(5), rng)
    assert service.cell.pressure == 1.0
    service.refused.clear()
    return service


def test_slots_are_idle_from_the_end_of_work_that_nobody_follows_to_the_next_that_fills_them(
    overloaded,
) -> None:
    """Both of two have to be busy; one that is not, is enough."""
    demand = overloaded.level.demand
    assert overloaded.level.full_from == 2
    assert demand.starved_since == -1
    while len(overloaded.ends) > 1 or overloaded.cell.queue_length:
        overloaded.run(overloaded.ends[0][0])
    idle_since = overloaded.now
    assert demand.starved_since == idle_since
    overloaded.run(overloaded.ends[0][0])
    assert demand.starved_since == idle_since
    overloaded.arrive(cohort=1020)
    assert demand.starved_since == idle_since, "one is busy"
    overloaded.arrive(cohort=1020)
    assert demand.starved_since == -1


def test_slots_are_busy_by_what_the_service_is_seen_to_do_at_a_time(warm) -> None:
    """Of two in flight a half waits within the service: one and a half are busy, one is enough."""
    service = warm()
    assert service.level.full_from == 0, "that is asked in overload only"
    service.shedder._cells["default"]._limits.standing_share = 0.25
    service.burst(40)
    assert service.level.full_from == 1
    service.shedder._cells["default"]._level.apply(ShedLevelPolicy(enabled=False))
    assert service.level.full_from == 0


def test_slots_that_other_workers_have_are_busy_too(overloaded) -> None:
    """One of two is theirs: without work of ours one is idle, and with two of theirs none is."""
    words = memoryview(bytearray(8 * SHARE_WORDS * 2)).cast("q")
    ours, theirs = [
        CellShare(words, workers=2, own=own, parts=2, part=own, wake=lambda _: None)
        for own in range(2)
    ]
    overloaded.shedder.join("default", ours)
    theirs.put(1)
    overloaded.offer(200, overloaded.now + seconds(1), random.Random(1))
    overloaded.run(overloaded.now + seconds(1))
    assert overloaded.level.is_overloaded
    assert overloaded.cell.host_in_flight == 1
    demand = overloaded.level.demand
    assert demand.starved_since >= 0
    theirs.put(2)
    overloaded.now = Instant(overloaded.now + seconds(1))
    overloaded.shedder.tick(now=overloaded.now)
    assert demand.starved_since == -1


def test_a_full_short_queue_gives_up_its_lowest_rank_for_a_higher_one(overloaded) -> None:
    """Of the same level too, whoever came first."""
    overloaded.offer(120, overloaded.now + seconds(10), random.Random(1))
    assert overloaded.level.ahead_max[0] > 1, "it is longer where less is too much"
    waiting = []
    for cohort in range(960, 1000, 4):
        decision = overloaded.arrive(cohort=cohort)
        waiting += [decision] if isinstance(decision, Ticket) else []
    length = overloaded.cell.queue_length
    overloaded.refused.clear()
    decision = overloaded.arrive(cohort=1020)
    [evicted] = overloaded.refused
    assert decision.evicted.decision is evicted
    assert evicted.reason is RejectReason.EVICTED
    assert evicted.evidence["better_rank"] == decision.rank == 2815
    assert evicted.queue_length == evicted.evidence["queue_length_max"] == length
    assert overloaded.cell.queue_length == length
    assert evicted.evidence["rank"] < min(one.rank for one in waiting if one.state == 0)


def test_a_full_short_queue_refuses_a_rank_that_is_not_higher(overloaded) -> None:
    """The numbers are those of the level and better ones, and the lowest rank among them."""
    for _ in range(20):
        overloaded.arrive(cohort=1022)
    overloaded.refused.clear()
    length = overloaded.cell.queue_length
    overloaded.arrive(cohort=1022)
    [refused] = overloaded.refused
    assert refused.reason is RejectReason.QUEUE_FULL
    assert refused.numbers == (length, 2815, 2815)
    assert refused.queue_length == length


def test_a_call_of_a_task_under_way_takes_the_place_of_a_first_call(overloaded) -> None:
    """Of the lowest cohort too: what was done for its task shall not be in vain."""
    for cohort in range(940, 1020, 4):
        overloaded.arrive(cohort=cohort)
    overloaded.shedder._cells["default"]._progress.answer(0, overloaded.now)
    overloaded.refused.clear()
    decision = overloaded.arrive(cohort=0)
    assert isinstance(decision, Ticket)
    [evicted] = overloaded.refused
    assert evicted.reason is RejectReason.EVICTED
    assert evicted.evidence["rank"] < evicted.evidence["better_rank"] == 2560 + 256


def test_tasks_of_four_calls_that_are_begun_are_finished(warm) -> None:
    """A hundred tasks a second, of which a quarter can be served."""
    service, rng = warm(), random.Random(1)
    served, calls_done = Counter(), [0] * 1024

    def go_on(permit: Permit) -> None:
        calls_done[permit.cohort] += 1
        served[calls_done[permit.cohort]] += 1
        if calls_done[permit.cohort] < 4:
            service.arrive(cohort=permit.cohort)

    service.on_end = go_on
    end = service.now + seconds(15)
    while service.now < end:
        service.run(service.now + int(rng.expovariate(100) * 1e9))
        cohort = rng.randrange(1024)
        calls_done[cohort] = 0
        service.arrive(cohort=cohort)
    tasks = 25 * 15
    assert served[4] > 0.9 * tasks
    assert served[1] - served[4] < 0.1 * tasks


@pytest.mark.parametrize(
    ("leave_after_ms", "scatter", "is_newest"),
    [(35, 0.0, True), (50, 0.0, False), (50, 1.0, True), (1000, 1.0, False), (None, 1.0, False)],
)
def test_the_newest_are_served_where_clients_leave_before_the_short_queue_has_turned(
    overloaded, leave_after_ms, scatter, is_newest
) -> None:
    """Of 50 ms 30 are left to wait; a turn takes some 20, by chance twice that if work scatters:
    first come first served would answer those who are about to leave. Else it is the rule in
    overload."""
    cell = overloaded.shedder._cells["default"]
    cell._patience.bound_ns = leave_after_ms and milliseconds(leave_after_ms)
    overloaded.offer(200, overloaded.now + milliseconds(200), random.Random(2))
    cell._limits.scatter = scatter
    cell._move_level(overloaded.now)
    first, second = overloaded.arrive(cohort=1023), overloaded.arrive(cohort=1023)
    assert first.state is second.state is TicketState.WAITING
    while first.state is second.state:
        overloaded.run(overloaded.now + milliseconds(1))
    served = second if is_newest else first
    assert served.state is TicketState.ADMITTED


def test_a_class_within_capacity_has_the_long_queue_in_overload_too(overloaded) -> None:
    """A burst of the best class is no overload, though what comes below it is."""
    best = RequestInfo(criticality=Criticality.CRITICAL_PLUS)
    tickets = [overloaded.arrive(best) for _ in range(30)]
    assert all(isinstance(one, Ticket) for one in tickets)
    assert not overloaded.refused
    overloaded.arrive(cohort=0)
    assert len(overloaded.refused) == 1


def test_a_class_that_fills_its_long_queue_in_overload_is_overloaded_too(overloaded) -> None:
    """Rates know of it later only: so many of the best class are no burst."""
    best = RequestInfo(criticality=Criticality.CRITICAL_PLUS)
    decisions = [overloaded.arrive(best) for _ in range(60)]
    assert [type(one) for one in decisions[:36]] == [Ticket] * 36
    assert isinstance(decisions[-1], Rejected)
    overloaded.run(overloaded.now + SERVICE_NS)
    assert overloaded.cell.queue_length < 36, "who waits beyond the short queue is told"


def test_the_bound_of_the_whole_queue_names_itself(warm) -> None:
    """The victim is of a worse level: the level's own bound was not in the way."""
    service = warm(queue=QueuePolicy(length_max=5))
    low = service.burst(2 + 5, SHEDDABLE)
    high = service.arrive(CRITICAL)
    [evicted] = service.refused
    assert high.evicted.ticket is low[-1]
    assert evicted.numbers[:3] == (5, low[-1].rank, high.rank)
    assert evicted.queue_length == 5


def test_below_the_cut_nobody_is_refused_while_the_queue_runs_dry(overloaded) -> None:
    """Capacity is not left idle because a rate was measured a moment too late."""
    assert overloaded.cell.shed_rank > 2560
    while overloaded.cell.queue_length > 1:
        overloaded.run(overloaded.now + milliseconds(1))
    overloaded.refused.clear()
    assert isinstance(overloaded.arrive(cohort=0), Ticket)
    for _ in range(5):
        overloaded.arrive(cohort=0)
    assert RejectReason.SHED_LEVEL in overloaded.reasons()


def test_every_refusal_of_the_queue_keeps_overload_up(overloaded) -> None:
    """On arrival, by eviction, by time: the row of arrivals without one begins anew."""
    level = overloaded.level

    def is_kept_by(reason: RejectReason, act: Callable[[], object]) -> bool:
        overloaded.refused.clear()
        level.demand.arrivals += 50
        act()
        assert reason in overloaded.reasons()
        return level.demand.arrivals == level._refused_at

    for _ in range(20):
        overloaded.arrive(cohort=600)
    assert is_kept_by(RejectReason.EVICTED, lambda: overloaded.arrive(cohort=700))
    for _ in range(20):
        overloaded.arrive(cohort=1022)
    assert is_kept_by(RejectReason.QUEUE_FULL, lambda: overloaded.arrive(cohort=1022))
    overloaded.burst(36, RequestInfo(criticality=Criticality.CRITICAL_PLUS))
    later = overloaded.now + milliseconds(490)
    assert is_kept_by(RejectReason.QUEUE_TIMEOUT, lambda: overloaded.run(later))


def test_a_waiter_of_the_short_queue_leaves_while_it_would_still_be_in_time(overloaded) -> None:
    """After four times what that queue takes at capacity; one of a long queue stays as before."""
    ticket = overloaded.arrive(cohort=1022)
    assert isinstance(ticket, Ticket)
    wait_ns = ticket.expires_at - overloaded.now
    assert wait_ns == 4 * overloaded.level.turn_ns > 0
    overloaded.burst(36, RequestInfo(criticality=Criticality.CRITICAL_PLUS))
    overloaded.refused.clear()
    overloaded.run(Instant(ticket.expires_at - 1))
    assert ticket.state == 0
    overloaded.run(ticket.expires_at)
    assert overloaded.refused[-1].reason is RejectReason.QUEUE_TIMEOUT
    assert overloaded.refused[-1].numbers == (wait_ns, wait_ns)
    best = overloaded.arrive(RequestInfo(criticality=Criticality.CRITICAL_PLUS))
    assert best.expires_at - overloaded.now == milliseconds(500)


# --- how that works out ---


@pytest.mark.parametrize("load", [1.3, 2, 6])
@pytest.mark.parametrize("law", ["constant", "exponential"])
def test_in_overload_the_slots_stay_busy_and_waits_are_short(fixed, load, law) -> None:
    """98 % of what can be done is done, and hardly anybody waits until he is timed out."""
    rng = random.Random(7)
    draw = {
        "constant": lambda: SERVICE_NS,
        "exponential": lambda: int(rng.expovariate(1 / SERVICE_NS)),
    }[law]
    service = Service(fixed(4), draw)
    service.offer(load * 200, seconds(4), rng)
    done = service.done
    service.refused.clear()
    service.waits_ns.clear()
    arrivals = service.offer(load * 200, seconds(16), rng)
    assert (service.done - done) / 12 >= 0.98 * 200
    assert len(service.refused) == pytest.approx(arrivals * (1 - 1 / load), rel=0.2)
    assert service.reasons()[RejectReason.QUEUE_TIMEOUT] < 0.05 * len(service.refused)
    waits_ns = sorted(service.waits_ns)
    assert waits_ns[len(waits_ns) // 2] < milliseconds(160)


@pytest.mark.parametrize("load", [0.7, 0.9])
def test_below_capacity_nobody_is_refused(fixed, load) -> None:
    """Bursts of chance wait, for as long as it takes."""
    service = Service(fixed(4))
    arrivals = service.offer(load * 200, seconds(30), random.Random(2))
    assert not service.refused
    assert arrivals == pytest.approx(load * 6000, rel=0.03)


def test_the_lowest_ranks_go_first(fixed) -> None:
    """At 1.6 times capacity with a quarter of each class: the better half is served."""
    service = Service(fixed(4))
    requests = [RequestInfo(criticality=criticality) for criticality in Criticality]
    rng = random.Random(5)
    service.offer(320, seconds(5), rng, *requests)
    service.refused.clear()
    arrivals = service.offer(320, seconds(20), rng, *requests)
    refused = Counter(one.request.criticality for one in service.refused)
    assert refused[Criticality.SHEDDABLE] / arrivals == pytest.approx(0.25, abs=0.01)
    assert refused.total() / arrivals == pytest.approx(1 - 3000 / arrivals, abs=0.01)
    assert refused[Criticality.CRITICAL] == refused[Criticality.CRITICAL_PLUS] == 0


def test_overload_ends_soon_after_demand_fell(overloaded) -> None:
    """64 arrivals without a refusal; then a burst is buffered again as before."""
    rng = random.Random(3)
    overloaded.offer(60, overloaded.now + seconds(4), rng)
    overloaded.run(overloaded.now + seconds(1))
    overloaded.refused.clear()
    overloaded.burst(2 + 30)
    overloaded.run(overloaded.now + seconds(1))
    assert not overloaded.refused
    assert overloaded.cell.shed_share == 0


def test_a_cell_that_nobody_asks_any_more_is_idle(overloaded) -> None:
    """Even if its overload was not seen to end."""
    overloaded.run(overloaded.now + seconds(1))
    assert overloaded.cell.in_flight == 0
    assert overloaded.cell.pressure == 0.0


def test_a_flood_of_one_tenant_keeps_the_cell_in_overload(fixed) -> None:
    """Refused for their share, its requests are demand that is not met, and end nothing."""
    rng = random.Random(7)
    service = Service(fixed(8), lambda: int(rng.expovariate(1 / SERVICE_NS)))
    flows = [1] * 10 + [2, 3, 4]

    def flood(until: int) -> int:
        longest = 0
        while service.now < until:
            service.run(service.now + int(rng.expovariate(650) * 1e9))
            decision = service.shedder.arrive(
                CRITICAL,
                now=service.now,
                flow_hash=rng.choice(flows) * 7_777_777,
                cohort=rng.randrange(1024),
            )
            if not isinstance(decision, Ticket):
                service.take(decision)
            elif decision.evicted is not None:
                service.take(decision.evicted.decision)
            longest = max(longest, service.cell.queue_length)
        return longest

    assert flood(seconds(2)) > 80, "it is long before overload begins"
    assert service.level.is_overloaded
    service.refused.clear()
    assert flood(seconds(12)) < 60
    assert service.reasons().most_common(1)[0][0] is RejectReason.FAIR_SHARE


def test_who_asks_for_long_work_may_wait_for_some_of_it(fixed) -> None:
    """Work of a second: a queue of half a second would be none. Four times that is allowed."""
    service = Service(fixed(8), lambda: seconds(1))
    for _ in range(20):
        service.burst(8)
        service.run(service.now + seconds(1))
    service.burst(8)
    ticket = service.arrive()
    assert isinstance(ticket, Ticket)
    assert seconds(4) <= ticket.expires_at - service.now < seconds(5)


# --- capacity, and observe mode ---


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.OBSERVE])
def test_without_a_queue_nobody_waits_and_no_capacity_is_measured(fixed, mode) -> None:
    """The refused do not wait: idle time after them would count as a slow service's."""
    service = Service(fixed(2, mode=mode, queue=QueuePolicy(length_max=0)))
    for _ in range(50):
        decisions = service.burst(3)
        service.run(service.now + milliseconds(200))
        refused = decisions[2] if mode is Mode.ENFORCE else decisions[2].would_reject
        assert refused.reason is RejectReason.QUEUE_FULL
    assert service.cell.capacity_rps == 0


def test_observe_mode_begins_overload_at_the_same_length(warm) -> None:
    """What runs above the limit stands for the waiters."""
    service = warm(mode=Mode.OBSERVE)
    service.burst(2 + 37)
    assert service.cell.shed_share == 0
    service.arrive(cohort=1000)
    assert service.cell.shed_share > 0


def test_observe_mode_begins_overload_at_the_length_of_a_short_queue_too(warm) -> None:
    """Where enforce mode would."""
    service = warm(mode=Mode.OBSERVE, queue=QueuePolicy(length_max=20))
    service.burst(2 + 20)
    assert service.cell.shed_share == 0
    service.arrive(cohort=1000)
    assert service.cell.shed_share > 0


# --- slots between tenants ---


def test_a_tenant_with_its_share_of_slots_waits_while_others_do(fixed) -> None:
    """Its requests take long, so that equal places in the queue would fill all slots with them."""
    shedder = Shedder(fixed(4), now=NOW)
    slow, quick = 7_777_777, 9_999_999
    held = [shedder.arrive(CRITICAL, now=NOW, flow_hash=slow) for _ in range(4)]
    waiting = [shedder.arrive(CRITICAL, now=NOW, flow_hash=slow) for _ in range(3)]
    waiting += [shedder.arrive(CRITICAL, now=NOW, flow_hash=quick) for _ in range(2)]
    admitted = []
    for permit in held:
        verdicts = shedder.release(permit, Outcome.SUCCESS, now=NOW)
        admitted += [verdict.ticket.flow_hash for verdict in verdicts]
    assert admitted == [quick, quick, slow, slow]
    assert waiting[2].state is TicketState.WAITING


@pytest.mark.parametrize("is_hasty", [False, True])
def test_a_tenant_over_its_share_gives_up_its_last_in_line(fixed, is_hasty) -> None:
    """Where the newest are served, as clients leave soon, that is the oldest."""
    queue, level = QueuePolicy(length_max=4, hand=1), ShedLevelPolicy(enabled=False)
    shedder = Shedder(fixed(1, queue=queue, shed_level=level), now=NOW)
    shedder._cells["default"]._is_hasty = is_hasty
    shedder.arrive(CRITICAL, now=NOW, flow_hash=7_777_777)
    theirs = [shedder.arrive(CRITICAL, now=NOW, flow_hash=7_777_777) for _ in range(4)]
    ticket = shedder.arrive(CRITICAL, now=NOW, flow_hash=9_999_999)
    assert isinstance(ticket, Ticket)
    assert ticket.evicted is not None
    assert ticket.evicted.ticket is theirs[0 if is_hasty else -1]


def test_no_slot_stays_free_for_fairness(fixed) -> None:
    """Where nobody else waits, a tenant may have them all."""
    shedder = Shedder(fixed(2), now=NOW)
    held = [shedder.arrive(CRITICAL, now=NOW, flow_hash=flow) for flow in (5, 6)]
    for _ in range(3):
        shedder.arrive(CRITICAL, now=NOW, flow_hash=5)
    for permit in held:
        assert len(shedder.release(permit, Outcome.SUCCESS, now=NOW)) == 1
    assert shedder.stats().cells[0].in_flight == 2
