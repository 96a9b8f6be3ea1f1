"""What a run of a world with cells comes to, in named figures, and what others noticed of a flood.

Figures of a client end in its name, those of a cell in the cell's. What ended before the cold start
was over is left out. A client's share is of its calls that ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.simulator.cells.outcomes import Outcome
from shedproxy.simulator.cells.world import CellWorld
from shedproxy.simulator.tally import End
from shedproxy.workload.results import percentile

__all__ = ["measure_cells", "same_outcomes"]

_HURT = 0.001
"""A tenant that loses more than this share of its calls is hurt."""


def measure_cells(world: CellWorld) -> dict[str, float]:
    """Every figure of a run, by name."""
    scored_from = world.tally.scored_from or 0
    deadline_ns = world.tally.deadline_ns
    found: dict[str, float] = {}
    ended: list[Outcome] = []
    innocent: list[Outcome] = []
    for client in world.scenario.client:
        outcomes = [
            outcome
            for outcome in world.tally.outcomes.get(client.name, ())
            if outcome.ended_at >= scored_from
        ]
        if outcomes:
            found |= _of_client(client.name, outcomes, deadline_ns)
        ended += outcomes
        if not client.poison_ms and client.name not in world.scenario.flood:
            innocent += outcomes
    if ended:
        found |= _of_all(ended, deadline_ns)
    if innocent:
        found["hurt_tenants_ratio"] = _hurt_share(innocent)
    for cell in world.shedder.stats().cells:
        fleet = world.backend.fleets[cell.name]
        found |= {
            f"sent.{cell.name}": float(cell.sent_count),
            f"taken.{cell.name}": float(cell.taken_count),
            f"guests_max.{cell.name}": float(world.guests_max[cell.name]),
            f"limit.{cell.name}": float(cell.limit),
            f"retries.{cell.name}": float(fleet.retries),
            f"deaths.{cell.name}": float(fleet.deaths),
        }
    scored_s = world.scenario.duration_s - scored_from / NS_PER_S
    for name, count in Counter(o.cell for o in ended if _is_good(o, deadline_ns)).items():
        found[f"goodput_rps.{name}"] = count / scored_s
    found["staleness_max_s"] = world.staleness_max_ns / NS_PER_S
    found["moves"] = float(world.plane.moves_done)
    found["table_lag"] = float(world.plane.version - world.router.version)
    return found


def _is_good(outcome: Outcome, deadline_ns: int) -> bool:
    return outcome.end is End.SERVED and outcome.ended_at - outcome.arrived_at <= deadline_ns


def _of_all(ended: Sequence[Outcome], deadline_ns: int) -> dict[str, float]:
    count = len(ended)
    return {
        "served_ratio": sum(_is_good(outcome, deadline_ns) for outcome in ended) / count,
        "refused_ratio": sum(outcome.end is End.REFUSED for outcome in ended) / count,
        "failed_ratio": sum(outcome.end is End.FAILED for outcome in ended) / count,
        "completions": float(sum(outcome.end is End.SERVED for outcome in ended)),
    }


def _of_client(name: str, outcomes: Sequence[Outcome], deadline_ns: int) -> dict[str, float]:
    count = len(outcomes)
    served = [outcome for outcome in outcomes if outcome.end is End.SERVED]
    found = {
        f"client_served_ratio.{name}": sum(_is_good(o, deadline_ns) for o in outcomes) / count,
        f"client_failed_ratio.{name}": sum(o.end is End.FAILED for o in outcomes) / count,
        f"client_lost.{name}": float(count - len(served)),
    }
    if served:
        found[f"client_p99_ms.{name}"] = _p99_ns(served) / NS_PER_MS
        guests = sum(outcome.cell != outcome.home for outcome in served)
        found[f"client_guests_ratio.{name}"] = guests / len(served)
        found[f"client_cells.{name}"] = float(len({outcome.home for outcome in served}))
    return found


def _p99_ns(outcomes: Sequence[Outcome]) -> int:
    latencies = sorted(o.ended_at - o.arrived_at for o in outcomes if o.end is End.SERVED)
    return percentile(latencies, 0.99) or 0


def _hurt_share(outcomes: Sequence[Outcome]) -> float:
    """Of tenants: those that lost more than one in a thousand to hosts that went."""
    calls = Counter(outcome.flow_hash for outcome in outcomes)
    lost = Counter(outcome.flow_hash for outcome in outcomes if outcome.end is End.FAILED)
    hurt = sum(lost[tenant] > _HURT * count for tenant, count in calls.items())
    return hurt / len(calls)


def same_outcomes(with_flood: CellWorld, without: CellWorld) -> dict[str, float]:
    """Of each client that is no part of the flood: the share of its calls to which the same
    happened at the same instant, at hosts of the same cell, whether or not there was a flood; and
    the 99th percentile of its latencies over what that is without.
    """
    found: dict[str, float] = {}
    for client in without.scenario.client:
        one = with_flood.tally.outcomes.get(client.name, [])
        other = without.tally.outcomes.get(client.name, [])
        same = sum(left == right for left, right in zip(one, other, strict=False))
        longest = max(len(one), len(other))
        if longest:
            found[f"same_outcomes.{client.name}"] = same / longest
        p99_ns, calm_ns = _p99_ns(one), _p99_ns(other)
        if p99_ns and calm_ns:
            found[f"client_p99_ratio.{client.name}"] = p99_ns / calm_ns
    return found
