"""A station of queueing theory: slots, one queue, first come first served, exact to the nanosecond.

Departures follow from arrivals alone: work starts at the instant a slot became free, not when
somebody asked what time it is. So a driver whose timers are late delivers late, and nothing more.

Internally everything happens in *working time*, which stands still during pauses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import NamedTuple

from shedproxy.core import Instant, Nanos
from shedproxy.workload.laws import ServiceLaw

__all__ = ["Departure", "StationSchedule"]


class Departure(NamedTuple):
    """A job whose work is done."""

    job: int
    departed_at: Instant
    service_ns: Nanos
    """Slot time that it took, pauses left out."""


class _Pauses:
    """Everything stands still from each multiple of `every_ns` on, for `for_ns` (0: never)."""

    __slots__ = ("_every_ns", "_for_ns")

    def __init__(self, every_ns: int, for_ns: int) -> None:
        if for_ns < 0 or (for_ns and every_ns <= for_ns):
            raise ValueError("a pause is shorter than the time from one to the next")
        self._every_ns = every_ns
        self._for_ns = for_ns

    def working_ns(self, elapsed_ns: int) -> int:
        """Working time within the first `elapsed_ns`."""
        if not self._for_ns or elapsed_ns < self._every_ns:
            return elapsed_ns
        count, into_ns = divmod(elapsed_ns, self._every_ns)
        return elapsed_ns - (count - 1) * self._for_ns - min(into_ns, self._for_ns)

    def elapsed_ns(self, working_ns: int) -> int:
        """The earliest time at which so much of it has been working time."""
        if not self._for_ns or working_ns <= self._every_ns:
            return working_ns
        count = (working_ns - self._every_ns - 1) // (self._every_ns - self._for_ns) + 1
        return working_ns + count * self._for_ns


class StationSchedule:
    """`slots` at a time, the others in order of arrival; time begins with the first arrival.

    `now` and `until` never fall from one call to the next. Each arrival draws its length from
    `law`; work that starts later than (offset in ns, factor) of `steps` takes `factor` times what
    was drawn. Each `pause_every_ns` all work stands still for `pause_for_ns`.

    Raises:
        ValueError: no slot, a factor not above 0, or pauses without time between them.
    """

    __slots__ = (
        "_began",
        "_busy_ns",
        "_departed",
        "_factors",
        "_first_at",
        "_law",
        "_leaving",
        "_pauses",
        "_steps",
        "_waited_ns",
        "_waiting",
        "_waiting_since",
        "arrival_count",
        "departure_count",
        "most_waiting_count",
        "slots",
    )

    def __init__(
        self,
        *,
        slots: int,
        law: ServiceLaw,
        steps: Iterable[tuple[int, float]] = (),
        pause_every_ns: int = 0,
        pause_for_ns: int = 0,
    ) -> None:
        if slots < 1:
            raise ValueError("a station needs a slot")
        self._pauses = _Pauses(pause_every_ns, pause_for_ns)
        ordered = sorted(steps)
        self._steps = [self._pauses.working_ns(offset_ns) for offset_ns, _ in ordered]
        self._factors = [1.0, *(factor for _, factor in ordered)]
        if min(self._factors) <= 0:
            raise ValueError("a factor on service times is above 0")
        self._law = law
        self._first_at: Instant | None = None
        self._waiting: OrderedDict[int, int] = OrderedDict()
        self._began: dict[int, int] = {}
        # (working time of departure, job); a job that is not in `_began` was cancelled.
        self._leaving: list[tuple[int, int]] = []
        self._departed: list[Departure] = []
        self._busy_ns = 0
        self._waited_ns = 0
        self._waiting_since = 0
        """Working time at which the queue was last empty, while it is not."""
        self.most_waiting_count = 0
        """The longest that the queue ever was."""
        self.slots = slots
        self.arrival_count = 0
        self.departure_count = 0
        """Up to the latest instant it was told of."""

    @property
    def in_service_count(self) -> int:
        """Jobs that hold a slot."""
        return len(self._began)

    @property
    def waiting_count(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def next_departure_at(self) -> Instant | None:
        """When `depart` will next have something, as things stand."""
        leaving = self._leaving
        while leaving and leaving[0][1] not in self._began:
            heappop(leaving)
        return self._instant(leaving[0][0]) if leaving else None

    def arrive(self, now: Instant) -> int:
        """A job comes in, draws its length and takes a slot or queues. Returns its number."""
        if self._first_at is None:
            self._first_at = now
        working_at = self._settle(now)
        job = self.arrival_count
        self.arrival_count += 1
        length_ns = self._law()
        if len(self._began) < self.slots:
            self._begin(job, length_ns, working_at)
        else:
            if not self._waiting:
                self._waiting_since = working_at
            self._waiting[job] = length_ns
            self.most_waiting_count = max(self.most_waiting_count, len(self._waiting))
        return job

    def depart(self, now: Instant) -> list[Departure]:
        """Jobs that have left by `now` and were not returned before, in order of departure."""
        self._settle(now)
        departed, self._departed = self._departed, []
        return departed

    def cancel(self, job: int, now: Instant) -> Nanos | None:
        """The job is dropped and its slot goes to the next in the queue.

        Returns the slot time that it had; None if it has left already, which stands.
        """
        working_at = self._settle(now)
        if self._waiting.pop(job, None) is not None:
            self._on_queue_shorter(working_at)
            return Nanos(0)
        began_at = self._began.pop(job, None)
        if began_at is None:
            return None
        self._busy_ns += working_at - began_at
        self._begin_next(working_at)
        return Nanos(working_at - began_at)

    def busy_ns(self, until: Instant) -> Nanos:
        """Slot time spent on jobs, whoever waited for them; a pause is no work."""
        working_at = self._settle(until)
        begun_ns = sum(working_at - began_at for began_at in self._began.values())
        return Nanos(self._busy_ns + begun_ns)

    def waited_ns(self, until: Instant) -> Nanos:
        """Time, pauses left out, in which somebody waited: more were here than there are slots."""
        working_at = self._settle(until)
        begun_ns = working_at - self._waiting_since if self._waiting else 0
        return Nanos(self._waited_ns + begun_ns)

    def capacity_ns(self, until: Instant) -> Nanos:
        """Slot time there was since the first arrival, pauses left out: the bound of `busy_ns`."""
        return Nanos(self.slots * self._settle(until))

    def elapsed_ns(self, until: Instant) -> Nanos:
        """Time since the first arrival; 0 before it."""
        return Nanos(0 if self._first_at is None else until - self._first_at)

    def _settle(self, now: Instant) -> int:
        """Let leave what leaves by `now`, each slot to the next job at that instant."""
        working_at = self._pauses.working_ns(self.elapsed_ns(now))
        leaving = self._leaving
        while leaving and leaving[0][0] <= working_at:
            ended_at, job = heappop(leaving)
            began_at = self._began.pop(job, None)
            if began_at is None:
                continue
            service_ns = Nanos(ended_at - began_at)
            self._busy_ns += service_ns
            self.departure_count += 1
            self._departed.append(Departure(job, self._instant(ended_at), service_ns))
            self._begin_next(ended_at)
        return working_at

    def _begin_next(self, working_at: int) -> None:
        if self._waiting:
            job, length_ns = self._waiting.popitem(last=False)
            self._on_queue_shorter(working_at)
            self._begin(job, length_ns, working_at)

    def _on_queue_shorter(self, working_at: int) -> None:
        if not self._waiting:
            self._waited_ns += working_at - self._waiting_since

    def _begin(self, job: int, length_ns: int, working_at: int) -> None:
        factor = self._factors[bisect_right(self._steps, working_at)]
        self._began[job] = working_at
        heappush(self._leaving, (working_at + max(1, int(length_ns * factor)), job))

    def _instant(self, working_at: int) -> Instant:
        assert self._first_at is not None
        return Instant(self._first_at + self._pauses.elapsed_ns(working_at))
