"""Figures of single experiments, taken only where a scenario bounds them.

How steady the refused share is while demand is (Cinnamon, 2023: AIMD and CoDel swing by 30 points),
how long it takes to settle, how deep goodput dips after a step (Breakwater, OSDI 2020), and how
true the demand is that a controller shows for others to scale by.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.simulator.statistics import mean
from shedproxy.simulator.world import World

__all__ = ["dip_ratio", "promised_figures", "refusal_figures"]

_WINDOW_COUNT = 2_000
"""Requests that a window holds on average at least."""
_WINDOW_NS = NS_PER_S
_SETTLES_NS = 2 * NS_PER_S
"""A segment of steady demand is looked at from here on: until then it may settle."""
_LOOK_NS = 500 * NS_PER_MS
_LOOK_STEP_NS = 100 * NS_PER_MS
_HOLDS_NS = NS_PER_S
_NEAR = 0.10


class _Segment(NamedTuple):
    """Between two changes of demand."""

    begin: int
    end: int


def promised_figures(world: World, oracle: World) -> dict[str, float]:
    """Those that the scenario bounds, by name; what there is too little of is absent.

    `refused_share_sd` and `refused_share_range` (highest less lowest) are over windows of a second,
    or of 2 000 arrivals where these take longer, from two seconds after each instant of
    `recovers_from_s` (and after the cold start) on. `refused_settling_s` is the longest time from
    such an instant until the share stays within 0.1 of its mean for a second. `dip_ratio`: see
    there. `demand_error_ratio` is the distance of the mean demand that is shown from what was
    offered, relative to the latter. `oldest_served_ms` is the longest that anybody served waited.
    `clients_max_min_ratio` is the best served population's share over the worst served one's.
    """
    wanted = {expectation.metric for expectation in world.scenario.expect}
    found: dict[str, float] = {}
    if wanted & {"refused_share_sd", "refused_share_range", "refused_settling_s"}:
        found |= refusal_figures(world)
    if "dip_ratio" in wanted:
        begins = [round(at_s * NS_PER_S) for at_s in world.scenario.recovers_from_s]
        found["dip_ratio"] = dip_ratio(
            world.tally.served_at, oracle.tally.served_at, begins, until=world.engine.now
        )
    if "demand_error_ratio" in wanted:
        found["demand_error_ratio"] = _demand_error(world)
    if "oldest_served_ms" in wanted:
        found["oldest_served_ms"] = max(world.tally.latencies_ns, default=0) / NS_PER_MS
    if "clients_max_min_ratio" in wanted:
        shares = [one.served / one.ended for one in world.tally.clients.values() if one.ended]
        found["clients_max_min_ratio"] = max(shares) / min(shares) if min(shares) else math.inf
    for client in world.scenario.client:
        if client.lane == "control":
            longest_ns = world.tally.clients[client.name].latency_max_ns
            found[f"client_latency_max_ms.{client.name}"] = longest_ns / NS_PER_MS
    return {name: value for name, value in found.items() if not math.isnan(value)}


def refusal_figures(world: World) -> dict[str, float]:
    """How steady the refused share is, and how soon."""
    begun, refused = world.tally.begun_at, world.tally.refused_at
    if not begun:
        return {}
    edges = [
        world.tally.scored_from or 0,
        *(round(at_s * NS_PER_S) for at_s in world.scenario.recovers_from_s),
        world.engine.now,
    ]
    shares, squares, settling_ns = [], [], 0
    for segment in (_Segment(*edge) for edge in pairwise(sorted(edges))):
        found = _window_shares(begun, refused, segment)
        if len(found) < 2:
            continue
        middle = mean(found)
        squares += [(share - middle) ** 2 for share in found]
        shares.append(max(found) - min(found))
        settling_ns = max(settling_ns, _settling_ns(begun, refused, segment, mean(found)))
    if not shares:
        return {}
    return {
        "refused_share_sd": math.sqrt(sum(squares) / len(squares)),
        "refused_share_range": max(shares),
        "refused_settling_s": settling_ns / NS_PER_S,
    }


def _share(begun: Sequence[int], refused: Sequence[int], begin: int, end: int) -> float:
    offered = _count(begun, begin, end)
    return _count(refused, begin, end) / offered if offered else 0.0


def _window_shares(
    begun: Sequence[int], refused: Sequence[int], segment: _Segment
) -> Sequence[float]:
    begin = segment.begin + _SETTLES_NS
    length = segment.end - begin
    count = _count(begun, begin, segment.end)
    if length <= 0 or not count:
        return ()
    window_ns = max(_WINDOW_NS, length * _WINDOW_COUNT // count)
    return [
        _share(begun, refused, at, at + window_ns)
        for at in range(begin, segment.end - window_ns + 1, window_ns)
    ]


def _settling_ns(
    begun: Sequence[int], refused: Sequence[int], segment: _Segment, level: float
) -> int:
    """Twice the standard deviation of a share of so many is allowed for chance."""
    near_since: int | None = None
    for at in range(segment.begin, segment.end - _LOOK_NS + 1, _LOOK_STEP_NS):
        offered = _count(begun, at, at + _LOOK_NS)
        chance = 2 * math.sqrt(level * (1 - min(level, 1.0)) / offered) if offered else 0.0
        if abs(_share(begun, refused, at, at + _LOOK_NS) - level) > _NEAR + chance:
            near_since = None
        elif near_since is None:
            near_since = at
        if near_since is not None and at - near_since >= _HOLDS_NS:
            break
    return (segment.end if near_since is None else near_since) - segment.begin


def dip_ratio(
    served_at: Sequence[int], oracle_at: Sequence[int], begins: Sequence[int], *, until: int
) -> float:
    """The deepest that goodput falls below the oracle's after a step, 0..1.

    In every stretch of 2 000 answers of the oracle from `begins` on; NaN where there is no stretch.
    """
    deepest = math.nan
    for begin, end in pairwise([*begins, until]):
        first, last = bisect_left(oracle_at, begin), bisect_left(oracle_at, end)
        for index in range(first, last - _WINDOW_COUNT, _WINDOW_COUNT // 4):
            stretch = oracle_at[index], oracle_at[index + _WINDOW_COUNT]
            dip = 1 - _count(served_at, *stretch) / _WINDOW_COUNT
            deepest = max(0.0, dip) if math.isnan(deepest) else max(deepest, dip)
    return deepest


def _demand_error(world: World) -> float:
    """Of the mean over the scored time after the share has had time to settle."""
    tally = world.tally
    begin = (tally.scored_from or 0) + _SETTLES_NS
    shown = [
        sample.demand_ratio
        for sample in world.samples
        if sample.at_ns >= begin and math.isfinite(sample.demand_ratio)
    ]
    length_ns = world.engine.now - begin
    if not shown or length_ns <= 0:
        return math.nan
    offered_rps = _count(tally.begun_at, begin, world.engine.now) / length_ns * NS_PER_S
    load = offered_rps / capacity_rps(world.scenario.backend)
    return abs(mean(shown) / load - 1)


def _count(instants: Sequence[int], begin: int, end: int) -> int:
    return bisect_left(instants, end) - bisect_left(instants, begin)
