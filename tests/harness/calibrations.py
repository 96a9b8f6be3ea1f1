"""Steps and whole calibrations to test with; a test names only what it is about."""

from __future__ import annotations

import random

from shedproxy.calibration.measurement import (
    GeneratorHealth,
    Percentiles,
    Phase,
    Plan,
    Slo,
    Step,
    StepState,
)
from shedproxy.calibration.rehearsal import StationPlayer, rehearse
from shedproxy.core import milliseconds, seconds
from shedproxy.workload import StationSchedule
from shedproxy.workload.laws import service_law

SLO = Slo(percentile=0.99, latency_ns=milliseconds(250), error_ratio=0.005)
HEALTH = GeneratorHealth(
    send_lag_p50_ns=milliseconds(0),
    send_lag_p99_ns=milliseconds(0),
    send_lag_max_ns=milliseconds(0),
    cpu_ratio=0.1,
    achieved_ratio=1.0,
    not_sent_count=0,
)


def latency(ms: float, *, count: int = 2000, p99_ms: float | None = None) -> Percentiles:
    high = milliseconds(p99_ms or ms)
    return Percentiles(
        count=count,
        mean_ns=milliseconds(ms),
        p50_ns=milliseconds(ms),
        p90_ns=milliseconds(ms),
        p99_ns=high,
        p999_ns=high,
        max_ns=high,
        histogram=((milliseconds(ms), count - count // 50), (high, count // 50)),
    )


def a_step(phase: Phase, **changes: object) -> Step:
    values: dict[str, object] = {
        "index": 0,
        "phase": phase,
        "pass_number": 1,
        "started_at_ns": seconds(0),
        "length_ns": seconds(5),
        "cut_ns": seconds(0.5),
        "state": StepState.STEADY,
        "reasons": (),
        "planned_rps": None,
        "concurrency": None,
        "offered_rps": 100.0,
        "throughput_rps": 100.0,
        "goodput_rps": 100.0,
        "in_flight": 2.0,
        "offered_count": 2000,
        "served_count": 2000,
        "refused_count": 0,
        "failed_count": 0,
        "latency": latency(20),
        "health": HEALTH,
    }
    return Step(**(values | changes))


def open_step(
    rate: float, *, p99_ms: float, throughput: float | None = None, **changes: object
) -> Step:
    rate = float(rate)
    answered = rate if throughput is None else float(throughput)
    return a_step(
        Phase.OPEN,
        **{
            "planned_rps": rate,
            "offered_rps": rate,
            "throughput_rps": answered,
            "goodput_rps": answered,
            "latency": latency(min(20.0, p99_ms), p99_ms=p99_ms),
            **changes,
        },
    )


def closed_step(concurrency: int, rate: float, **changes: object) -> Step:
    return a_step(
        Phase.CLOSED,
        **{
            "concurrency": concurrency,
            "throughput_rps": float(rate),
            "in_flight": float(concurrency),
            "latency": latency(1000 * concurrency / rate),
            **changes,
        },
    )


def a_plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "slo": SLO,
        "budget_ns": seconds(40),
        "deadline_ns": seconds(5),
        "repeats": 3,
        "is_quick": True,
    }
    return Plan(**(values | changes))


def rehearsed(
    plan: Plan, *, seed: int, slots: int = 4, service_ms: float = 20.0, law: str = "exponential"
) -> tuple[list[Step], str]:
    work = random.Random(f"work {seed}")
    lengths = service_law(law, mean_ns=milliseconds(service_ms), rng=work)
    player = StationPlayer(
        lambda: StationSchedule(slots=slots, law=lengths),
        rng=random.Random,
        deadline_ns=plan.deadline_ns,
    )
    measured = rehearse(plan, player, random.Random(seed))
    return measured.steps, measured.stopped_by
