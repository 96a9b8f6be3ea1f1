"""A calibration with everything in it, made from formulae: the USL with 20 ms for one alone."""

from __future__ import annotations

import math
from dataclasses import replace

from shedproxy.calibration.results import (
    Aftermath,
    Calibration,
    CellThresholds,
    Change,
    Check,
    ClassCount,
    Confidence,
    Count,
    Findings,
    GeneratorHealth,
    Interval,
    KneeFit,
    LawFit,
    Percentiles,
    Phase,
    Plan,
    Provenance,
    ProxySignals,
    RefusalCost,
    ResidentLevel,
    ResidentsFit,
    RouteFit,
    Share,
    Slo,
    Step,
    StepState,
    Thresholds,
    UslFit,
    Verdict,
    VerificationRun,
    Window,
)
from shedproxy.core import Nanos

__all__ = ["sample_calibration"]

_SERVICE_NS = 20_000_000
_HEALTH = GeneratorHealth(
    send_lag_p50_ns=Nanos(60_000),
    send_lag_p99_ns=Nanos(240_000),
    send_lag_max_ns=Nanos(1_900_000),
    cpu_ratio=0.18,
    achieved_ratio=1.0,
    not_sent_count=0,
    dispersion_ratio=1.02,
)
_LEVELS = (1, 2, 3, 4, 6, 8, 12, 16)
_LOADS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.3)


_SIGMA, _KAPPA = 0.06, 0.006
_PEAK = math.sqrt((1 - _SIGMA) / _KAPPA)


def _curve(slots: int, n: float) -> float:
    return slots / 4 * 1e9 / _SERVICE_NS * n / (1 + _SIGMA * (n - 1) + _KAPPA * n * (n - 1))


def _around(value: float, share: float) -> Interval:
    return Interval(value=value, low=value * (1 - share), high=value * (1 + share))


def _noise(number: int, size: float) -> float:
    return 1 + size * math.sin(12.9898 * number)


def _percentiles(count: int, mean_ns: float, least_ns: float = 0.0) -> Percentiles:
    """Of an exponential latency behind a least one."""
    rest = mean_ns - least_ns

    def at(share: float) -> Nanos:
        return Nanos(round(least_ns - math.log(1 - share) * rest))

    edges = [round(1e6 * 1.03**i) for i in range(300)]
    shares = [0.0 if e <= least_ns else 1 - math.exp(-(e - least_ns) / rest) for e in edges]
    counts = [round(count * (b - a)) for a, b in zip([0.0, *shares], shares, strict=False)]
    buckets = tuple((Nanos(e), n) for e, n in zip(edges, counts, strict=True) if n)
    return Percentiles(
        count=count,
        mean_ns=Nanos(round(mean_ns)),
        p50_ns=at(0.5),
        p90_ns=at(0.9),
        p99_ns=at(0.99),
        p999_ns=at(0.999),
        max_ns=buckets[-1][0],
        histogram=buckets,
    )


def _windows(
    rps: float, in_flight: float, mean_ns: float, length_s: int, *, since_ns: int = 0
) -> tuple[Window, ...]:
    return tuple(
        Window(
            started_at_ns=Nanos(since_ns + i * 1_000_000_000),
            length_ns=Nanos(1_000_000_000),
            offered_count=round(rps * _noise(i, 0.05)),
            served_count=round(rps * _noise(i + 1, 0.05)),
            refused_count=0,
            failed_count=0,
            in_flight=in_flight * _noise(i, 0.1),
            mean_ns=Nanos(round(mean_ns * _noise(i, 0.1))),
            p99_ns=Nanos(round(4.6 * mean_ns * _noise(i + 2, 0.1))),
        )
        for i in range(length_s)
    )


def _classes(offered: int, share: float) -> tuple[ClassCount, ...]:
    """Served from the top down until nothing is left."""
    found, left = [], round(offered * share)
    for name, part in (("critical", 0.2), ("sheddable_plus", 0.6), ("sheddable", 0.2)):
        count = round(part * offered)
        served = min(left, count)
        left -= served
        found.append(
            ClassCount(
                name=name,
                offered_count=count,
                served_count=served,
                refused_count=count - served,
                p50_ns=Nanos(21_000_000),
                p99_ns=Nanos(92_000_000),
            )
        )
    return tuple(found)


