"""The latency to hold, by the latency without load and how well that is known."""

from __future__ import annotations

from typing import Final

from shedproxy.core.units import NS_PER_MS

__all__ = ["target_ns"]

_MARGIN: Final = 0.2
"""Latency held above the baseline at least, in baselines: a queue of a fifth keeps slots busy."""
_MARGIN_ERRORS: Final = 2.0
"""Plus so many standard errors of the baseline: it is below the truth as often as above."""
_MARGIN_MAX: Final = 0.8
"""And at most: an error beyond that says that nothing is known, not that queues are fine."""
_NOISE_NS: Final = NS_PER_MS
"""Extra latency that is never taken for queueing: scheduling, a lagging loop, a small batch."""


def target_ns(baseline_ns: int, error: float = 0.0) -> int:
    """Mean latency in ns for a no-load latency in ns known to a relative standard error."""
    margin = min(_MARGIN_MAX, _MARGIN + _MARGIN_ERRORS * error)
    return max(round(baseline_ns * (1 + margin)), baseline_ns + _NOISE_NS)
