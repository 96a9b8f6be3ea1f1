"""What one run comes to, in named figures, beside the oracle's run of the same seed.

Shares are of what ended in the scored time (see `tally`). A figure that does not apply is absent,
and so is one that rests on too few requests: `ENOUGH` of them, for a percentile of its own answers,
for what a class or a client got of its own requests. What is too few at one seed may be enough at
all of them together: `counts` has the sums.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from shedproxy.core import NS_PER_MS, NS_PER_S, Criticality
from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.simulator.promised_figures import promised_figures
from shedproxy.simulator.statistics import jain_index, max_min_shares, mean, median
from shedproxy.simulator.tally import Tally
from shedproxy.simulator.world import Sample, World
from shedproxy.workload.results import percentile
from shedproxy.workload.scenario import Scenario

__all__ = [
    "ENOUGH",
    "QUEUE_ORACLE_REFUSED",
    "REFUSED",
    "Counts",
    "References",
    "counts",
    "measure",
    "measure_refusals",
    "possible_rps",
    "recoveries_s",
    "refused_ratio",
]

ENOUGH = 2_000
"""Requests that a figure rests on at least."""

REFUSED = "refused"
QUEUE_ORACLE_REFUSED = "refused by the queue's oracle"
Counts = dict[str, tuple[int, int]]
"""By name: requests of which something is true, of how many that ended."""

_ALLOWED_FACTOR = 2
_ALLOWED_MORE_NS = 10 * NS_PER_MS
_TENANT_SHARE_MIN = 20
"""Tenants whose fair share is smaller are left out of fairness: chance decides what they get."""
_RECOVERED = 0.95
_RECOVERY_WINDOW_NS = 100 * NS_PER_MS
_RECOVERY_COUNT = 100
"""Answers of the oracle in a window of recovery at least, so that chance is small beside them."""
_RECOVERY_HOLDS_NS = NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What was possible, at the same seed."""

    oracle: World
    queue_oracle: World
    p99_calm_ns: int | None
    """The 99th percentile of latency on this backend at 0.8 of its capacity."""


def measure(world: World, references: References) -> dict[str, float]:
    """Every figure of a run that applies, by name."""
    tally, oracle = world.tally, references.oracle.tally
    found = _of_samples(world) | measure_refusals(world, references.queue_oracle)
    if min(oracle.ended, tally.ended) < ENOUGH:
        return found
    goodput, possible = goodput_rps(world), possible_rps(references.oracle)
    found["goodput_rps"] = goodput
    if possible:
        found["goodput_ratio"] = goodput / possible
        found["regret"] = 1 - goodput / possible
    if tally.has_classes and tally.calls:
        found["inversion_ratio"] = tally.inverted / tally.calls
    found |= _latencies(tally, references.p99_calm_ns)
    found |= _of_work(world, references.oracle)
    found |= promised_figures(world, references.oracle)
    fairness = _fairness(tally, oracle)
    if fairness is not None:
        found["fairness"] = fairness
    if len(world.proxies) > 1:
        found["proxy_fairness"] = jain_index([proxy.served for proxy in world.proxies])
    recoveries = recoveries_s(world.scenario, tally.served_at, oracle.served_at)
    for number, length_s in enumerate(recoveries, 1):
        found[f"recovery_s.{number}"] = length_s
    if recoveries:
        found["recovery_s"] = max(recoveries)
    return found


def measure_refusals(world: World, queue_oracle: World) -> dict[str, float]:
    """What of a run needs no other reference than our queue behind the true limit."""
    tally = world.tally
    found = {"completions": float(tally.calls_served)}
    if tally.ended:
        found["served_ratio"] = tally.served / tally.ended
        found["refused_ratio"] = refused_ratio(tally)
    if min(queue_oracle.tally.ended, tally.ended) >= ENOUGH:
        excess = refused_ratio(tally) - refused_ratio(queue_oracle.tally)
        found["false_refusal_ratio"] = max(0.0, excess)
    for name, (served, ended) in _shares(tally).items():
        if ended >= ENOUGH:
            found[name] = served / ended
    for name, count in tally.clients.items():
        # A number of requests, not a share: it means something of few, too.
        found[f"client_missed.{name}"] = float(count.ended - count.served)
    return found


def counts(world: World, queue_oracle: World) -> Counts:
    """What may be added up over seeds, however few it is at one: refusals, and shares by name."""
    tally, beside = world.tally, queue_oracle.tally
    return {
        REFUSED: (tally.refused, tally.ended),
        QUEUE_ORACLE_REFUSED: (beside.refused, beside.ended),
        **_shares(tally),
    }


def scored_s(world: World) -> float:
    """Length of the scored time."""
    return world.scenario.duration_s - (world.tally.scored_from or 0) / NS_PER_S


def goodput_rps(world: World) -> float:
    """Served in time, per second of the scored time."""
    return world.tally.served / scored_s(world)


