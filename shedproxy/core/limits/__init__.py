"""Limit estimators by name. `adaptive` is the default, `fixed` the operator's own number; the
others are reference implementations to compare with.
"""

from __future__ import annotations

from collections.abc import Callable

from shedproxy.core.limits.adaptive import AdaptiveLimit
from shedproxy.core.limits.aimd import AimdLimit
from shedproxy.core.limits.fixed import FixedLimit
from shedproxy.core.limits.gradient2 import Gradient2Limit
from shedproxy.core.limits.protocol import LimitCause, LimitChange, LimitEstimator, clamp_limit
from shedproxy.core.limits.vegas import VegasLimit
from shedproxy.core.policy import LimitPolicy

__all__ = [
    "ALGORITHMS",
    "LimitCause",
    "LimitChange",
    "LimitEstimator",
    "clamp_limit",
    "make_estimator",
]

ALGORITHMS: dict[str, Callable[[LimitPolicy], LimitEstimator]] = {
    "adaptive": AdaptiveLimit,
    "fixed": FixedLimit,
    "aimd": AimdLimit,
    "vegas": VegasLimit,
    "gradient2": Gradient2Limit,
}
"""What `LimitPolicy.algorithm` may say."""


def make_estimator(policy: LimitPolicy) -> LimitEstimator:
    """The estimator a policy names, at the policy's initial limit.

    Raises:
        ValueError: no algorithm has that name.
    """
    algorithm = ALGORITHMS.get(policy.algorithm)
    if algorithm is None:
        known = ", ".join(sorted(ALGORITHMS))
        raise ValueError(f"no limit algorithm is called {policy.algorithm!r}; there are: {known}")
    return algorithm(policy)
