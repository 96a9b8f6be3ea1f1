"""The first slots of a cell that knows nothing: a few, and one more with each answer.

A limit that is too high from the start shows latencies of its own making and nothing else, and who
comes in an overload meets one. So the first answers come from low in-flight: they are what the
ramp is measured against. Each one after them opens a slot, which doubles the limit in a round trip,
until the initial limit is reached or two answers in a row took clearly longer than the first ones.
The slow start of TCP (RFC 5681, 3.1), with latency in place of loss.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.baseline import LOW_ALWAYS
from shedproxy.core.limits.target import MARGIN_MAX, NOISE_NS

__all__ = ["Opening"]

_FIRST_TURNS: Final = 2
"""Of two in flight the first to end was the short one."""
_OBJECTIONS: Final = 2
"""One answer that took long is chance."""


class Opening:
    """From `limit` slots to more. `is_over` is for good."""

    __slots__ = ("_answer_count", "_first_max", "_objection_count", "is_over", "level", "limit")

    def __init__(self, limit: int) -> None:
        """Begin at `limit` slots, 1 or more."""
        self._answer_count = 0
        self._first_max = _FIRST_TURNS * limit
        """Answers of the first turns: they open nothing."""
        self._objection_count = 0
        self.limit = limit
        """Slots that are open."""
        self.level = float(limit)
        """Where the limit shall begin, once it is over: not above what the answers stood for."""
        self.is_over = False
        """Answers took long: no more slots."""

    def take(self, rtt_ns: int, baseline_ns: int, in_flight: int) -> None:
        """An answer; `in_flight` others were there when it was admitted, `baseline_ns` is 1 up."""
        self._answer_count += 1
        if self._answer_count <= self._first_max:
            return
        target_ns = baseline_ns * (1 + MARGIN_MAX) + NOISE_NS
        if rtt_ns <= target_ns:
            self._objection_count = 0
            self.limit += 1
            self.level = float(self.limit)
            return
        self._objection_count += 1
        if self._objection_count >= _OBJECTIONS:
            self.is_over = True
            # Above the knee latency is proportional to what is in flight (Little's law).
            fitting = (in_flight + 1) * target_ns / rtt_ns
            self.level = min(self.level, max(float(LOW_ALWAYS), fitting))
