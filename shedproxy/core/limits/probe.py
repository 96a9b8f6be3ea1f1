"""Deliberate moves of the limit that answer a question, each short.

A *dip* asks what latency is without load: for some dozen samples the limit is low, and what is
admitted then is the new baseline. A *trial* asks whether the service is saturated: at a limit half
as high again latency rises in proportion if it is, and stays if it is not. A trial costs a little
latency, a dip a little throughput; so where latency has risen, the trial comes first.
"""

from __future__ import annotations

import math
from typing import Final

from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.retrograde import Company
from shedproxy.core.units import NS_PER_S, Instant
from shedproxy.core.window import WindowSummary

__all__ = ["ALIKE", "CheckClock", "Dip", "Pause", "Trial"]

_PAUSE_MIN, _PAUSE_MAX = 12, 768
"""Windows between two probes: each costs something. Doubles when one found nothing."""
_TRIAL_FACTOR: Final = 1.5
"""How much higher a trial goes: enough to tell from noise, little enough to cost little."""
_DIP_SAMPLES_MIN: Final = 16
"""A dip of given length learns from at least so many samples,"""
_DIP_TURNS: Final = 4
"""Or so many times what is in flight meanwhile, if that is more."""
_DIP_SAMPLES_MAX: Final = 400
"""and any ends after so many: what is not known by then will not be."""
_COST_SAMPLES: Final = 8
_AS_MUCH: Final = 0.8
"""By so many samples, this share of what was done before: the slots given up did nothing."""
_FULL: Final = 0.9
"""Share of a dip's slots that were in use, for a window to say what so many do."""
_DIP_LENGTH_MAX_NS: Final = 3 * NS_PER_S
"""A dip starves throughput: this long at most,"""
_DIP_RTTS_MAX: Final = 60
"""or so many latencies of a service that needs longer for a baseline's samples."""
_TRIAL_LENGTH_MAX_NS: Final = 10 * NS_PER_S
"""Without the load to fill the limit nothing can be learnt."""
_TRIAL_SAMPLES: Final = 32.0
"""Samples of either half of a trial, times 1 + scatter."""
_SATURATED: Final = 0.5
"""From this exponent on latency follows the limit: midway between not at all and in proportion."""
_STILL_HIGH: Final = 1.25
"""Less above the usual than this, after a trial, and what led to it was an accident."""
_CHECK_PERIODS_NS: Final = (4 * NS_PER_S, 16 * NS_PER_S, 64 * NS_PER_S)
"""The first check in overload, the second, and all others: soon, later, then rarely. Each period
is a multiple of the one before, so that who checks rarely meets who checks often."""
_PUT_OFF_NS: Final = 2 * NS_PER_S
"""How long checks wait where somebody's requests have just turned out to be other work."""
_CHECK_FACTOR: Final = 4
_CHECK_BASELINES: Final = 400
"""Least time between two checks, in baselines, of one that is well known: a check costs the work of
six of them, which is 1.5 %."""
_CHECK_BASELINES_UNSURE: Final = 60
"""And of any other: 10 %, until checks become rare."""
_WELL_KNOWN: Final = 0.1
"""To this relative error,"""
ALIKE: Final = 0.05
"""of latencies that scatter so little. Of others what is learnt first is what was short."""
_DIP_BASELINES: Final = 8
"""Length of a dip that checks a baseline, in baselines: some turns of low in-flight."""
_CHANGED: Final = 0.25
"""Share by which a dip must move the baseline to have found something: more than the margin."""
_QUIET_RTTS: Final = 4
"""Latencies after a dip before windows are believed: what ends first is what was short."""


class Pause:
    """Windows to wait before the next probe: ever more while none finds anything."""

    __slots__ = ("_left", "_next")

    def __init__(self) -> None:
        self._left = 0
        self._next = _PAUSE_MIN

    @property
    def is_over(self) -> bool:
        """Whether the next probe may begin: at first it may."""
        return self._left <= 0

    def pass_window(self) -> None:
        """One window less."""
        self._left -= 1

    def begin(self, *, has_found: bool = False) -> None:
        """A probe is over; whether it has found that something changed."""
        if has_found:
            self._next = _PAUSE_MIN
        self._left = self._next
        self._next = min(2 * self._next, _PAUSE_MAX)


