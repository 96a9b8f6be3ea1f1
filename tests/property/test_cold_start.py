"""A service that is well is refused nobody from the first request on; a flood is seen soon."""

from __future__ import annotations

import heapq
import random
from itertools import count

import pytest
from harness.worlds import ours, run_world

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
from shedproxy.workload.scenario import BackendSpec, ClientSpec, Scenario

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


def refused_of_a_crowd(*, users: int, slots: int, service_ms: float, seed: int) -> int:
    """Refused in the first second of users who come at once, and ask again as they are answered."""
    rng, order = random.Random(seed), count()
    shedder = Shedder(Policy(cells=(CellPolicy(name="default"),)), now=Instant(0))
    events: list[tuple[int, int, Permit | None]] = []
    for user in range(users):
        heapq.heappush(events, (user * 20_000, next(order), None))
    refused, free_at = 0, [0] * slots

    def take(decision: Permit | Rejected | Ticket, now: Instant) -> int:
        if isinstance(decision, Permit):
            began_at = max(now, heapq.heappop(free_at))
            end_at = int(began_at + rng.expovariate(1) * milliseconds(service_ms))
            heapq.heappush(free_at, end_at)
            heapq.heappush(events, (end_at, next(order), decision))
        return isinstance(decision, Rejected)

    while events:
        at, _, permit = heapq.heappop(events)
        if at > seconds(1):
            break
        now = Instant(at)
        if permit is None:
            refused += take(
                shedder.arrive(REQUEST, flow_hash=0, cohort=0, time_left_ns=None, now=now), now
            )
            continue
        for verdict in shedder.release(permit, outcome=Outcome.SUCCESS, now=now):
            refused += take(verdict.decision, now)
        heapq.heappush(events, (at + 50_000, next(order), None))
    return refused


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("slots", "service_ms"), [(1, 0.1), (1, 0.2), (1, 0.3), (2, 0.5), (16, 4), (8, 4)]
)
def test_a_crowd_that_waits_for_its_answers_is_served_in_turn(
    slots: int, service_ms: float, seed: int
) -> None:
    """512 connections are served within a quarter of a second: no reason to refuse anybody."""
    assert refused_of_a_crowd(users=512, slots=slots, service_ms=service_ms, seed=seed) == 0


QUIET_S, FLOOD_S = 60.0, 20.0


@pytest.mark.parametrize("seed", range(8))
def test_a_flood_after_quiet_before_two_slow_slots_is_answered_in_time_within_ten_seconds(
    seed: int,
) -> None:
    """At 1.5 times capacity after a tenth of it: from then on nine tenths of what can be done is
    answered within a second, of clients that would wait for ever.
    """
    scenario = Scenario(
        name="two slow slots",
        duration_s=QUIET_S + FLOOD_S,
        deadline_ms=1000.0,
        backend=BackendSpec(slots=2, service_ms=200.0, law="constant"),
        client=(
            ClientSpec(name="quiet", load=0.1, stop_s=QUIET_S, timeout_ms=1e6),
            ClientSpec(load=1.5, start_s=QUIET_S, timeout_ms=1e6),
        ),
    )
    tally = run_world(scenario, ours, seed=seed).tally
    later = [
        latency_ns
        for latency_ns, served_at in zip(tally.latencies_ns, tally.served_at, strict=True)
        if served_at >= seconds(QUIET_S + FLOOD_S / 2)
    ]
    assert sum(latency_ns <= seconds(1) for latency_ns in later) > 0.9 * 10 * FLOOD_S / 2


@pytest.mark.parametrize(("load", "seed"), [(1.5, 139), (3.0, 230)])
def test_a_baseline_that_chance_made_half_as_long_is_found_out_in_seconds(
    load: float, seed: int
) -> None:
    """One in ten takes eleven times as long as the others, and of some dozen samples none is.

    At these seeds it happens, at first or later, and was believed for the rest of the run.
    """
    scenario = Scenario(
        name="eight slots",
        duration_s=25.0,
        deadline_ms=1000.0,
        backend=BackendSpec(slots=8, service_ms=10.0, law="bimodal"),
        client=(
            ClientSpec(name="first", arrivals="at_once", requests=1),
            ClientSpec(load=load, start_s=5.0),
        ),
    )
    served = run_world(scenario, ours, seed=seed).tally.latencies_ns
    assert sum(latency_ns <= seconds(1) for latency_ns in served) > 0.9 * 800 * 20
