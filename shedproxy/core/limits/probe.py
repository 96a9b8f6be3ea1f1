"""Deliberate moves of the limit that answer a question, each short and paid for by nobody's refusal.

A *dip* asks what latency is without load: for some dozen samples the limit is low, and what is admitted
then is the new baseline. A *trial* asks whether the service is saturated: at a limit half as high again
latency rises in proportion if it is, and stays if it is not. A trial costs a little latency, a dip a
little throughput; so where latency has risen, the trial comes first.
"""

from __future__ import annotations

import math

from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.units import NS_PER_S, Instant
from shedproxy.core.window import WindowSummary

__all__ = ["TRIAL_FACTOR", "Dip", "Trial"]

TRIAL_FACTOR = 1.5
_DIP_SAMPLES_MIN = 16
_DIP_SAMPLES_MAX = 400
_DIP_LENGTH_MAX_NS = 3 * NS_PER_S
_DIP_RTTS_MAX = 60
_TRIAL_LENGTH_MAX_NS = 10 * NS_PER_S
_TRIAL_SAMPLES = 32.0
_SATURATED = 0.5
"""From this exponent on latency follows the limit."""
_STILL_HIGH = 1.25


class Dip:
    """A time at low in-flight, to learn what latency is without load."""

    __slots__ = ("_began_at", "_length_ns", "_samples", "_wanted", "level_before")

    def __init__(self, wanted: float, level: float, *, now: Instant, length_ns: int = 0) -> None:
        """`wanted`: the level where latency would be on target if the baseline were right."""
        self._began_at = now
        self._length_ns = length_ns
        """How long it lasts at least; 0: until the baseline is known."""
        self._wanted = wanted
        self._samples = 0
        self.level_before = level

    def is_over(self, window: WindowSummary, *, is_known: bool, now: Instant) -> bool:
        """Enough has been learnt, or it is no use waiting any longer."""
        self._samples += window.sample_count
        elapsed_ns = now - self._began_at
        if self._length_ns:
            is_known = elapsed_ns >= self._length_ns and window.learnt_count >= _DIP_SAMPLES_MIN
        return (
            is_known
            or self._samples >= _DIP_SAMPLES_MAX
            or elapsed_ns >= max(_DIP_LENGTH_MAX_NS, _DIP_RTTS_MAX * window.rtt_mean_ns)
        )

    def level_after(self, ratio: float) -> float:
        """Where latency is on target, with a baseline `ratio` times as long."""
        return min(self._wanted * ratio, self.level_before * TRIAL_FACTOR)


class Trial:
    """A time at a higher limit and a time back again, to see whether latency follows.

    Compared with the time after, not with the one before: what was before was looked at because it
    was high, and by chance alone would not be as high again.
    """

    __slots__ = ("_above", "_after", "_began_at", "_is_above", "_usual_strain", "level_before")

    def __init__(self, usual: Evidence, level: float, *, now: Instant) -> None:
        self._began_at = now
        self.level_before = level
        self._usual_strain = usual.strain
        self._is_above = True
        self._above = Evidence()
        self._after = Evidence()

    @property
    def level(self) -> float:
        """The level to hold now."""
        return self.level_before * TRIAL_FACTOR if self._is_above else self.level_before

    def is_over(
        self, window: WindowSummary, *, target_ns: float, scatter: float, now: Instant
    ) -> bool:
        """Take a window; `target_ns` is what its latency should be, so that mixes compare."""
        wanted = _TRIAL_SAMPLES * (1.0 + scatter)
        middle = self.level_before * math.sqrt(TRIAL_FACTOR)
        if self._is_above:
            if window.in_flight_mean > middle:
                self._above.add(window, target_ns=target_ns, memory=math.inf)
            self._is_above = self._above.count < wanted
        elif window.in_flight_mean <= middle:
            self._after.add(window, target_ns=target_ns, memory=math.inf)
        # Without the load to fill the limit nothing can be learnt.
        return self._after.count >= wanted or now - self._began_at >= _TRIAL_LENGTH_MAX_NS

    @property
    def is_real(self) -> bool:
        """Latency is still high: it was no accident."""
        return self._after.strain > _STILL_HIGH * self._usual_strain

    @property
    def is_saturated(self) -> bool:
        """Latency followed the limit."""
        above, after = self._above, self._after
        if not (above.count and after.count and above.in_flight > after.in_flight):
            return False
        followed = math.log(above.strain / after.strain)
        return followed > _SATURATED * math.log(above.in_flight / after.in_flight)
