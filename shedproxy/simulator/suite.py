"""Scenarios by controllers by seeds: one job each of a scenario and a seed, and the board of all.

A job runs the references once and then every controller on the same requests. Nothing here knows
of processes: whoever calls `run_job` may do so anywhere and in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.simulator.cells.job import run_cells
from shedproxy.simulator.checkers import Checkers
from shedproxy.simulator.clients import rate_curve
from shedproxy.simulator.figures import (
    Counts,
    counts,
    measure,
    measure_refusals,
    possible_rps,
    refused_ratio,
)
from shedproxy.simulator.references import MakeChance, run_queue_oracle, run_references
from shedproxy.simulator.registry import CONTROLLERS, OURS, PROFILED, controller_factory
from shedproxy.simulator.scoring import score_of, score_parts
from shedproxy.simulator.series import run_series, shared_series
from shedproxy.simulator.true_profile import profile_of
from shedproxy.simulator.vector_figures import VectorFigures
from shedproxy.simulator.world import UNBOUNDED_RPS, Checking, World
from shedproxy.workload.scenario import ClientSpec, Scenario

__all__ = [
    "Job",
    "JobResult",
    "RunResult",
    "controllers_of",
    "expected_requests",
    "is_of_refusals",
    "run_job",
]

_VECTOR_PREFIXES = ("server_", "rtt_")
_VECTOR_SUFFIXES = ("_mode",)
"""Figures that are taken as Vector takes them, and only where a scenario bounds one of them."""
_OF_REFUSALS = (
    "completions",
    "served_ratio",
    "refused_ratio",
    "false_refusal_",
    "class_served_ratio.",
    "client_served_ratio.",
    "client_missed.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One scenario at one seed."""

    scenario: Scenario
    seed: int
    controllers: tuple[str, ...]
    is_checked: bool = False
    sample_count: int = 200
    with_series: bool = False
    only_refusals: bool = False
    """No oracle is run but the one of our queue, and what needs no other is measured."""


@dataclass(slots=True, kw_only=True)
class RunResult:
    """What one controller came to."""

    figures: dict[str, float]
    parts: dict[str, float]
    score: float | None
    violations: list[str]
    series: dict[str, Any] | None = None
    counts: Counts = field(default_factory=dict)
    """What may be added up over seeds."""


@dataclass(slots=True, kw_only=True)
class JobResult:
    """What became of a job."""

    scenario: str
    seed: int
    capacity_rps: float
    oracle: dict[str, float]
    runs: dict[str, RunResult] = field(default_factory=dict)
    """By controller."""
    series: dict[str, Any] | None = None


