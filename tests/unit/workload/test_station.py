"""A station's departures are those of a queue that is played tick by tick, and of the textbook."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import Instant, milliseconds
from shedproxy.workload import StationSchedule, poisson_arrivals
from shedproxy.workload.laws import service_law

FIRST_AT = 1_000_000


def listed(lengths: Sequence[int]):
    """A law that gives these, one by one."""
    return iter(lengths).__next__


@dataclass
class Case:
    """Arrivals and cancellations in ticks after the first arrival."""

    slots: int
    lengths: list[int]
    gaps: list[int]
    cancels: dict[int, int] = field(default_factory=dict)
    """Job -> ticks after its arrival."""
    pause_every: int = 0
    pause_for: int = 0
    steps: list[tuple[int, float]] = field(default_factory=list)

    @property
    def arrivals(self) -> list[int]:
        times = [0]
        for gap in self.gaps:
            times.append(times[-1] + gap)
        return times

    def calls(self) -> list[tuple[int, int, bool]]:
        """(tick, job, whether it is a cancellation), in the order in which they happen."""
        arrived = [(tick, job, False) for job, tick in enumerate(self.arrivals)]
        left = [
            (self.arrivals[job] + after, job, True)
            for job, after in self.cancels.items()
            if job < len(self.arrivals)
        ]
        return sorted(arrived + left, key=lambda call: (call[0], call[2], call[1]))

    def schedule(self) -> StationSchedule:
        return StationSchedule(
            slots=self.slots,
            law=listed(self.lengths),
            steps=self.steps,
            pause_every_ns=self.pause_every,
            pause_for_ns=self.pause_for,
        )


@st.composite
def cases(draw) -> Case:
    count = draw(st.integers(1, 12))
    numbers = st.integers(0, 12)
    pause_for = draw(st.integers(0, 4))
    return Case(
        slots=draw(st.integers(1, 3)),
        lengths=draw(st.lists(st.integers(1, 9), min_size=count, max_size=count)),
        gaps=draw(st.lists(st.integers(0, 5), min_size=count - 1, max_size=count - 1)),
        cancels=draw(st.dictionaries(st.integers(0, count - 1), numbers, max_size=5)),
        pause_every=pause_for + draw(st.integers(1, 7)),
        pause_for=pause_for,
        steps=draw(st.lists(st.tuples(numbers, st.sampled_from([2.0, 3.0])), max_size=2)),
    )


def tick_by_tick(case: Case) -> tuple[list[tuple[int, int]], list[int], int]:
    """The slow way: (job, tick of departure), slot ticks of work up to each tick, and ticks in
    which somebody waited.
    """
    todo, queue, rest = case.calls(), [], {}
    departed, busy, waited, tick = [], [0], 0, 0
    while todo or queue or rest:
        for job in sorted(job for job, left in rest.items() if left == 0):
            departed.append((job, tick))
            del rest[job]
        while todo and todo[0][0] == tick:
            _, job, is_cancel = todo.pop(0)
            if not is_cancel:
                queue.append(job)
            elif job in queue:
                queue.remove(job)
            else:
                rest.pop(job, None)
        while queue and len(rest) < case.slots:
            rest[queue.pop(0)] = None
        stands_still = tick >= case.pause_every and tick % case.pause_every < case.pause_for
        if not stands_still:
            factor = next((f for at, f in sorted(case.steps, reverse=True) if at <= tick), 1.0)
            for job, left in rest.items():
                rest[job] = (int(case.lengths[job] * factor) if left is None else left) - 1
        busy.append(busy[-1] + (0 if stands_still else len(rest)))
        waited += bool(queue) and not stands_still
        tick += 1
    return departed, busy, waited


def play(case: Case, station: StationSchedule) -> None:
    for tick, job, is_cancel in case.calls():
        if is_cancel:
            station.cancel(job, Instant(FIRST_AT + tick))
        else:
            assert station.arrive(Instant(FIRST_AT + tick)) == job


@given(case=cases())
def test_departures_and_busy_time_are_those_of_the_slow_way(case: Case) -> None:
    """Slots, queue, cancellations, pauses and steps, in any mixture."""
    departed, busy, waited = tick_by_tick(case)
    station = case.schedule()
    play(case, station)
    end = FIRST_AT + len(busy) + 50
    seen = [(job, at - FIRST_AT) for job, at, _ in station.depart(Instant(end))]
    assert sorted(seen) == sorted(departed)
    assert [at for _, at in seen] == sorted(at for _, at in seen)
    assert station.busy_ns(Instant(end)) == busy[-1]
    assert station.waited_ns(Instant(end)) == waited
    assert station.departure_count == len(departed)
    assert (station.in_service_count, station.waiting_count) == (0, 0)


@given(case=cases(), at=st.integers(0, 80))
def test_busy_time_is_known_at_every_instant(case: Case, at: int) -> None:
    """In the middle of work too; and it is never more than there was capacity for."""
    case.cancels = {}
    departed, busy, _ = tick_by_tick(case)
    station = case.schedule()
    for tick in case.arrivals:
        if tick <= at:
            station.arrive(Instant(FIRST_AT + tick))
    until = Instant(FIRST_AT + at)
    assert station.busy_ns(until) == busy[min(at, len(busy) - 1)]
    assert station.busy_ns(until) <= station.capacity_ns(until) <= case.slots * at
    assert station.elapsed_ns(until) == at
    assert len(station.depart(until)) == sum(left <= at for _, left in departed)


@given(case=cases(), asks=st.lists(st.integers(0, 100), max_size=20))
def test_when_somebody_looks_changes_nothing(case: Case, asks: list[int]) -> None:
    """A driver that asks early, late or never finds the same departures."""
    case.cancels = {}
    unwatched, watched = case.schedule(), case.schedule()
    seen = []
    asked = sorted(asks)
    for tick in case.arrivals:
        while asked and asked[0] <= tick:
            seen += watched.depart(Instant(FIRST_AT + asked.pop(0)))
        watched.arrive(Instant(FIRST_AT + tick))
    play(case, unwatched)
    end = Instant(FIRST_AT + 10_000)
    assert seen + watched.depart(end) == unwatched.depart(end)


@given(case=cases())
def test_the_next_departure_is_announced(case: Case) -> None:
    """Nothing leaves before it, and something leaves at it."""
    station = case.schedule()
    play(case, station)
    now = Instant(FIRST_AT + case.calls()[-1][0])
    station.depart(now)
    while (at := station.next_departure_at) is not None:
        assert at > now
        assert station.depart(Instant(at - 1)) == []
        assert {departure.departed_at for departure in station.depart(at)} == {at}
        now = at
    assert (station.in_service_count, station.waiting_count) == (0, 0)


def test_cancelling_frees_the_slot_at_that_instant() -> None:
    """30 of 100 ns done, the waiting one begins then; what has left cannot be cancelled."""
    station = StationSchedule(slots=1, law=listed([100, 10, 10]))
    first, second, third = (station.arrive(Instant(FIRST_AT)) for _ in range(3))
    assert station.cancel(third, Instant(FIRST_AT + 20)) == 0
    assert station.cancel(first, Instant(FIRST_AT + 30)) == 30
    assert station.next_departure_at == FIRST_AT + 40
    assert station.cancel(second, Instant(FIRST_AT + 40)) is None
    assert station.depart(Instant(FIRST_AT + 40)) == [(second, FIRST_AT + 40, 10)]
    assert station.busy_ns(Instant(FIRST_AT + 99)) == 40
    assert station.waited_ns(Instant(FIRST_AT + 99)) == 30


def test_how_many_waited_at_most_and_for_how_long_is_known_while_they_wait() -> None:
    station = StationSchedule(slots=1, law=listed([10, 10, 10]))
    for _ in range(3):
        station.arrive(Instant(FIRST_AT))
    assert (station.most_waiting_count, station.waited_ns(Instant(FIRST_AT + 7))) == (2, 7)
    assert station.waited_ns(Instant(FIRST_AT + 99)) == 20
    assert station.most_waiting_count == 2


def test_before_the_first_arrival_there_is_no_time() -> None:
    """Neither busy nor idle."""
    station = StationSchedule(slots=2, law=listed([]))
    now = Instant(FIRST_AT)
    assert station.next_departure_at is None
    assert (station.elapsed_ns(now), station.capacity_ns(now), station.busy_ns(now)) == (0, 0, 0)
    assert station.depart(now) == []


def erlang_c_wait(*, slots: int, load: float, service: float) -> float:
    """The mean wait of M/M/c (Erlang 1917), `load` in Erlangs."""
    blocked = 1.0
    for count in range(1, slots + 1):
        blocked = load * blocked / (count + load * blocked)
    waits = blocked / (1 - load / slots * (1 - blocked))
    return waits * service / (slots - load)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (4, 2.8), (10, 6.0)])
def test_the_mean_wait_is_erlangs(slots: int, load: float) -> None:
    """Poisson arrivals, exponential service: within 5 % over 100 000 jobs, at their load."""
    mean_ns = milliseconds(20)
    law = service_law("exponential", mean_ns=mean_ns, rng=random.Random(1))
    station = StationSchedule(slots=slots, law=law)
    duration_ns = int(100_000 * mean_ns / load)
    arrivals = list(
        poisson_arrivals(
            rate_rps=load / mean_ns * 1e9, duration_ns=duration_ns, rng=random.Random(2)
        )
    )
    for at in arrivals:
        station.arrive(Instant(at))
    end = Instant(2 * duration_ns)
    departures = station.depart(end)
    worked_ns = sum(departure.service_ns for departure in departures)
    spent_ns = sum(departed_at - arrivals[job] for job, departed_at, _ in departures)
    expected_ns = erlang_c_wait(
        slots=slots, load=worked_ns / duration_ns, service=worked_ns / len(arrivals)
    )
    assert (spent_ns - worked_ns) / len(arrivals) == pytest.approx(expected_ns, rel=0.05)
    assert worked_ns / duration_ns == pytest.approx(load, rel=0.02)
    assert station.busy_ns(end) == worked_ns


def test_a_long_queue_costs_little_per_cancellation() -> None:
    """Half of 40 000 waiting jobs leave, the others are worked on as if they had been alone."""
    station = StationSchedule(slots=2, law=lambda: 10)
    jobs = [station.arrive(Instant(FIRST_AT)) for _ in range(40_000)]
    for job in jobs[2::2]:
        assert station.cancel(job, Instant(FIRST_AT + 1)) == 0
    departures = station.depart(Instant(FIRST_AT + 10**6))
    assert [job for job, _, _ in departures] == [0, *jobs[1::2]]
    assert departures[-1].departed_at == FIRST_AT + 10 * math.ceil(20_001 / 2)


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 0},
        {"slots": 1, "pause_every_ns": 5, "pause_for_ns": 5},
        {"slots": 1, "pause_every_ns": 5, "pause_for_ns": -1},
        {"slots": 1, "steps": [(0, 0.0)]},
    ],
)
def test_a_station_that_cannot_work_is_refused(options) -> None:
    """When it is made."""
    with pytest.raises(ValueError, match=r"slot|pause|factor"):
        StationSchedule(law=lambda: 1, **options)
