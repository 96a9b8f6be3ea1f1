"""One number from 0 to 1 for a run, by rules that were fixed before anything was tuned by them.

The score compares with an oracle that knows the backend's capacity at every instant. Rules and
weights are printed wherever a score is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shedproxy.simulator.figures import ENOUGH
from shedproxy.simulator.statistics import median, median_interval
from shedproxy.workload.scenario import Expectation

__all__ = [
    "RULES",
    "WEIGHTS",
    "Met",
    "Spread",
    "check_expectation",
    "score_of",
    "score_parts",
    "spread",
]

WEIGHTS: Mapping[str, float] = {
    "goodput": 0.50,
    "p99": 0.15,
    "false refusals": 0.15,
    "recovery": 0.10,
    "inversions": 0.05,
    "fairness": 0.05,
}

_TEXT = f"""
Every controller meets the same requests with the same work at a seed. What ends between the end
of the cold start and the end of the run counts; shares are of what ended.

The oracle knows the backend's capacity at every instant and keeps it just busy; the rest waits
while it can be served in time, the most important first, then the oldest in good time.

Goodput: requests served within their deadline, over the oracle's (of tasks of several calls over
what capacity allows, where that is more); at most 1.

p99: of the latency of what was served. Allowed is twice the p99 of the same backend at 0.8 of its
capacity (of the oracle or without control, whichever is less), at least 10 ms more than that. The
part is allowed over measured, at most 1, and 0 where too little was served to say.

False refusals: share refused beyond what our queue refuses behind the true limit. The part loses a
tenth for each percent and applies where that queue refuses less than 1 %.

Recovery: longest time from a trigger until all is well for a second: in every window at least 95 %
of the oracle's goodput (less twice the root of the count, for chance). The part loses a tenth for
each second and applies where there is a trigger.

Inversions: share of calls refused for their rank while a lower class was let in within the same
100 ms. The part loses a tenth for each percent and applies where there are classes.

Fairness: Jain's index of what tenants got, over their max-min fair shares of what the oracle served
them. It applies where there are tenants.

A run's score is the weighted mean of the parts that apply, a scenario's the mean over its seeds,
the overall one the mean over the scenarios that are open to all. The 95 % intervals resample
scenarios, and seeds within them, in pairs.

A figure that rests on fewer than {ENOUGH:,} requests is left out; what a class or a client got is
taken of all seeds together where it is fewer at one. Intervals of figures resample seeds.

Controllers are told the deadline; CoDel, DAGOR, Breakwater, Cinnamon and APF also the number in
flight that the service does best with, SEDA its capacity, Breakwater the service time and the
network's, BBR how busy the service is, as a processor's use is smoothed: a favour, and so leads are
also given among those that were told the capacity and among those that were not. Their constants
in milliseconds and slots are as published, whatever the service. shedproxy is told nothing.
shedproxy-profile has the profile that a calibration without error would have written, fixed the
true number of slots: they are yardsticks that know the capacity, and take no place.
"""

RULES: Sequence[str] = tuple(
    paragraph.replace("\n", " ") for paragraph in _TEXT.strip().split("\n\n")
)
"""In words, for whoever reads a score."""

_FALSE_REFUSALS_BELOW = 0.01
_POINTS_PER_RATIO = 10.0
_RECOVERY_MAX_S = 10.0

_HIGH_IS_GOOD = (
    "goodput",
    "served",
    "class_served_ratio",
    "client_served_ratio",
    "same_outcomes",
    "fairness",
    "proxy_fairness",
    "spare_used",
    "task_optimum",
    "sessions",
    "completions",
)
_NEAR_0_IS_GOOD = ("drift_ratio", "baseline_drift_ratio")


class Spread(NamedTuple):
    """A figure over the seeds, and where its median lies with 95 % confidence."""

    median: float
    worst: float
    low: float | None
    high: float | None


class Met(NamedTuple):
    """An expectation against what was measured; `actual` is None where nothing was."""

    text: str
    actual: float | None
    is_met: bool


def score_parts(
    figures: Mapping[str, float], *, queue_oracle_refused_ratio: float
) -> dict[str, float]:
    """The parts of a score that apply, each from 0 to 1; none where goodput was not measured."""
    if "goodput_ratio" not in figures:
        return {}
    parts = {"goodput": min(1.0, figures["goodput_ratio"])}
    if "p99_ratio" in figures:
        parts["p99"] = min(1.0, 1 / figures["p99_ratio"])
    elif "p99_ms" not in figures:
        parts["p99"] = 0.0
    if queue_oracle_refused_ratio < _FALSE_REFUSALS_BELOW:
        parts["false refusals"] = _lose(figures["false_refusal_ratio"])
    if "recovery_s" in figures:
        parts["recovery"] = max(0.0, 1 - figures["recovery_s"] / _RECOVERY_MAX_S)
    if "inversion_ratio" in figures:
        parts["inversions"] = _lose(figures["inversion_ratio"])
    if "fairness" in figures:
        parts["fairness"] = figures["fairness"]
    return parts


def _lose(ratio: float) -> float:
    return max(0.0, 1 - _POINTS_PER_RATIO * ratio)


def score_of(parts: Mapping[str, float]) -> float | None:
    """The weighted mean of the parts that apply; None without any."""
    if not parts:
        return None
    weight = sum(WEIGHTS[name] for name in parts)
    return sum(WEIGHTS[name] * part for name, part in parts.items()) / weight


def spread(name: str, values: Sequence[float]) -> Spread:
    """A figure of one seed or more: the one in the middle, and the worst; two have an interval."""
    low, high = median_interval(values) or (None, None)
    if name.startswith(_NEAR_0_IS_GOOD):
        worst = max(values, key=abs)
    else:
        worst = min(values) if name.startswith(_HIGH_IS_GOOD) else max(values)
    return Spread(median(values), worst, low, high)


def check_expectation(expectation: Expectation, values: Sequence[float]) -> Met:
    """An expectation on the worst seed; not met where the figure is missing."""
    low, high = expectation.at_least, expectation.at_most
    words = [f">= {low:g}"] if low is not None else []
    words += [f"<= {high:g}"] if high is not None else []
    text = f"{expectation.metric} {' and '.join(words)}"
    if not values:
        return Met(text, None, is_met=False)
    misses = [(low - min(values), min(values))] if low is not None else []
    misses += [(max(values) - high, max(values))] if high is not None else []
    miss, actual = max(misses)
    return Met(text, actual, is_met=miss <= 0)
