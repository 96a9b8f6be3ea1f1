"""The yardstick of false refusals: our queue behind the true limit, and no loop that refuses.

What it refuses did not fit into the queue or waited there for too long, was one tenant's more than
its share of a full queue, or could not have met the deadline that its client announced. Whatever a
controller refuses beyond that, it refused on a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from shedproxy.core import Instant, LimitPolicy, Policy, ShedLevelPolicy, Verdict
from shedproxy.simulator.controllers.ours import OurControl, our_policy
from shedproxy.workload.scenario import Scenario

__all__ = ["QueueOracleControl"]

_LIMIT_MAX = 1000


class QueueOracleControl(OurControl):
    """Our Shedder with `fixed` at the best limit, which is asked for at every tick.

    Several cells have an equal part of it each.
    """

    __slots__ = ("_best_limit", "_limit", "_policy_before")

    def __init__(
        self, scenario: Scenario, *, best_limit: Callable[[], float], now: Instant
    ) -> None:
        self._best_limit = best_limit
        self._policy_before = our_policy(scenario, with_profile=False)
        self._limit = self._limit_now()
        super().__init__(self._policy_at(self._limit), now=now)

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Let time pass, and follow the truth."""
        limit = self._limit_now()
        if limit == self._limit:
            return super().tick(now=now)
        self._limit = limit
        moved = self.apply(self._policy_at(limit), now=now)
        return [*moved, *super().tick(now=now)]

    def _limit_now(self) -> int:
        best = min(self._best_limit(), _LIMIT_MAX)
        return max(1, round(best / len(self._policy_before.cells)))

    def _policy_at(self, limit: int) -> Policy:
        cells = tuple(
            replace(
                cell,
                limit=LimitPolicy(algorithm="fixed", initial=limit, maximum=max(1000, limit)),
                shed_level=ShedLevelPolicy(enabled=False),
            )
            for cell in self._policy_before.cells
        )
        return replace(self._policy_before, cells=cells)
