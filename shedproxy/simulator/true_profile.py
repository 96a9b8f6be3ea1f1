"""The profile that a calibration without error would have written, where a scenario states none.

By the rules of `shedproxy.calibration.derive`, from the truth: the knee is capacity times the
latency without load (Little's law), the limit starts a quarter above it and may double it, or rise
to where capacity is reached, if that is more; it does not exceed the concurrency beyond which a
service gets slower (Gunther's law), as it is seen from here: with what is on its way.
"""

from __future__ import annotations

import math

from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.simulator.backend.sharing import best_usl_concurrency
from shedproxy.workload.scenario import ProfileSpec, Scenario

__all__ = ["profile_of"]

_MARGIN = 1.25
_CEILING = 2.0
_ALIKE = 1.5
"""Routes whose mean service differs by no more than this share a baseline."""
_CONCURRENCY_MAX = 1000


def profile_of(scenario: Scenario) -> ProfileSpec | None:
    """What the scenario states, or the truth about its backend as it is at the start.

    Of several proxies each has an equal part of the limit. None for a backend whose capacity
    nothing bounds.
    """
    backend, proxy = scenario.backend, scenario.proxy
    capacity = capacity_rps(backend)
    if scenario.profile is not None or not math.isfinite(capacity):
        return scenario.profile
    aside_ms = backend.network_ms + backend.downstream_ms + proxy.noise_us / 1000
    answer_ms = backend.service_ms + aside_ms
    knee = capacity * answer_ms / 1000 / proxy.count
    start = max(math.ceil(knee) + 1, math.ceil(_MARGIN * knee))
    ceiling = max(start, math.ceil(_CEILING * knee))
    if backend.kind == "usl":
        best = best_usl_concurrency(backend.alpha, backend.beta, at_most=_CONCURRENCY_MAX)
        inside = backend.hosts * best + capacity * aside_ms / 1000
        peak = max(1, math.floor(inside / proxy.count))
        start, ceiling = min(start, peak), peak
    factors = [client.service_factor for client in scenario.client]
    is_alike = max(factors) <= _ALIKE * min(factors)
    mean_factor = sum(factors) / len(factors)
    return ProfileSpec(
        start=start,
        minimum=max(1, min(start, math.ceil(knee))),
        maximum=ceiling,
        baseline_ms=backend.service_ms * mean_factor + aside_ms if is_alike else None,
    )
