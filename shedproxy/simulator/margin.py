"""By how many points ours is ahead of the best of the usual algorithms, scenario by scenario.

A point is a hundredth of a score. The best is the one with the best mean over the seeds; the
interval resamples seeds, in pairs, and takes the best anew each time, so that having chosen it
afterwards is no advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shedproxy.simulator.registry import OURS
from shedproxy.simulator.statistics import interval_of, mean, resamples
from shedproxy.simulator.suite import JobResult
from shedproxy.workload import RandomSource
from shedproxy.workload.scenario import Scenario

__all__ = ["PEERS", "WITHIN_POINTS", "margin_section"]

PEERS = ("none", "aimd", "gradient2", "vegas", "envoy-gradient", "cinnamon")
WITHIN_POINTS = 1.0
_POINTS = 100.0
_RESAMPLES = 1_000
_GENERATED = "Generated"


def margin_section(
    scenarios: Sequence[Scenario], jobs_of: dict[str, Sequence[JobResult]], rng: RandomSource
) -> dict[str, Any] | None:
    """That part of a board, in terms of JSON; None where ours or all of the others did not run.

    Scenarios in which nobody has a score, or that are open to few, have no row. `rows` begin with
    the one on which ours is furthest behind.
    """
    names = {
        name for jobs in jobs_of.values() for job in jobs for name in job.runs if name in PEERS
    }
    rows = [
        row
        for scenario in scenarios
        if not scenario.controllers
        and (row := _row(scenario, jobs_of[scenario.name], rng)) is not None
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: row["points"])
    return {
        "of": OURS,
        "against": [name for name in PEERS if name in names],
        "not_run": [name for name in PEERS if name not in names],
        "within_points": WITHIN_POINTS,
        "named": _count([row for row in rows if row["group"] != _GENERATED]),
        "generated": _count([row for row in rows if row["group"] == _GENERATED]),
        "rows": rows,
    }


def _count(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    return {"scenarios": len(rows), "within": sum(row["is_within"] for row in rows)}


def _row(scenario: Scenario, jobs: Sequence[JobResult], rng: RandomSource) -> dict[str, Any] | None:
    """One scenario, over the seeds in which all of those that ran there have a score."""
    scores = _paired([OURS, *PEERS], jobs)
    ours = scores.pop(OURS, None)
    if ours is None or not scores:
        return None

    def points(places: Sequence[int]) -> float:
        best = max(sum(column[place] for place in places) for column in scores.values())
        return _POINTS * (sum(ours[place] for place in places) - best) / len(places)

    draws = resamples(len(ours), rng=rng, times=_RESAMPLES)
    value, low, high = interval_of(points, len(ours), draws)
    best = max(scores, key=lambda name: mean(scores[name]))
    return {
        "scenario": scenario.name,
        "group": scenario.group,
        "best": best,
        "ours_score": mean(ours),
        "best_score": mean(scores[best]),
        "points": value,
        "low": low if len(ours) > 1 else None,
        "high": high if len(ours) > 1 else None,
        "is_within": value >= -WITHIN_POINTS,
    }


def _paired(names: Sequence[str], jobs: Sequence[JobResult]) -> dict[str, list[float]]:
    """Scores by name, of the seeds in which everybody has one that has any."""
    having = [
        {name: score for name in names if (score := _score(job, name)) is not None} for job in jobs
    ]
    known = {name for found in having for name in found}
    complete = [found for found in having if found.keys() == known]
    return {
        name: [found[name] for found in complete] for name in names if name in known and complete
    }


def _score(job: JobResult, name: str) -> float | None:
    run = job.runs.get(name)
    return None if run is None else run.score
