"""Five layers of services that try three times each, over a bottom that fails.

After "Timeouts, retries, and backoff with jitter" (AWS Builders' Library): if every layer tries
three times, the bottom meets 3^5 = 243 times the load. With a budget of retries at every layer
(`core.RetryBudget`) it meets little more than was asked for, and with the rule of the proxy, that
an answer of the layer below is an answer and is not asked for again, only the last layer ever
retries.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from shedproxy.core import NS_PER_S, Instant, RetryBudget, RetryPolicy
from shedproxy.workload import RandomSource

__all__ = ["LAYERS", "LayerRun", "Retrying", "run_layers"]

LAYERS = 5
_TRIES = 3


class Retrying(enum.Enum):
    """Who tries again, and what that is paid from."""

    NAIVE = "every layer, always"
    BUDGETS = "every layer, from a budget of its own"
    OURS = "the last layer, from its budget: an answer is not asked for again"


@dataclass(slots=True, kw_only=True)
class LayerRun:
    """What it came to."""

    asked: int = 0
    answered: int = 0
    """Well."""
    attempts: int = 0
    """At the bottom."""

    @property
    def amplification(self) -> float:
        """Attempts at the bottom over what users asked for."""
        return self.attempts / self.asked if self.asked else 0.0


class _Layers:
    def __init__(self, retrying: Retrying, rng: RandomSource, failing: float) -> None:
        self._retrying = retrying
        self._rng = rng
        self.failing = failing
        self.run = LayerRun()
        policy = RetryPolicy(attempts_max=_TRIES)
        self._budgets = [RetryBudget(policy, now=Instant(0)) for _ in range(LAYERS)]

    def ask(self, layer: int, flow_hash: int, now: Instant) -> bool:
        """Layer 0 calls the bottom, every other one the layer below."""
        budget = self._budgets[layer]
        for attempt in range(_TRIES):
            if attempt and not self._may_repeat(layer, flow_hash, now):
                break
            if self.ask(layer - 1, flow_hash, now) if layer else self._bottom():
                budget.earn(flow_hash)
                return True
        return False

    def _may_repeat(self, layer: int, flow_hash: int, now: Instant) -> bool:
        if self._retrying is Retrying.NAIVE:
            return True
        if self._retrying is Retrying.OURS and layer:
            return False
        return self._budgets[layer].spend(flow_hash, now=now)

    def _bottom(self) -> bool:
        self.run.attempts += 1
        return self._rng.random() >= self.failing


def run_layers(
    retrying: Retrying,
    *,
    rng: RandomSource,
    failing: float,
    rate_rps: int = 200,
    length_s: int = 60,
    calm_s: int = 10,
) -> LayerRun:
    """Users of 100 tenants ask at even gaps; nothing fails for `calm_s`, which is not counted.

    Args:
        retrying: the rule of every layer.
        rng: one draw per attempt at the bottom.
        failing: share of the attempts that fail, 0..1.
        rate_rps: what users ask for per second.
        length_s: for how long the bottom fails.
        calm_s: so long all is well before; budgets are full then.
    """
    layers = _Layers(retrying, rng, 0.0)
    calm = calm_s * rate_rps
    for index in range(calm + length_s * rate_rps):
        if index == calm:
            layers.failing = failing
            layers.run = LayerRun()
        now = Instant(index * NS_PER_S // rate_rps)
        layers.run.asked += 1
        flow_hash = (index % 100 + 1) * 0x9E3779B97F4A7C15 & ((1 << 64) - 1)
        layers.run.answered += layers.ask(LAYERS - 1, flow_hash, now)
    return layers.run
