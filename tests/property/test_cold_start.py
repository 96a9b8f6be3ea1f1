"""A service that is well, and a proxy that sees it for the first time: nobody is refused."""

from __future__ import annotations

import heapq
import random
from itertools import count

import pytest

from shedproxy.core import (
    CellPolicy,
    Instant,
    Outcome,
    Permit,
    Policy,
    Rejected,
    RequestInfo,
    Shedder,
    Ticket,
    milliseconds,
    seconds,
)

REQUEST = RequestInfo()


def refused_at_first(*, slots: int, service_ms: float, load: float, seed: int) -> tuple[int, int]:
    """(arrivals, refused) of the first two seconds. Poisson arrivals, constant service times."""
    rng, order = random.Random(seed), count()
    shedder = Shedder(Policy(cells=(CellPolicy(name="default"),)), now=Instant(0))
    service_ns, rate_rps = milliseconds(service_ms), load * slots * 1000 / service_ms
    events: list[tuple[int, int, Permit | None]] = []
    at_ns = 0.0
    while (at_ns := at_ns + rng.expovariate(rate_rps) * 1e9) < seconds(2):
        heapq.heappush(events, (int(at_ns), next(order), None))
    arrived, refused, free_at = len(events), 0, [0] * slots

    def take(decision: Permit | Rejected | Ticket, now: Instant) -> int:
        if isinstance(decision, Permit):
            end_at = max(now, heapq.heappop(free_at)) + service_ns
            heapq.heappush(free_at, end_at)
            heapq.heappush(events, (end_at, next(order), decision))
        return isinstance(decision, Rejected)

    while events:
        at, _, permit = heapq.heappop(events)
        now = Instant(at)
        verdicts = list(shedder.tick(now=now))
        if permit is not None:
            verdicts += shedder.release(permit, outcome=Outcome.SUCCESS, now=now)
        else:
            refused += take(
                shedder.arrive(REQUEST, flow_hash=0, cohort=0, time_left_ns=None, now=now), now
            )
        refused += sum(take(verdict.decision, now) for verdict in verdicts)
    return arrived, refused


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("slots", "service_ms", "load"), [(50, 100, 0.12), (8, 200, 0.7), (64, 20, 0.15), (4, 5, 0.7)]
)
def test_a_healthy_service_has_nobody_refused_from_the_first_request_on(
    slots: int, service_ms: float, load: float, seed: int
) -> None:
    arrived, refused = refused_at_first(slots=slots, service_ms=service_ms, load=load, seed=seed)
    assert arrived > 40
    assert refused == 0
