"""Scoreboards made up for tests of what shows them: plausible, and the same every time."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["CONTROLLERS", "scoreboard"]

CONTROLLERS = {
    "fixed": 0.985, "shedproxy": 0.973, "gradient2": 0.905, "vegas": 0.882, "aimd": 0.861,
    "envoy-adaptive-concurrency": 0.858, "netflix-windowed": 0.842, "breakwater": 0.83,
    "dagor": 0.79, "codel": 0.742, "tcp-bbr": 0.7, "token-bucket": 0.655,
    "queue-bound": 0.52, "none": 0.184,
}  # fmt: skip
"""Each with the quality from 0 to 1 that its numbers are made from."""
_GROUPS = {
    "Overload": "Steady load above capacity",
    "Capacity moves": "The service becomes slower and recovers",
    "Mixes": "Cheap and dear requests beside each other",
    "Faults": "The service stops for a while",
}


def scoreboard(
    *, scenario_count: int = 3, controller_count: int = 5, points: int = 40, series_count: int = 4
) -> dict[str, Any]:
    """A board of schema 1. With one scenario it has no overall part."""
    names = list(CONTROLLERS)[:controller_count]
    scenarios = [
        _scenario(number, names, points, names[:series_count]) for number in range(scenario_count)
    ]
    overall = [_overall(name, scenarios) for name in names]
    overall.sort(key=lambda row: -row["score"])
    board = {
        "schema": 1,
        "tool": "shedproxy simulate",
        "version": "1.2.3",
        "command": "shedproxy simulate --suite --seeds 5",
        "seeds": [1, 2, 3, 4, 5],
        "python": "3.11.7",
        "checked": True,
        "scoring": {
            "rules": [
                "Goodput is what was answered within its deadline, over what the oracle got.",
                "A false refusal is one while the service had room: p < 0.05 & counted once.",
            ],
            "weights": {"goodput": 0.5, "p99": 0.2, "false refusals": 0.15, "fairness": 0.15},
        },
        "scenarios": scenarios,
        "generated": {"count": 100, "seed": 7, "note": "Drawn from the same laws as the suite."},
    }
    return board if scenario_count == 1 else {**board, "overall": overall}


def _wave(number: int, name: str) -> float:
    """From -1 to 1, fixed for a scenario and a controller."""
    return math.sin(7.0 * number + 3.0 * len(name) + ord(name[0]))


def _score(number: int, name: str) -> float:
    lack = 1 - CONTROLLERS[name]
    return max(0.0, min(1.0, 1 - lack * (1 + 0.9 * _wave(number, name)) - 0.004))


def _overall(name: str, scenarios: list[dict[str, Any]]) -> dict[str, Any]:
    results = [
        next(result for result in scenario["results"] if result["controller"] == name)
        for scenario in scenarios
    ]
    score = sum(result["score"] for result in results) / len(results)
    lack = 1 - score
    best = sum(
        max(scenario["results"][1:], key=lambda result: result["score"])["controller"] == name
        for scenario in scenarios
    )
    return {
        "controller": name,
        "score": score,
        "low": score - 0.004 - 0.04 * lack,
        "high": score + 0.004 + 0.03 * lack,
        "goodput_ratio": 1 - 0.7 * lack,
        "regret": 0.7 * lack,
        "p99_ratio": 1 + 24 * lack,
        "false_refusal_ratio": 0.004 * lack,
        "inversion_ratio": 0.0 if name == "shedproxy" else 0.2 * lack,
        "fairness": 1 - 0.5 * lack,
        "recovery_s": None if name == "none" else 0.3 + 20 * lack,
        "scenarios": len(scenarios),
        "best_on": best,
        "is_yardstick": name == "fixed",
    }


def _scenario(number: int, names: list[str], points: int, in_series: list[str]) -> dict[str, Any]:
    group = list(_GROUPS)[number % len(_GROUPS)]
    slots, milliseconds = 4 + number % 5, 5 * (1 + number % 7)
    capacity = 1000.0 * slots / milliseconds
    return {
        "name": f"{group.lower().replace(' ', '-')}-{slots}x{milliseconds}ms-{number}",
        "title": f"{_GROUPS[group]}: {slots} slots of {milliseconds} ms, variant {number}",
        "group": group,
        "source": "Breakwater, OSDI 2020, figure 9" if number % 2 else "our own",
        "explanation": "Load is three times the capacity from 10 s on." if number % 3 else None,
        "duration_s": 60.0,
        "true_capacity_rps": capacity,
        "oracle": {
            "goodput_rps": 0.994 * capacity,
            "p99_ms": 6.2 * milliseconds,
            "refused_ratio": 0.66,
        },
        "results": [_result(number, name, milliseconds) for name in names],
        "series": _series(number, in_series, points, capacity, slots) if in_series else None,
    }


def _pair(median: float, worst: float) -> dict[str, float]:
    return {"median": median, "worst": worst}


def _result(number: int, name: str, milliseconds: float) -> dict[str, Any]:
    score = _score(number, name)
    lack = 1 - score
    goodput = 1 - 0.7 * lack
    ours = name == "shedproxy"
    return {
        "controller": name,
        "score": score,
        "is_yardstick": name == "fixed",
        "goodput_ratio": _pair(goodput, goodput - 0.01),
        "regret": _pair(0.7 * lack, 0.7 * lack + 0.01),
        "p99_ms": _pair(milliseconds * (6.3 + 150 * lack), milliseconds * (7 + 190 * lack)),
        "p99_ratio": _pair(1 + 24 * lack, 1.1 + 30 * lack),
        "false_refusal_ratio": _pair(0.004 * lack, 0.006 * lack),
        "inversion_ratio": _pair(0.0 if ours else 0.2 * lack, 0.0 if ours else 0.3 * lack),
        "fairness": None if number % 4 == 0 else _pair(1 - 0.5 * lack, 1 - 0.6 * lack),
        "recovery_s": None if name == "none" else _pair(0.3 + 20 * lack, 0.5 + 30 * lack),
        "drift_ratio": None,
        "refused_ratio": _pair(0.66 + 0.1 * lack, 0.67 + 0.1 * lack),
        "completions": _pair(float(round(48000 * goodput)), float(round(47500 * goodput))),
        "expectations": [
            {"text": "goodput_ratio >= 0.98", "actual": goodput, "is_met": goodput >= 0.98},
            {"text": "inversion_ratio <= 0.001", "actual": 0.0, "is_met": True},
        ]
        if ours
        else [],
        "violations": ["in flight 9 above the limit 8 at 12.4 s"]
        if name == "vegas" and number == 2
        else [],
    }


def _series(
    number: int, names: list[str], points: int, capacity: float, slots: int
) -> dict[str, Any]:
    times = [60.0 * i / (points - 1) for i in range(points)]
    dips = number % 2 == 1
    able = [capacity * (0.5 if dips and 30 <= t < 42 else 1.0) for t in times]
    offered = [capacity * (0.8 if t < 10 or t > 52 else 3.0) for t in times]
    possible = [min(pair) for pair in zip(able, offered, strict=True)]
    controllers: dict[str, Any] = {"oracle": {"goodput_rps": possible}}
    for name in names:
        controllers[name] = _run(number, name, times, offered, possible, slots)
    return {
        "seed": 1,
        "t_s": times,
        "offered_rps": offered,
        "capacity_rps": able,
        "controllers": controllers,
    }


def _run(
    number: int,
    name: str,
    times: list[float],
    offered: list[float],
    possible: list[float],
    slots: int,
) -> dict[str, Any]:
    lack = 1 - _score(number, name)
    noise = [math.sin(91.7 * t + len(name)) * math.sin(13.1 * t) for t in times]
    steps = list(zip(times, offered, possible, noise, strict=True))
    good = [can * (1 - lack * (load > can) * (0.8 + 0.5 * n)) for _, load, can, n in steps]
    limit: list[float | None] = [slots * (1 + 3 * lack + 0.2 * n) for *_, n in steps]
    if name == "none":
        limit = [None for _ in times]
    refused = [max(0.0, load - got) for (_, load, _, _), got in zip(steps, good, strict=True)]
    share = [gone / load for gone, (_, load, _, _) in zip(refused, steps, strict=True)]
    busy = [load > can for _, load, can, _ in steps]
    return {
        "goodput_rps": good,
        "refused_rps": refused,
        "p99_ms": [
            None
            if 20 < t < 23 and name == "vegas"
            else 30.0 * (1 + (90 * lack + 0.6) * b + 0.2 * n)
            for (t, _, _, n), b in zip(steps, busy, strict=True)
        ],
        "limit": limit,
        "in_flight": [
            0.9 * slots * (1 + 3 * lack) * (1 if b else 0.8) + 0.3 * n
            for (*_, n), b in zip(steps, busy, strict=True)
        ],
        "queue_length": [
            float(round((6 + 80 * lack) * b * (1 + 0.5 * n)))
            for (*_, n), b in zip(steps, busy, strict=True)
        ],
        "refused_share": share,
        "baseline_ms": [5.0 + 0.1 * n for *_, n in steps] if name == "shedproxy" else None,
    }
