"""Runs over time, in equal steps: what charts of a scoreboard show."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.simulator.world import Sample, World
from shedproxy.workload.results import percentile

__all__ = ["run_series", "shared_series"]


def shared_series(oracle: World) -> dict[str, Any]:
    """What is the same for every controller: time, offered load, true capacity."""
    edges = _edges(oracle)
    return {
        "t_s": [round(edge / NS_PER_S, 6) for edge in edges[1:]],
        "offered_rps": _rates(oracle.tally.begun_at, edges),
        "capacity_rps": [_finite(sample.capacity_rps) for sample in oracle.samples],
    }


def run_series(world: World) -> dict[str, Any]:
    """One run's columns, as long as the world's samples; None where there is nothing to show."""
    edges, tally, samples = _edges(world), world.tally, world.samples
    return {
        "goodput_rps": _rates(tally.served_at, edges),
        "refused_rps": _rates(tally.refused_at, edges),
        "p99_ms": _p99s_ms(tally.served_at, tally.latencies_ns, edges),
        "limit": [_finite(sample.limit) for sample in samples],
        "in_flight": [float(sample.in_flight) for sample in samples],
        "queue_length": [float(sample.queue_length) for sample in samples],
        "refused_share": [_short(sample.refused_share) for sample in samples],
        "baseline_ms": _baselines_ms(samples),
    }


def _edges(world: World) -> list[int]:
    return [0, *(sample.at_ns for sample in world.samples)]


def _short(value: float) -> float:
    """Five significant digits: enough for a chart, and half the length in a file."""
    return float(f"{value:.5g}")


def _finite(value: float) -> float | None:
    return _short(value) if math.isfinite(value) else None


def _rates(instants: Sequence[int], edges: Sequence[int]) -> list[float]:
    """Per second in each step; instants rise."""
    places = [bisect_left(instants, edge) for edge in edges]
    return [
        _short((places[i + 1] - places[i]) * NS_PER_S / (edges[i + 1] - edges[i]))
        for i in range(len(edges) - 1)
    ]


def _p99s_ms(
    instants: Sequence[int], latencies_ns: Sequence[int], edges: Sequence[int]
) -> list[float | None]:
    places = [bisect_left(instants, edge) for edge in edges]
    p99s = [
        percentile(sorted(latencies_ns[places[i] : places[i + 1]]), 0.99)
        for i in range(len(edges) - 1)
    ]
    return [None if p99 is None else _short(p99 / NS_PER_MS) for p99 in p99s]


def _baselines_ms(samples: Sequence[Sample]) -> list[float | None] | None:
    if not any(sample.baseline_ns for sample in samples):
        return None
    return [
        _short(sample.baseline_ns / NS_PER_MS) if sample.baseline_ns else None for sample in samples
    ]