def refused_ratio(tally: Tally) -> float:
    """Share that was refused of what ended; 0 of nothing."""
    return tally.refused / tally.ended if tally.ended else 0.0


def _of_samples(world: World) -> dict[str, float]:
    """Levels over the scored time, drift over the whole run, growth over its events."""
    samples = world.samples
    scored_from = world.tally.scored_from or 0
    scored = [sample for sample in samples if sample.at_ns >= scored_from]
    found: dict[str, float] = {}
    if scored:
        found["in_flight_mean"] = mean([sample.in_flight for sample in scored])
        found["in_flight_max"] = float(max(sample.in_flight for sample in scored))
        limits = [sample.limit for sample in scored]
        if all(math.isfinite(limit) for limit in limits):
            found["limit_mean"] = mean(limits)
            found["limit_max"] = max(limits)
        found |= _of_filling(scored)
    growth = _limit_growth(world.scenario, samples)
    if growth is not None:
        found["limit_growth"] = growth
    worst = _worst_baseline_ratio(samples)
    if worst is not None:
        found["baseline_worst_ratio"] = worst
    for name, values in (
        ("drift_ratio", [sample.limit for sample in samples]),
        ("baseline_drift_ratio", [float(sample.baseline_ns) for sample in samples]),
    ):
        drift = _drift(values)
        if drift is not None:
            found[name] = drift
    return found


def _drift(values: Sequence[float]) -> float | None:
    """The median of the last tenth over that of the second tenth, less 1."""
    tenth = len(values) // 10
    if not tenth:
        return None
    before, after = median(values[tenth : 2 * tenth]), median(values[-tenth:])
    if not (math.isfinite(before) and math.isfinite(after)) or before <= 0 or after <= 0:
        return None
    return after / before - 1


def _of_filling(samples: Sequence[Sample]) -> dict[str, float]:
    """How full the backend was, over what keeps it just busy: all calls, and those nobody counts.

    A call that its controller does not count any more is one that was abandoned.
    """
    known = [s for s in samples if math.isfinite(s.best_inside) and s.best_inside > 0]
    if not known:
        return {}
    ratios = [sample.inside / sample.best_inside for sample in known]
    uncounted = [max(0, s.inside - s.in_flight) / s.best_inside for s in known]
    return {
        "inside_mean_ratio": mean(ratios),
        "inside_max_ratio": max(ratios),
        "uncounted_max_ratio": max(uncounted),
    }


def _limit_growth(scenario: Scenario, samples: Sequence[Sample]) -> float | None:
    """The highest limit during an event over the last one before it, less 1; of several the most.

    Events that begin and end count; None where there is none, or nothing was seen before it.
    """
    found = []
    for event in scenario.event:
        begin_ns = event.at_s * NS_PER_S
        end_ns = begin_ns + event.for_s * NS_PER_S
        before = [sample.limit for sample in samples if sample.at_ns <= begin_ns]
        during = [sample.limit for sample in samples if begin_ns < sample.at_ns <= end_ns]
        if before and during and math.isfinite(max(before[-1], *during)) and before[-1] > 0:
            found.append(max(during) / before[-1] - 1)
    return max(found, default=None)


def _worst_baseline_ratio(samples: Sequence[Sample]) -> float | None:
    """Of several proxies the one whose baseline rose most, over what it had in the second tenth.

    A proxy that starts anew is compared with the one it replaces. The median of each later tenth
    counts, so that a baseline which is wrong for a tenth of the run is seen.
    """
    tenth = len(samples) // 10
    if not tenth or len(samples[0].baselines_ns) < 2:
        return None
    found = []
    for index in range(len(samples[0].baselines_ns)):
        column = [sample.baselines_ns[index] for sample in samples]
        before = _median_known(column[tenth : 2 * tenth])
        later = (
            _median_known(column[start : start + tenth])
            for start in range(2 * tenth, len(column) - tenth + 1, tenth)
        )
        if before is not None:
            found += [value / before for value in later if value is not None]
    return max(found, default=None)


def _median_known(values: Sequence[int]) -> float | None:
    known = [float(value) for value in values if value]
    return median(known) if known else None


def _latencies(tally: Tally, p99_calm_ns: int | None) -> dict[str, float]:
    found: dict[str, float] = {}
    latencies, waits = sorted(tally.latencies_ns), sorted(tally.refusal_waits_ns)
    if len(latencies) >= ENOUGH:
        p99_ns = percentile(latencies, 0.99) or 0
        found["p50_ms"] = (percentile(latencies, 0.5) or 0) / NS_PER_MS
        found["p99_ms"] = p99_ns / NS_PER_MS
        if p99_calm_ns is not None:
            allowed_ns = max(_ALLOWED_FACTOR * p99_calm_ns, p99_calm_ns + _ALLOWED_MORE_NS)
            found["p99_ratio"] = p99_ns / allowed_ns
    if len(waits) >= ENOUGH:
        found["refusal_wait_p50_ms"] = (percentile(waits, 0.5) or 0) / NS_PER_MS
        found["refusal_wait_p99_ms"] = (percentile(waits, 0.99) or 0) / NS_PER_MS
    return found


