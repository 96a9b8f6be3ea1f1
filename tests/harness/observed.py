"""Points that a proxy in front of a station of known truth would have seen."""

from __future__ import annotations

import math
import random

from shedproxy.core import Instant, milliseconds, seconds
from shedproxy.observability.load_points import LoadPoint
from shedproxy.workload import StationSchedule, poisson_arrivals
from shedproxy.workload.laws import service_law

__all__ = ["seen"]

_POINT_S = 6.0


def seen(
    slots: int, service_ms: float, law: str, *, upto: float, count: int = 60
) -> list[LoadPoint]:
    """`count` points of a load that goes up to `upto` of the capacity and back, three times."""
    rng = random.Random(1)
    points = []
    for n in range(count):
        share = 0.15 + (upto - 0.15) * (0.5 - 0.5 * math.cos(6 * math.pi * n / count))
        station = StationSchedule(
            slots=slots, law=service_law(law, mean_ns=milliseconds(service_ms), rng=rng)
        )
        came: dict[int, int] = {}
        took = ended = 0
        arrivals = poisson_arrivals(
            rate_rps=share * slots * 1000 / service_ms, duration_ns=seconds(_POINT_S), rng=rng
        )
        for offset in arrivals:
            for job, left_at, _ in station.depart(Instant(offset)):
                took += left_at - came.pop(job)
                ended += 1
            came[station.arrive(Instant(offset))] = offset
        points.append(
            LoadPoint(
                at_s=1e6 + n * _POINT_S,
                length_s=_POINT_S,
                ended=ended,
                failed=0,
                waited=0,
                refused=0,
                in_flight=took / seconds(_POINT_S),
                latency_ms=took / ended / 1e6,
                upstreams=1,
            )
        )
    return points