def sample_calibration(*, slots: int = 4, wobble: int = 0) -> Calibration:
    """The same for ever; `wobble` is another run of it."""
    capacity = _curve(slots, _PEAK)
    steps: list[Step] = []

    def add(phase: Phase, number: int, rps: float, in_flight: float, **more: object) -> None:
        mean_ns = in_flight / rps * 1e9
        length_s = 10
        at = steps[-1].started_at_ns + steps[-1].length_ns + 500_000_000 if steps else 0
        failed = int(0.3 * rps) if more.get("state") is StepState.OVERLOADED else 0
        base = Step(
            index=len(steps),
            phase=phase,
            pass_number=number,
            started_at_ns=Nanos(at),
            length_ns=Nanos(length_s * 1_000_000_000),
            cut_ns=Nanos(2_000_000_000),
            state=StepState.STEADY,
            reasons=(),
            planned_rps=None,
            concurrency=None,
            offered_rps=rps,
            throughput_rps=rps,
            goodput_rps=rps,
            in_flight=in_flight,
            offered_count=round(8 * rps),
            served_count=round(8 * rps) - failed,
            refused_count=0,
            failed_count=failed,
            latency=_percentiles(round(8 * rps), mean_ns, 0.2 * mean_ns),
            health=_HEALTH,
            windows=_windows(rps, in_flight, mean_ns, length_s, since_ns=at),
            routes=(ClassCount(name="GET /", offered_count=round(8 * rps),
                               served_count=round(8 * rps) - failed, refused_count=0),),
            errors=(Count(name="timeout", count=failed),) if failed else (),
        )  # fmt: skip
        steps.append(replace(base, **more))

    add(Phase.IDLE, 0, 49.0, 0.98, concurrency=1)
    for number in range(1, 4):
        for i, level in enumerate(_LEVELS):
            rps = _curve(slots, level)
            add(Phase.CLOSED, number, rps * _noise(i + 7 * number + wobble, 0.008), level,
                concurrency=level)  # fmt: skip
        for i, load in enumerate(_LOADS):
            offered = load * capacity * _noise(i + 3 * number + wobble, 0.006)
            busy = min(load, 0.97)
            in_flight = slots * busy + 0.4 * busy / (1 - busy)
            state = StepState.OVERLOADED if load > 1 else StepState.STEADY
            done = min(offered, capacity)
            add(Phase.OPEN, number, done, in_flight * (load if load > 1 else 1),
                planned_rps=load * capacity, offered_rps=offered, state=state,
                offered_count=round(8 * offered),
                goodput_rps=done * (1 if load <= 1 else 1.6 - 0.7 * load),
                reasons=("more came than left",) if load > 1 else ())  # fmt: skip
    steps[14] = replace(
        steps[14], state=StepState.VOID, reasons=("the generator was late: p99 4.2 ms",)
    )
    return Calibration(
        plan=_plan(),
        provenance=_provenance(wobble),
        steps=tuple(steps),
        findings=_findings(slots, capacity * _noise(wobble, 0.01), steps),
        thresholds=_thresholds(slots),
        verification=_verification(capacity),
        verdict=Verdict(
            confidence=Confidence.HIGH,
            reasons=("3 passes agree within 1.1 %", "both knees agree within 4 %"),
            headline=f"About {capacity:.0f} requests/s at {3 * slots} in flight",
            limit=3 * slots,
            slo_is_met=True,
            is_verified=True,
        ),
    )


def _plan() -> Plan:
    return Plan(
        slo=Slo(percentile=0.99, latency_ns=Nanos(250_000_000), error_ratio=0.005,
                text="p99<250ms, errors<0.5%"),
        budget_ns=Nanos(180_000_000_000),
        deadline_ns=Nanos(2_000_000_000),
        repeats=3,
        classes=(Share(name="critical", ratio=0.2), Share(name="sheddable_plus", ratio=0.6),
                 Share(name="sheddable", ratio=0.2)),
        routes=(Share(name="GET /", ratio=1.0),),
    )  # fmt: skip


def _provenance(wobble: int) -> Provenance:
    return Provenance(
        id=f"c-20261126-{wobble:04d}",
        target="http://127.0.0.1:8000",
        command="shedproxy calibrate http://127.0.0.1:8000 --slo 'p99<250ms, errors<0.5%'",
        started="2026-11-26T01:00:00Z",
        finished="2026-11-26T01:03:12Z",
        version="1.2.3",
        fingerprint="sha256:0123456789abcdef",
        machine=(("CPU", "2 cores"), ("kernel", "6.8"), ("load", "0.12")),
        packages=(("python", "3.11.7"), ("uvloop", "0.22.1")),
    )


