"""Whether a service does less with more in flight, and one that does: how much company costs.

Locks, connections to a database, caches that are shared: with all of them throughput has a peak,
and beyond it each one in flight slows the others by more than it adds (the retrograde region of
Gunther's Universal Scalability Law, 1993). Latency does not tell that from a queue; what is done
meanwhile does: by Little's law, what is in flight over how long it takes.
"""

from __future__ import annotations

import math
from typing import Final

from shedproxy.core.baseline import LOW_ALWAYS, low_in_flight
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.units import NS_PER_S, Instant
from shedproxy.core.window import WindowSummary

__all__ = ["FEW", "Company", "Knee", "is_retrograde"]

FEW: Final = 4
"""Slots of a dip up to which it asks: with more, other work for a moment looks like more work done,
and to look further down costs more than a service that declines so late loses."""
_GAIN: Final = math.log(1.15)
"""With less in flight so much more must be done: by less, a pause or a bunch can deceive."""
_GAIN_ERRORS: Final = 2.0
"""And by so many errors."""
_LOSS: Final = 0.15
"""Two that do so much less than many, and an error besides, do not wait for each other."""
_COSTS: Final = 1.5
"""Latency of two beside that of one from which on company costs: alone they would be alike."""
_ALONE: Final = 1.25
"""Mean in flight of a window in which nobody had company, but for what was left of before: two in
eight, which take up to twice as long and hide a fifth of what company costs."""
_SAMPLES: Final = 8.0
"""Of one at a time, before it is said that company costs nothing."""
_SAMPLES_COSTLY: Final = 32.0
"""And times 1 + scatter, before it is said how much it costs."""
_LATE_NS, _LATE_RTTS, _LATE_RTTS_COSTLY = NS_PER_S, 24.0, 100.0
"""For longer than this, and than so many latencies of two, nobody is kept alone."""


def is_retrograde(less: Evidence, more: Evidence, *, scatter: float) -> bool:
    """Whether clearly more is done with less in flight; no, of nothing."""
    if not (less.count and more.count):
        return False
    gain = math.log(less.rate / more.rate)
    error = math.hypot(less.error(scatter), more.error(scatter))
    return gain > max(_GAIN, _GAIN_ERRORS * error)


class Company:
    """The end of a dip at two in flight: one at a time.

    Dips never go below two by themselves. Where two share one slot each takes twice as long, and
    that would become the baseline.
    """

    __slots__ = ("_alone", "_began_at", "_count", "_two", "_was_told")

    def __init__(self, two: Evidence, *, now: Instant) -> None:
        """`two` is what was seen with two in flight, and from `now` on there is one slot."""
        self._two = two
        self._alone = Evidence()
        self._count = 0
        """Samples since then, in company too."""
        self._was_told = False
        self._began_at = now

    @staticmethod
    def can_tell(two: Evidence, *, scatter: float) -> bool:
        """Whether enough was seen of two to compare one with them."""
        return two.count >= _SAMPLES_COSTLY * (1 + scatter) / 2

    def take(self, window: WindowSummary) -> None:
        """A window since then."""
        self._count += window.sample_count
        if window.in_flight_mean < _ALONE:
            self._alone.add(window, target_ns=1.0, memory=math.inf)

    @property
    def is_answered(self) -> bool:
        """Whether `costs` says something: also where many came and none was alone (workers)."""
        return self._count >= _SAMPLES

    @property
    def costs(self) -> bool:
        """Whether two take clearly longer than one; no, before that is known."""
        alone = self._alone
        return alone.count >= _SAMPLES and self._two.rtt_ns > _COSTS * alone.rtt_ns

    def tells_first(self) -> bool:
        """Whether it has just turned out that it costs; once."""
        is_news = self.costs and not self._was_told
        self._was_told = self._was_told or is_news
        return is_news

    def is_over(self, *, scatter: float, now: Instant) -> bool:
        """Whether enough was seen, or it is no use waiting for it."""
        wanted, rtts = _SAMPLES, _LATE_RTTS
        if self.costs:
            wanted, rtts = _SAMPLES_COSTLY * (1 + scatter), _LATE_RTTS_COSTLY
        is_late = now - self._began_at >= max(_LATE_NS, rtts * self._two.rtt_ns)
        return is_late or self._alone.count >= wanted

    @property
    def is_of_no_use(self) -> bool:
        """Whether one at a time does as much as two, as far as was seen.

        The second only waits then. Errors are not asked for: two may do a third less than one, and
        one alone, where two do a little more, costs that little.
        """
        return bool(self._alone.count) and self._alone.rate >= self._two.rate


class Knee:
    """The level beyond which the service was seen to do less, until a trial shows otherwise."""

    __slots__ = ("company_costs", "level")

    def __init__(self) -> None:
        self.level = math.inf
        """Slots."""
        self.company_costs: bool | None = None
        """Whether two were seen to take longer than one; None: not asked since it changed."""

    @property
    def is_known(self) -> bool:
        """Whether there is one."""
        return self.level < math.inf

    def low_in_flight(self, limit: int) -> int:
        """How many in flight are low: one at least, two unless they are known to cost."""
        return low_in_flight(limit, always=1 if self.company_costs else LOW_ALWAYS)

    def lift(self, level: float = math.inf) -> None:
        """There is none, if it was below `level` slots: with so many more was done."""
        if level > self.level:
            self.level = math.inf

    def is_in_doubt(self, two: Evidence, more: Evidence, *, scatter: float) -> bool:
        """Whether one slot may be best: two did at least nearly what many did.

        Of a service of one slot they do, and of one of two: only one at a time tells them apart.
        """
        if is_retrograde(two, more, scatter=scatter):
            return True
        if self.company_costs is False or not (two.count and more.count):
            return False
        loss = math.log(more.rate / two.rate)
        return loss < _LOSS + math.hypot(two.error(scatter), more.error(scatter))
