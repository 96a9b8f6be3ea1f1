"""A calibration in virtual time: the very orders of the plan, played at a station of known truth.

It is how the method is judged: of a thousand calibrations of a service whose capacity is known, how
many intervals hold it? The station is `workload.StationSchedule`, exact to the nanosecond.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shedproxy.calibration.measurement import Plan
from shedproxy.calibration.orders import Order, Played, Sent
from shedproxy.calibration.run import Measured, run_plan
from shedproxy.core import Criticality, Instant, Nanos, seconds
from shedproxy.workload import RandomSource, StationSchedule, poisson_arrivals

__all__ = ["DROPPED_MAX", "StationPlayer", "rehearse"]

DROPPED_MAX = 50
"""Arrivals beyond the in-flight cap that end a step."""
_GAP_NS = 200_000


class StationPlayer:
    """Plays orders at stations that it is given, one fresh station an order."""

    def __init__(
        self,
        station: Callable[[], StationSchedule],
        *,
        rng: Callable[[int], RandomSource],
        deadline_ns: Nanos,
        turnaround_ns: int = _GAP_NS,
    ) -> None:
        """`rng` makes chance from an order's seed; `turnaround_ns` is a closed client's own."""
        self._station = station
        self._rng = rng
        self._deadline_ns = deadline_ns
        self._turnaround_ns = turnaround_ns
        self.now = Instant(0)

    def play(self, order: Order) -> Played:
        """One order, from idle to idle again."""
        started_at, stopped_at = self.now, Instant(self.now + order.length_ns)
        station = self._station()
        rows: list[Sent] = []
        if order.planned_rps is None:
            planned, dropped = self._play_closed(order, station, rows, stopped_at), 0
        else:
            planned, dropped = self._play_open(order, station, rows)
        ended_at = max((row.done_at for row in rows), default=stopped_at)
        is_ended_early = dropped > DROPPED_MAX
        if is_ended_early:
            stopped_at = max(row.intended_at for row in rows)
        self.now = Instant(max(ended_at, stopped_at) + seconds(0.05))
        return Played(
            rows=rows,
            started_at=started_at,
            stopped_at=stopped_at,
            ended_at=self.now,
            planned_count=planned,
            not_sent_count=dropped,
            ended_early="arrivals were dropped at the cap" if is_ended_early else "",
        )

    def _play_closed(
        self, order: Order, station: StationSchedule, rows: list[Sent], stopped_at: Instant
    ) -> int:
        assert order.concurrency is not None
        sent: dict[int, Instant] = {}
        due = deque([self.now] * order.concurrency)
        while due or sent:
            leaves_at = station.next_departure_at
            # Who leaves at an instant has left before others come at it.
            if due and (leaves_at is None or due[0] < leaves_at):
                now = due.popleft()
                if now < stopped_at:
                    sent[station.arrive(now)] = now
                continue
            assert leaves_at is not None
            for job, departed_at, _ in station.depart(leaves_at):
                rows.append(self._row(sent.pop(job), departed_at))
                due.append(Instant(departed_at + self._turnaround_ns))
        return len(rows)

    def _play_open(
        self, order: Order, station: StationSchedule, rows: list[Sent]
    ) -> tuple[int, int]:
        assert order.planned_rps is not None
        sent: dict[int, Instant] = {}
        planned = dropped = 0
        offsets = poisson_arrivals(
            rate_rps=order.planned_rps, duration_ns=order.length_ns, rng=self._rng(order.seed)
        )

        def settle(until: Instant) -> None:
            for job, departed_at, _ in station.depart(until):
                rows.append(self._row(sent.pop(job), departed_at))

        for offset in offsets:
            now = Instant(self.now + offset)
            planned += 1
            settle(now)
            if len(sent) < order.in_flight_max:
                sent[station.arrive(now)] = now
                continue
            dropped += 1
            rows.append(Sent(now, now, now, 0))
            if dropped > DROPPED_MAX:
                break
        while sent:
            leaves_at = station.next_departure_at
            assert leaves_at is not None
            settle(leaves_at)
        return planned, dropped

    def _row(self, sent_at: Instant, departed_at: Instant) -> Sent:
        if departed_at - sent_at > self._deadline_ns:
            return Sent(sent_at, sent_at, Instant(sent_at + self._deadline_ns), 0)
        return Sent(sent_at, sent_at, departed_at, 200, 0, Criticality.CRITICAL)


def rehearse(plan: Plan, player: StationPlayer, rng: RandomSource) -> Measured:
    """All steps of a plan in virtual time."""
    measured = Measured()
    run_plan(plan, player.play, measured, rng=rng)
    return measured