def _findings(slots: int, capacity: float, steps: list[Step]) -> Findings:
    first = _curve(slots, 1)
    idle = steps[0].latency
    assert idle is not None
    levels = [1 + 0.5 * i for i in range(39)]
    return Findings(
        capacity_rps=_around(capacity, 0.012),
        capacity_in_flight=16,
        slo_rps=_around(0.93 * capacity, 0.02),
        slo_in_flight=0.93 * slots + 2.2,
        slo_latency=_percentiles(9_000, 38e6, 9e6),
        knee_in_flight=_around(slots, 0.02),
        knees=(
            KneeFit(curve="goodput", rate_rps=_around(0.98 * capacity, 0.03), in_flight=4.3),
            KneeFit(curve="latency", rate_rps=_around(0.95 * capacity, 0.04)),
        ),
        usl=UslFit(
            lambda_rps=_around(first, 0.03),
            sigma=_around(_SIGMA, 0.1),
            kappa=_around(_KAPPA, 0.08),
            r_squared=0.987,
            point_count=24,
            peak_in_flight=_around(_PEAK, 0.05),
            peak_rps=_around(_curve(slots, _PEAK), 0.02),
            ceiling_rps=_around(first / _SIGMA, 0.1),
            band=tuple((n, x, 0.97 * x, 1.03 * x) for n in levels for x in [_curve(slots, n)]),
            notes=("the retrograde term is small",),
        ),
        routes=(
            RouteFit(name="*", baseline=_around(14e6, 0.03), mean=_around(20e6, 0.02),
                     latency=idle, law=LawFit(name="exponential", cv=1.01, distance=0.018)),
            RouteFit(name="GET /", baseline=_around(14e6, 0.03), mean=_around(20e6, 0.02),
                     latency=idle),
        ),
        refusal_cost=_around(0.08, 0.15),
        refusal=RefusalCost(
            ratio=_around(0.08, 0.15), served_ns=Nanos(100_000), refused_ns=Nanos(8_000),
            best_goodput=((3.0, 0.826), (10.0, 0.217)), full_ratio=46.0,
        ),
        residents=ResidentsFit(
            path="/events", kind="sse", limit=64, is_bound=True, ordinary_rps=20.0,
            bytes_per_stream=40_000, reason="64 streams did no harm; with 128 64 broke",
            levels=tuple(
                ResidentLevel(
                    open_count=count, opened_count=count, failed_count=broken,
                    first_byte_p99_ns=Nanos(4_000_000) if count else None, ordinary_count=60,
                    ordinary_failed_count=0, ordinary_p99_ns=Nanos(31_000_000),
                    memory_bytes=None if broken else 40_000_000 + 40_000 * count,
                    is_good=not broken, reasons=("64 broke",) if broken else (),
                )
                for count, broken in ((0, 0), (64, 0), (128, 64))
            ),
        ),
        checks=(
            Check(name="little", is_passed=True, measured=0.011, allowed=0.05,
                  text="In flight and rate times latency differ by 1.1 % at most."),
            Check(name="repeats", is_passed=False, measured=0.034, allowed=0.03,
                  text="Passes differ by 3.4 %: more of them would narrow the interval."),
        ),
        missing=("the law of GET /items: 12 requests",),
        collapse_rps=1.3 * capacity,
    )  # fmt: skip


def _thresholds(slots: int) -> Thresholds:
    return Thresholds(
        cells=(CellThresholds(name="default", start=3 * slots, floor=slots, ceiling=4 * slots,
                              queue_wait_ns=Nanos(80_000_000), baseline_ns=Nanos(14_000_000)),),
        changes=(
            Change(key="cell.default.limit.initial", before="20", after=str(3 * slots),
                   reason="capacity times no-load latency, and a tenth of room"),
            Change(key="cell.default.limit.maximum", before="", after=str(3 * slots),
                   reason="beyond it latency grows and throughput does not"),
        ),
    )  # fmt: skip


def _signals(load: float, *, is_on: bool) -> ProxySignals:
    return ProxySignals(
        points=tuple(
            (float(at), 8.0 + min(at, 4), 8 * min(1.0, load), 3.0 * at if load > 1 else 0.0)
            for at in range(20)
        ),
        cpu_ratio=0.08 * load,
        loop_lag_max_ns=Nanos(1_500_000),
        queue_wait_mean_ns=Nanos(20_000_000) if is_on else None,
        queue_wait_p99_ns=Nanos(100_000_000) if is_on else None,
        memory_bytes=40_000_000,
    )


def _verification(capacity: float) -> tuple[VerificationRun, ...]:
    runs = []
    for load in (0.8, 1.5, 3.0):
        for is_on in (False, True):
            offered = load * capacity
            possible = min(offered, capacity)
            share = 1.0 if load < 1 else 0.97 if is_on else 0.9 / load**2
            good = possible * share
            count = round(20 * offered)
            served = round(20 * good)
            refused = count - served if is_on and load > 1 else 0
            runs.append(
                VerificationRun(
                    load_ratio=load,
                    is_shedding=is_on,
                    offered_rps=offered,
                    goodput_rps=good,
                    goodput_ratio=share,
                    offered_count=count,
                    served_count=served,
                    refused_count=refused,
                    failed_count=count - served - refused,
                    latency=_percentiles(served, 30e6 if is_on or load < 1 else 1.4e9, 9e6),
                    refusal=_percentiles(refused, 8e6, 1e6) if refused else None,
                    health=_HEALTH,
                    classes=_classes(count, served / count),
                    windows=_windows(good, 5.0, 30e6, 20),
                    signals=_signals(load, is_on=is_on),
                    aftermath=None
                    if load < 1
                    else Aftermath(
                        recovery_ns=Nanos(300_000_000 if is_on else 9_000_000_000),
                        watched_ns=Nanos(10_000_000_000),
                    ),
                )
            )
    return tuple(runs)