class CheckClock:
    """When baselines are checked in overload: at multiples of a period, which grows.

    All that share a clock look at the same instants, or each would take the load of the others for
    the service's own latency.
    """

    __slots__ = ("_asked_at", "_check_count", "_is_news", "_looked_at", "_put_off_until")

    def __init__(self) -> None:
        self._asked_at: Instant | None = None
        self._put_off_until = Instant(0)
        self._check_count = 0
        self._looked_at = Instant(0)
        self._is_news = False
        """What is believed has just been found, and not been looked at again yet."""

    def put_off(self, *, now: Instant) -> None:
        """What is seen at `now` is not the service's doing: there will be other instants."""
        self._put_off_until = Instant(now + _PUT_OFF_NS)

    def look(self, *, now: Instant, has_found: bool) -> None:
        """A dip has ended. What it has found may be of a service that was busy with itself: look
        again soon.
        """
        self._looked_at = now
        if has_found:
            self._check_count, self._is_news = 0, True

    def is_due(self, window: WindowSummary, *, now: Instant, is_possible: bool) -> bool:
        """Whether an instant to check at has passed since it was last asked, and can be used."""
        last_at, self._asked_at = self._asked_at, now
        if last_at is None:
            return False
        length_ns: int = _CHECK_PERIODS_NS[min(self._check_count, len(_CHECK_PERIODS_NS) - 1)]
        is_well_known = window.baseline_error <= _WELL_KNOWN and window.baseline_scatter <= ALIKE
        is_settled = is_well_known and not self._is_news
        baselines = _CHECK_BASELINES if is_settled else _CHECK_BASELINES_UNSURE
        while length_ns < baselines * window.baseline_mean_ns:
            length_ns *= _CHECK_FACTOR
        least_ns = max(_CHECK_PERIODS_NS[0], _CHECK_BASELINES_UNSURE * window.baseline_mean_ns)
        is_early = now < max(self._put_off_until, self._looked_at + least_ns // _CHECK_FACTOR)
        if is_early or not is_possible or now // length_ns == last_at // length_ns:
            return False
        self._check_count += 1
        self._is_news = False
        return True


class Dip:
    """A time at low in-flight, to learn what latency is without load."""

    __slots__ = (
        "_began_at",
        "_length_ns",
        "_samples",
        "_wanted",
        "before",
        "believed_ns",
        "company",
        "level_before",
        "seen",
    )

    def __init__(
        self,
        wanted: float,
        level: float,
        *,
        now: Instant,
        length_ns: int = 0,
        before: Evidence | None = None,
    ) -> None:
        """Begin at `now`, with `level` slots to return to.

        Args:
            wanted: the level where latency would be on target if the baseline were right.
            level: the level before.
            now: its beginning.
            length_ns: how long it lasts at least; 0: until the baseline is known.
            before: what was seen before it.
        """
        self._began_at = now
        self._length_ns = length_ns
        self._wanted = wanted
        self._samples = 0
        self.level_before = level
        """The limit that was given up for it, in slots before rounding."""
        self.before = before.copy() if before is not None else Evidence()
        self.seen = Evidence()
        """What was seen in it, at the level it is held at."""
        self.believed_ns = 0
        """Latency without load, as far as it was known before; 0: not at all."""
        self.company: Company | None = None
        """Its end, where it was held at two."""

    def see(self, window: WindowSummary, *, level: float) -> None:
        """Take a window for `seen`, if it is of so many slots in use."""
        if _FULL * level <= window.in_flight_mean <= level / _FULL:
            self.seen.add(window, target_ns=1.0, memory=math.inf)

    def forget(self) -> None:
        """What was done in it and before is not to be compared: it was other work."""
        self.seen.reset()
        self.before.reset()

    def is_over(self, window: WindowSummary, *, is_known: bool, now: Instant) -> bool:
        """Take a window: enough has been learnt, or it is no use waiting any longer.

        `is_known` says whether the baseline is trusted already.
        """
        self._samples += window.sample_count
        if self._length_ns:
            # Of n in flight the longest are not in yet: without several turns they would be missed.
            turns = _DIP_TURNS * window.in_flight_mean
            is_enough = window.learnt_count >= max(_DIP_SAMPLES_MIN, turns)
            is_known = is_enough and now - self._began_at >= self._length_ns
        return is_known or self.is_late(window, now=now)

    def is_costly(self, level: int) -> bool:
        """Whether less is done at that level than was before, or that is not known.

        Until something was seen, what was believed of latency without load tells, if it can be
        true: by Little's law at least one slot was busy.
        """
        if not self.before.count:
            return True
        rate = self.before.rate
        if self.seen.count >= _COST_SAMPLES:
            return self.seen.rate < _AS_MUCH * rate
        busy = rate * self.believed_ns
        return busy < 1.0 or level < _AS_MUCH * busy

    def is_late(self, window: WindowSummary, *, now: Instant) -> bool:
        """Whether it is no use waiting for more."""
        longest_ns = max(_DIP_LENGTH_MAX_NS, _DIP_RTTS_MAX * window.rtt_mean_ns)
        return self._samples >= _DIP_SAMPLES_MAX or now - self._began_at >= longest_ns

    @staticmethod
    def check_length_ns(baseline_ns: int) -> int:
        """How long one lasts that checks such a baseline, in ns: equally long for all before it."""
        return _DIP_BASELINES * baseline_ns

    @staticmethod
    def has_found(window: WindowSummary) -> bool:
        """Whether one that ends with this window has found another baseline than the former."""
        return abs(window.learnt_ratio - 1) > _CHANGED

    @staticmethod
    def quiet_until(window: WindowSummary, *, now: Instant) -> Instant:
        """From when on windows are believed after one that ended with this one."""
        return Instant(now + _QUIET_RTTS * max(window.rtt_mean_ns, 1))

    def level_after(self, ratio: float) -> float:
        """The level where latency is on target, with a target `ratio` times as long."""
        return min(self._wanted * ratio, self.level_before * _TRIAL_FACTOR)


class Trial:
    """A time at a higher limit and a time back again, to see whether latency follows.

    Compared with the time after, not with the one before: what was before was looked at because it
    was high, and by chance alone would not be as high again.
    """

    __slots__ = (
        "_above",
        "_after",
        "_began_at",
        "_is_above",
        "_level_above",
        "_middle",
        "_usual_strain",
        "is_of_knee",
        "level_before",
    )

    def __init__(
        self, usual: Evidence, level: float, *, now: Instant, is_of_knee: bool = False
    ) -> None:
        """Begin at `now`; `usual` is what was seen at `level` slots before latency rose.

        `is_of_knee`: what it asks is whether more is done above a knee (`retrograde`).
        """
        self._began_at = now
        self.is_of_knee = is_of_knee
        slots = math.ceil(round(level, 6))
        self._level_above = max(level * _TRIAL_FACTOR, slots + 1.0)
        self._middle = math.sqrt(slots * math.ceil(self._level_above))
        """In flight that divides its halves."""
        self.level_before = level
        """The limit it began at, in slots before rounding."""
        self._usual_strain = usual.strain
        self._is_above = True
        self._above = Evidence()
        self._after = Evidence()

    @property
    def level(self) -> float:
        """The level to hold now."""
        return self._level_above if self._is_above else self.level_before

    def is_over(
        self, window: WindowSummary, *, target_ns: float, scatter: float, now: Instant
    ) -> bool:
        """Take a window; `target_ns` is what its latency should be, so that mixes compare."""
        wanted = _TRIAL_SAMPLES * (1.0 + scatter)
        if self._is_above:
            if window.in_flight_mean > self._middle:
                self._above.add(window, target_ns=target_ns, memory=math.inf)
            self._is_above = self._above.count < wanted
        elif window.in_flight_mean <= self._middle:
            self._after.add(window, target_ns=target_ns, memory=math.inf)
        return self._after.count >= wanted or now - self._began_at >= _TRIAL_LENGTH_MAX_NS

    @property
    def is_real(self) -> bool:
        """Latency is still high: it was no accident."""
        return self._after.strain > _STILL_HIGH * self._usual_strain

    @property
    def has_compared(self) -> bool:
        """Whether it saw both of its halves."""
        above, after = self._above, self._after
        return bool(above.count and after.count and above.in_flight > after.in_flight)

    @property
    def is_saturated(self) -> bool:
        """Latency followed the limit. False, too, of a trial that saw only one of its halves."""
        above, after = self._above, self._after
        if not self.has_compared:
            return False
        followed = math.log(above.strain / after.strain)
        return followed > _SATURATED * math.log(above.in_flight / after.in_flight)
