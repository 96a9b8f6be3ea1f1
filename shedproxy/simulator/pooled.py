"""Shares of all seeds together: of what is too rare, or too few, at one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shedproxy.simulator.figures import ENOUGH, QUEUE_ORACLE_REFUSED, REFUSED, Counts
from shedproxy.simulator.statistics import interval_of, resamples
from shedproxy.workload import RandomSource

__all__ = ["EXCESS", "pooled_figures"]

EXCESS = "false_refusal_excess"
"""Refused beyond what our queue refuses behind the true limit: below 0 where it is less."""
_RESAMPLES = 1_000


def pooled_figures(counts: Sequence[Counts], rng: RandomSource) -> dict[str, dict[str, Any]]:
    """By name: value, interval (None of one seed), the requests that it rests on, seeds.

    The signed excess of refusals, and each share of a class or a client. The interval resamples
    seeds, both runs of one together.
    """
    if not counts:
        return {}
    found: dict[str, dict[str, Any]] = {}
    draws = resamples(len(counts), rng=rng, times=_RESAMPLES) if len(counts) > 1 else []

    def add(name: str, *parts: Sequence[tuple[int, int]]) -> None:
        requests = sum(ended for _, ended in parts[0])
        if not all(sum(ended for _, ended in part) >= ENOUGH for part in parts):
            return

        def value(places: Sequence[int]) -> float:
            first, *others = (_share(part, places) for part in parts)
            return first - sum(others)

        low: float | None
        high: float | None
        if draws:
            middle, low, high = interval_of(value, len(counts), draws)
        else:
            middle, low, high = value([0]), None, None
        found[name] = {
            "value": middle,
            "low": low,
            "high": high,
            "requests": requests,
            "seeds": len(counts),
        }

    if all(REFUSED in one and QUEUE_ORACLE_REFUSED in one for one in counts):
        refused, beside = _columns(counts, REFUSED), _columns(counts, QUEUE_ORACLE_REFUSED)
        add(EXCESS, refused, beside)
    for name in dict.fromkeys(name for one in counts for name in one):
        if name not in {REFUSED, QUEUE_ORACLE_REFUSED}:
            add(name, _columns(counts, name))
    return found


def _columns(counts: Sequence[Mapping[str, tuple[int, int]]], name: str) -> list[tuple[int, int]]:
    return [one.get(name, (0, 0)) for one in counts]


def _share(part: Sequence[tuple[int, int]], places: Sequence[int]) -> float:
    ended = sum(part[place][1] for place in places)
    return sum(part[place][0] for place in places) / ended if ended else 0.0