def controllers_of(scenario: Scenario, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Who runs in a scenario: those wanted, or all, as far as the scenario is open to them.

    Ours always are; with a profile, where there is a capacity that it could tell of.
    """
    if scenario.cell:
        # What is asked there is asked of ours: the others know no cells.
        return (OURS,) if not wanted or OURS in wanted else ()
    names = wanted or tuple(CONTROLLERS)
    open_to = {*scenario.controllers, OURS, PROFILED}
    return tuple(
        name
        for name in names
        if (not scenario.controllers or name in open_to)
        and (name != PROFILED or profile_of(scenario) is not None)
    )


def run_job(job: Job, make_chance: MakeChance) -> JobResult:
    """Every controller of a job, one after the other.

    Args:
        job: what to run.
        make_chance: streams of chance by seed and name.
    """
    scenario = job.scenario
    if scenario.cell:
        return _run_cells(job, make_chance)
    if job.only_refusals:
        return _run_refusals(job, make_chance)
    references = run_references(scenario, job.seed, make_chance, sample_count=job.sample_count)
    possible_refusals = refused_ratio(references.queue_oracle.tally)
    oracle = measure(references.oracle, references)
    oracle["goodput_rps"] = possible_rps(references.oracle)
    result = JobResult(
        scenario=scenario.name,
        seed=job.seed,
        capacity_rps=capacity_rps(scenario.backend),
        oracle=oracle,
    )
    if job.with_series:
        result.series = shared_series(references.oracle)
        result.series["oracle"] = run_series(references.oracle)
    for name in job.controllers:
        world, extra = _run(job, name, make_chance)
        figures = measure(world, references) | extra
        parts = score_parts(figures, queue_oracle_refused_ratio=possible_refusals)
        result.runs[name] = RunResult(
            figures=figures,
            parts=parts,
            score=score_of(parts),
            violations=_violations(world),
            series=run_series(world) if job.with_series else None,
            counts=counts(world, references.queue_oracle),
        )
    return result


def _run_refusals(job: Job, make_chance: MakeChance) -> JobResult:
    """What is refused beyond what our queue refuses: half the runs, and nothing kept of them."""
    queue_oracle = run_queue_oracle(job.scenario, job.seed, make_chance)
    result = JobResult(
        scenario=job.scenario.name,
        seed=job.seed,
        capacity_rps=capacity_rps(job.scenario.backend),
        oracle={},
    )
    for name in job.controllers:
        checkers = Checkers if job.is_checked else None
        world = _world(job, name, make_chance, make_checkers=checkers, sample_count=0)
        result.runs[name] = RunResult(
            figures=measure_refusals(world, queue_oracle),
            parts={},
            score=None,
            violations=_violations(world),
            counts=counts(world, queue_oracle),
        )
    return result


def is_of_refusals(metric: str) -> bool:
    """Whether a figure is measured where no oracle is run but the one of our queue."""
    return metric.startswith(_OF_REFUSALS)


def _violations(world: World) -> list[str]:
    return world.checkers.violations if isinstance(world.checkers, Checkers) else []


def _run_cells(job: Job, make_chance: MakeChance) -> JobResult:
    """A world of cells has figures and expectations, and no score: there is no oracle of cells."""
    scenario, seed = job.scenario, job.seed
    figures, violations = run_cells(
        scenario,
        chance=make_chance(seed),
        beside=make_chance(seed),
        salt=seed,
        is_checked=job.is_checked,
    )
    return JobResult(
        scenario=scenario.name,
        seed=seed,
        capacity_rps=sum(capacity_rps(cell.backend) for cell in scenario.cell),
        oracle={},
        runs={OURS: RunResult(figures=figures, parts={}, score=None, violations=violations)},
    )


def _run(job: Job, name: str, make_chance: MakeChance) -> tuple[World, dict[str, float]]:
    """A controller's run; where the scenario bounds Vector's figures, those too, from another."""
    extra: dict[str, float] = {}
    if any(_is_vector_s(expectation.metric) for expectation in job.scenario.expect):
        watched = _world(job, name, make_chance, make_checkers=VectorFigures, sample_count=0)
        assert isinstance(watched.checkers, VectorFigures)
        extra = watched.checkers.figures()
    checkers = Checkers if job.is_checked else None
    world = _world(job, name, make_chance, make_checkers=checkers, sample_count=job.sample_count)
    return world, extra


def _world(
    job: Job,
    name: str,
    make_chance: MakeChance,
    *,
    make_checkers: Callable[[World], Checking] | None = None,
    sample_count: int,
) -> World:
    """A controller's run, over."""
    world = World(
        scenario=job.scenario,
        make_controller=controller_factory(name),
        chance=make_chance(job.seed),
        salt=job.seed,
        make_checkers=make_checkers,
        sample_count=sample_count,
    )
    world.run()
    return world


def _is_vector_s(metric: str) -> bool:
    return metric.startswith(_VECTOR_PREFIXES) or metric.endswith(_VECTOR_SUFFIXES)


def expected_requests(scenario: Scenario) -> float:
    """About how many requests a run has, tries after the first not counted: what it costs."""
    return sum(_expected(scenario, client) for client in scenario.client)


def _expected(scenario: Scenario, client: ClientSpec) -> float:
    most = math.inf if client.requests is None else float(client.requests)
    if client.arrivals == "at_once":
        return most
    backends = [scenario.backend]
    if scenario.cell:
        backends = [one.backend for one in scenario.cell if one.name == client.cell] or [
            one.backend for one in scenario.cell
        ]
    capacity = sum(map(capacity_rps, backends))
    if client.arrivals == "closed":
        cycle_s = (client.think_ms + backends[0].service_ms) / 1000
        return min(most, scenario.duration_s * min(client.users / cycle_s, capacity))
    curve = rate_curve(
        replace(client, burst_every_ms=0.0),
        capacity if math.isfinite(capacity) else UNBOUNDED_RPS,
    )
    count, now, end = 0.0, 0.0, scenario.duration_s * 1e9
    while now < end:
        rate_rps, until = curve.at(now)
        count += rate_rps * (min(until, end) - now) / 1e9
        now = until
    bursts = 1.0
    if client.burst_every_ms:
        share = client.burst_ms / client.burst_every_ms
        bursts = share * client.burst_factor + (1 - share) * client.quiet_factor
    return min(most, count * bursts * client.calls_per_task * client.session_pages)