def _shares(tally: Tally) -> Counts:
    """What each class and population was served, of what it wanted."""
    found = {
        f"class_served_ratio.{criticality.label}": (tally.class_served[criticality], ended)
        for criticality in Criticality
        if (ended := tally.class_ended[criticality])
    }
    for name, count in tally.clients.items():
        if count.ended:
            found[f"client_served_ratio.{name}"] = (count.served, count.ended)
    return found


def _of_work(world: World, oracle: World) -> dict[str, float]:
    """What became of the backend's time, and of tasks and sessions that take several calls."""
    tally = world.tally
    found: dict[str, float] = {}
    busy_ns = world.backend.busy_ns
    if busy_ns:
        found["wasted_ratio"] = max(0.0, 1 - tally.useful_ns / busy_ns)
    if oracle.tally.useful_ns:
        found["spare_used_ratio"] = tally.useful_ns / oracle.tally.useful_ns
    possible = _tasks_possible(world)
    if math.isfinite(possible) and possible:
        found["task_optimum_ratio"] = tally.served / possible
    if oracle.tally.sessions_completed:
        found["sessions_ratio"] = tally.sessions_completed / oracle.tally.sessions_completed
    return found


def possible_rps(oracle: World) -> float:
    """The oracle's goodput, or what tasks of several calls allow where that is more.

    The oracle does not know which calls are of one task: it begins too many.
    """
    has_tasks = any(client.calls_per_task > 1 for client in oracle.scenario.client)
    tasks = _tasks_possible(oracle) / scored_s(oracle) if has_tasks else 0.0
    return max(goodput_rps(oracle), tasks)


def _tasks_possible(world: World) -> float:
    """The optimum of DAGOR's experiments: every task that is begun has all of its calls done."""
    scenario, tally = world.scenario, world.tally
    work = sum(
        tally.clients[client.name].offered
        * client.calls_per_task
        * client.service_factor
        * client.cost
        for client in scenario.client
    )
    can = capacity_rps(scenario.backend) * scored_s(world)
    return tally.offered * min(1.0, can / work) if work else 0.0


def _fairness(tally: Tally, oracle: Tally) -> float | None:
    """Jain's index of what tenants got over their fair share of what the oracle served them."""
    if tally.tenants is None or oracle.tenants is None or len(tally.tenants) < 2:
        return None
    total = sum(served for _, served, _ in oracle.tenants.values())
    counts = list(tally.tenants.values())
    shares = max_min_shares([float(offered) for offered, *_ in counts], float(total))
    got = [
        served / share
        for (_, served, _), share in zip(counts, shares, strict=True)
        if share >= _TENANT_SHARE_MIN
    ]
    return jain_index(got) if len(got) > 1 else None


def recoveries_s(
    scenario: Scenario, served_at: Sequence[int], oracle_at: Sequence[int]
) -> list[float]:
    """The time from each instant of `recovers_from_s` until all is well again.

    All is well when in every window of the next second the run answers 95 % of what the oracle
    does, less twice the root of it for chance. A window is 100 ms, or as long as the oracle takes
    for 100 answers on average. What is not well again before the next instant, or the end, counts
    as having taken until then. Nothing where there is no trigger.
    """
    if not scenario.recovers_from_s or len(oracle_at) < 2:
        return []
    end_ns = round(scenario.duration_s * NS_PER_S)
    mean_gap_ns = (oracle_at[-1] - oracle_at[0]) / (len(oracle_at) - 1)
    window_ns = max(_RECOVERY_WINDOW_NS, round(_RECOVERY_COUNT * mean_gap_ns))
    starts = [round(at_s * NS_PER_S) for at_s in scenario.recovers_from_s]
    return [
        _recovery_ns(served_at, oracle_at, start, until, window_ns) / NS_PER_S
        for start, until in zip(starts, [*starts[1:], end_ns], strict=True)
    ]


def _recovery_ns(
    served_at: Sequence[int], oracle_at: Sequence[int], start: int, until: int, window_ns: int
) -> int:
    step_ns = max(1, window_ns // 4)
    well_since: int | None = None
    for at in range(start, until - window_ns + 1, step_ns):
        possible = _count(oracle_at, at, at + window_ns)
        needed = _RECOVERED * possible - 2 * math.sqrt(possible)
        if _count(served_at, at, at + window_ns) < needed:
            well_since = None
        elif well_since is None:
            well_since = at
        if well_since is not None and at - well_since >= _RECOVERY_HOLDS_NS:
            break
    return (until if well_since is None else well_since) - start


def _count(instants: Sequence[int], begin: int, end: int) -> int:
    return bisect_left(instants, end) - bisect_left(instants, begin)
