"""The results of all jobs as one board (schema 1): what pages, tables and CI read."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shedproxy.simulator.margin import margin_section
from shedproxy.simulator.pooled import pooled_figures
from shedproxy.simulator.registry import KNOW_CAPACITY, YARDSTICKS
from shedproxy.simulator.scoring import RULES, WEIGHTS, check_expectation, spread
from shedproxy.simulator.statistics import Interval, bootstrap, interval_of, mean, median, resamples
from shedproxy.simulator.suite import JobResult
from shedproxy.workload import RandomSource
from shedproxy.workload.scenario import Scenario

__all__ = ["About", "has_failed", "make_board"]

_SCHEMA = 1
_OF_RESULT = (
    "goodput_ratio",
    "regret",
    "p99_ms",
    "p99_ratio",
    "false_refusal_ratio",
    "inversion_ratio",
    "fairness",
    "recovery_s",
    "drift_ratio",
    "refused_ratio",
    "completions",
)
_OVERALL_MEANS = (
    "goodput_ratio",
    "regret",
    "false_refusal_ratio",
    "inversion_ratio",
    "fairness",
)
_OVERALL_MEDIANS = ("p99_ratio", "recovery_s")
_RESAMPLES = 1_000
"""For the interval of a score of one scenario."""
_LEVEL = 0.0005
_SERIES_MAX = 4
"""Controllers whose course is kept for each scenario of a board of several: the best ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a board says of its making."""

    version: str
    command: str
    python: str
    generated_count: int = 0
    generated_seed: int = 0
    measured: str = "everything"
    """Or `refusals`: no oracle was run but that of our queue."""
    is_checked: bool = False
    """Whether the rules of a run were checked after every event; without that no violation is
    known, which is not the same as none."""


def make_board(
    scenarios: Sequence[Scenario],
    results: Sequence[JobResult],
    about: About,
    *,
    rng: RandomSource,
) -> dict[str, Any]:
    """The board of what was run, in terms of JSON. Scenarios without any result are left out."""
    by_scenario: dict[str, Sequence[JobResult]] = {
        scenario.name: sorted(
            (result for result in results if result.scenario == scenario.name),
            key=lambda result: result.seed,
        )
        for scenario in scenarios
    }
    shown = [scenario for scenario in scenarios if by_scenario[scenario.name]]
    board: dict[str, Any] = {
        "schema": _SCHEMA,
        "tool": "shedproxy simulate",
        "version": about.version,
        "command": about.command,
        "seeds": sorted({result.seed for result in results}),
        "python": about.python,
        "scoring": {"rules": list(RULES), "weights": dict(WEIGHTS)},
        "measured": about.measured,
        "checked": about.is_checked,
        "scenarios": [
            _scenario(scenario, by_scenario[scenario.name], rng, is_only=len(shown) == 1)
            for scenario in shown
        ],
    }
    if about.generated_count:
        board["generated"] = {
            "count": about.generated_count,
            "seed": about.generated_seed,
            "note": "Drawn at random from wide ranges; nothing was tuned to them.",
        }
    if about.measured == "everything":
        margin = margin_section(shown, by_scenario, rng)
        if margin is not None:
            board["margin"] = margin
    if len(shown) > 1 and about.measured == "everything":
        board |= _overall(shown, by_scenario, board["scenarios"], rng)
    return board


def has_failed(board: Mapping[str, Any]) -> bool:
    """Whether an expectation was not met or a rule of the run was broken."""
    return any(
        result["violations"] or not all(met["is_met"] for met in result["expectations"])
        for scenario in board["scenarios"]
        for result in scenario["results"]
    )


def _scenario(
    scenario: Scenario, jobs: Sequence[JobResult], rng: RandomSource, *, is_only: bool
) -> dict[str, Any]:
    names = list(dict.fromkeys(name for job in jobs for name in job.runs))
    capacity = jobs[0].capacity_rps
    results = [_result(scenario, name, jobs, rng) for name in names]
    return {
        "name": scenario.name,
        "title": scenario.title or scenario.name,
        "group": scenario.group,
        "source": scenario.source,
        "explanation": scenario.explanation or None,
        "duration_s": scenario.duration_s,
        "true_capacity_rps": capacity if math.isfinite(capacity) else None,
        "oracle": {
            name: _middle([job.oracle.get(name) for job in jobs])
            for name in ("goodput_rps", "p99_ms", "refused_ratio")
        },
        "results": results,
        "series": _series(jobs, results, is_only=is_only),
    }


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _result(
    scenario: Scenario, name: str, jobs: Sequence[JobResult], rng: RandomSource
) -> dict[str, Any]:
    runs = [job.runs[name] for job in jobs if name in job.runs]
    values: dict[str, list[float]] = {}
    for run in runs:
        for figure, value in run.figures.items():
            if math.isfinite(value):
                values.setdefault(figure, []).append(value)
    pairs = {figure: spread(figure, found)._asdict() for figure, found in values.items()}
    pooled = pooled_figures([run.counts for run in runs], rng)
    for figure, found in pooled.items():
        # What is too few at a seed is looked at over all of them.
        if len(values.get(figure, ())) < len(runs):
            values[figure] = [found["value"]]
    scores = [run.score for run in runs if run.score is not None]
    score = _score(scores, rng)
    parts: dict[str, list[float]] = {}
    for run in runs:
        for part, value in run.parts.items():
            parts.setdefault(part, []).append(value)
    return {
        "controller": name,
        "is_yardstick": name in YARDSTICKS,
        "knows_capacity": name in KNOW_CAPACITY,
        "score": None if score is None else score.value,
        "score_low": None if score is None or len(scores) < 2 else score.low,
        "score_high": None if score is None or len(scores) < 2 else score.high,
        **{figure: pairs.get(figure) for figure in _OF_RESULT},
        "parts": {part: mean(found) for part, found in parts.items()},
        "figures": {figure: pair for figure, pair in pairs.items() if figure not in _OF_RESULT},
        "pooled": pooled,
        "expectations": [
            check_expectation(expectation, values.get(expectation.metric, []))._asdict()
            for expectation in scenario.expect
            if name in expectation.by
        ],
        "violations": list(dict.fromkeys(words for run in runs for words in run.violations)),
    }


def _score(scores: Sequence[float], rng: RandomSource) -> Interval | None:
    """The mean over the seeds, with its interval."""
    if not scores:
        return None
    draws = resamples(len(scores), rng=rng, times=_RESAMPLES if len(scores) > 1 else 1)
    return interval_of(lambda places: mean([scores[place] for place in places]), len(scores), draws)


def _series(
    jobs: Sequence[JobResult], results: Sequence[Mapping[str, Any]], *, is_only: bool
) -> dict[str, Any] | None:
    """The course of the first seed that has one."""
    job = next((job for job in jobs if job.series is not None), None)
    if job is None or job.series is None:
        return None
    best = sorted(results, key=lambda result: -(result["score"] or 0.0))
    kept = {result["controller"] for result in (best if is_only else best[:_SERIES_MAX])}
    kept |= {results[0]["controller"]}
    shared = {name: column for name, column in job.series.items() if name != "oracle"}
    return {
        "seed": job.seed,
        **shared,
        "controllers": {
            "oracle": job.series["oracle"],
            **{name: run.series for name, run in job.runs.items() if name in kept},
        },
    }


def _overall(
    scenarios: Sequence[Scenario],
    by_scenario: Mapping[str, Sequence[JobResult]],
    shown: Sequence[Mapping[str, Any]],
    rng: RandomSource,
) -> dict[str, Any]:
    """Over the scenarios that are open to all."""
    is_open = {scenario.name for scenario in scenarios if not scenario.controllers}
    rows = [scenario for scenario in shown if scenario["name"] in is_open]
    seen: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        for result in row["results"]:
            found = seen.setdefault(result["controller"], {})
            if result["score"] is not None:
                found[row["name"]] = result
    everywhere = max(map(len, seen.values()), default=0)
    names = [name for name, found in seen.items() if found and len(found) == everywhere]
    scores = _paired_scores(names, [by_scenario[row["name"]] for row in rows])
    intervals, differences = bootstrap(scores, rng=rng)
    table = [_overall_row(name, seen, intervals.get(name)) for name, found in seen.items() if found]
    steady = {scenario.name for scenario in scenarios if not scenario.event}
    for line in table:
        line["drift_ratio"] = _drift(seen[line["controller"]], steady)
    table.sort(key=lambda row: -row["score"])
    part: dict[str, Any] = {"overall": table}
    leads = {
        "lead": [row for row in table if not row["is_yardstick"]],
        "lead_unaware": [row for row in table if not row["knows_capacity"]],
        "lead_aware": [row for row in table if row["knows_capacity"]],
    }
    for key, ranked in leads.items():
        if len(ranked) > 1:
            first, second = (row["controller"] for row in ranked[:2])
            if intervals.keys() >= {first, second}:
                part[key] = _lead(first, second, differences)
    return part


def _paired_scores(
    names: Sequence[str], jobs_of_rows: Sequence[Sequence[JobResult]]
) -> dict[str, list[list[float]]]:
    """By name, scenario and seed, where everybody has a score."""
    scores: dict[str, list[list[float]]] = {name: [] for name in names}
    for jobs in jobs_of_rows:
        complete = [
            found for job in jobs if None not in (found := [_score_in(job, name) for name in names])
        ]
        if complete:
            for name, column in zip(names, zip(*complete, strict=True), strict=True):
                scores[name].append([score for score in column if score is not None])
    return scores


def _score_in(job: JobResult, name: str) -> float | None:
    run = job.runs.get(name)
    return None if run is None else run.score


def _lead(
    first: str, second: str, differences: Mapping[tuple[str, str], Interval]
) -> dict[str, Any]:
    """By how much the first is ahead of the second, in pairs."""
    if (first, second) in differences:
        value, low, high = differences[first, second]
    else:
        value, high, low = (-number for number in differences[second, first])
    return {"first": first, "second": second, "difference": value, "low": low, "high": high}


def _overall_row(
    name: str, seen: Mapping[str, Mapping[str, Mapping[str, Any]]], interval: Interval | None
) -> dict[str, Any]:
    results = seen[name]
    row: dict[str, Any] = {
        "controller": name,
        "score": mean([result["score"] for result in results.values()]),
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
    }
    for figures, middle in ((_OVERALL_MEANS, mean), (_OVERALL_MEDIANS, median)):
        for figure in figures:
            values = [r[figure]["median"] for r in results.values() if r[figure] is not None]
            row[figure] = middle(values) if values else None
    row["scenarios"] = len(results)
    row["best_on"] = sum(
        result["score"] >= _best_score(scenario, seen) - _LEVEL
        for scenario, result in results.items()
    )
    row["is_yardstick"] = name in YARDSTICKS
    row["knows_capacity"] = name in KNOW_CAPACITY
    return row


def _drift(results: Mapping[str, Mapping[str, Any]], steady: Collection[str]) -> float | None:
    """How far limits move, either way, where nothing happens to capacity: the median."""
    moved = [
        abs(result["drift_ratio"]["median"])
        for scenario, result in results.items()
        if scenario in steady and result["drift_ratio"] is not None
    ]
    return median(moved) if moved else None


def _best_score(scenario: str, seen: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> float:
    """Of those that take a place."""
    scores = [
        found[scenario]["score"]
        for name, found in seen.items()
        if scenario in found and name not in YARDSTICKS
    ]
    return max(scores, default=0.0)
