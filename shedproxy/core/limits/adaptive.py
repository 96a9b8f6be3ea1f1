"""Our default: hold latency at a fixed multiple of what it is without load.

With L in flight, K slots busy and service time S, latency above the knee is L S / K (Little). So
latency / baseline is L / K, and holding it at a target holds the limit at target x K wherever it
started. The anchor is absolute: the baseline is never learnt under load, so there is no ratchet.
Four things make that safe:

- Small extra latency is noise, never queueing: a healthy service of a millisecond is left alone.
- The limit grows only when it was in the way, and faster the longer nothing objects.
- Before a trusted baseline it ramps. When latency then seems high, the limit dips once, for a few
  dozen samples, to learn the baseline at low in-flight, and returns straight to where the two
  latencies say.
- Latency that stays high although the limit fell far, or falls below the baseline, puts the
  baseline in doubt: the same dip settles whether the service changed (then the baseline follows)
  or lost capacity (then the limit does). Correlating the two in passing cannot tell them apart.
"""

from __future__ import annotations

import math

from shedproxy.core.baseline import LOW_ALWAYS, low_in_flight
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import NS_PER_MS, NS_PER_S, Instant
from shedproxy.core.window import WindowSummary

__all__ = ["AdaptiveLimit", "next_grown_level", "next_shrunk_level", "strain", "target_ns"]

TARGET_RATIO = 1.3
"""Latency held, over baseline: enough in the service to keep it busy, little enough to wait."""
NOISE_NS = 5 * NS_PER_MS
"""Extra latency that is never taken for queueing: scheduling, a lagging loop, a small batch."""
HEALTHY_NS = 10 * NS_PER_MS
"""Mean latency that is never taken for queueing."""

_GROWTH_MAX = 1.5
_SHRINK_MAX = 0.7
"""Most the limit moves in one window."""
_STREAK_FAST = 4
"""After this many windows of headroom in a row growth is as fast as at the start."""
_ERROR_GOOD = 0.1
"""Standard error of a window, in baselines, up to which it is believed in full."""
_MOVES = frozenset({LimitCause.HEADROOM, LimitCause.QUEUEING, LimitCause.OVERLOAD})
_OVERLOAD_BACKOFF = 0.9
_OVERLOAD_SHARE = 0.02
"""Fewer overload outcomes than this are an upstream's background noise."""
_CEILING_NEAR = 0.8
_CEILING_GROWTH = 0.02
_CEILING_PASSED = 1.2
_DIP_AFTER = 3
"""Windows of high latency by an untrusted baseline before a dip."""
_DIP_SAMPLES_MAX = 320
_DIP_LENGTH_MAX_NS = 3 * NS_PER_S
_SLOWER_BELOW = 0.6
"""A dip when the limit fell to this share of where its fall began,"""
_SLOWER_STRAIN_FALLEN = 0.05
"""and the mean logarithm of the strain says that it was not a run of bad luck;"""
_SLOWER_STRAIN = 0.2
"""or when that mean does not settle near 0 although the limit moves."""
_STRAIN_WINDOWS = 24
"""Windows that mean is over."""
_PAUSE_MIN = 12
_PAUSE_MAX = 768
"""Windows of strain before strain alone leads to another dip; doubles when a dip found nothing."""
_CHANGED = 0.25
"""Share by which a dip must move the baseline to have found something."""
_FASTER_RATIO = 0.85
_FASTER_WINDOWS = 6
"""A dip after this many windows in a row of latency below this share of the baseline."""


def target_ns(baseline_ns: int) -> int:
    """The mean latency to hold, for a no-load latency; both ns."""
    return max(round(baseline_ns * TARGET_RATIO), baseline_ns + NOISE_NS, HEALTHY_NS)


def strain(window: WindowSummary) -> float | None:
    """Mean latency over its target: above 1 work waits inside the service. None: no baseline."""
    if window.rtt_ratio > 0:
        rtt_ns = window.baseline_mean_ns + window.rtt_excess_ns
        return max(rtt_ns, 1) / target_ns(window.baseline_mean_ns)
    if 0 < window.rtt_mean_ns <= HEALTHY_NS:
        return window.rtt_mean_ns / HEALTHY_NS
    return None


def next_grown_level(level: float, *, strain: float, streak: int) -> float:
    """One window with headroom (strain <= 1); `streak` counts them, this one included.

    Towards level / strain, a third of the way at first and the whole way later; by half after
    `_STREAK_FAST` windows with clear headroom. At most x 1.5.
    """
    room = min(1 / strain, _GROWTH_MAX) - 1
    step = room * min(streak / 3, 1.0)
    if streak >= _STREAK_FAST and strain < 0.85:
        step = _GROWTH_MAX - 1
    return level + max(level * step, 0.25 * min(streak, 4) * min(1.0, room * 4))


def next_shrunk_level(level: float, *, in_flight: float, strain: float, error: float) -> float:
    """One window with strain > 1, measured at a mean `in_flight`: towards in_flight / strain.

    Latency is proportional to in-flight there, so that this is where strain would be 1, whatever
    the limit has become since. Half of the way, less when the window is noisy (`error`: standard
    error in baselines), most of it when noise cannot explain the strain. At most x 0.7, never up.
    """
    wanted = in_flight / strain
    if strain - 1 > 3 * error:
        gain = 0.8
    else:
        gain = 0.5 * min(1.0, max(0.3, _ERROR_GOOD / max(error, 1e-9)))
    return min(level, max(level + gain * (wanted - level), level * _SHRINK_MAX))


class _Dip:
    """A short time at low in-flight, to learn what latency is without load."""

    __slots__ = ("baseline_ns", "began_at", "in_flight", "rtt_ns", "samples")

    def __init__(self, window: WindowSummary, *, now: Instant) -> None:
        self.began_at = now
        self.in_flight = window.in_flight_mean
        self.rtt_ns = window.rtt_mean_ns
        self.baseline_ns = window.baseline_mean_ns
        """What was believed before."""
        self.samples = 0

    def is_over(self, window: WindowSummary, *, now: Instant) -> bool:
        """The baseline is trusted, or it is no use waiting any longer."""
        self.samples += window.sample_count
        return (
            not _is_provisional(window)
            or not window.limit_was_reached
            or self.samples >= _DIP_SAMPLES_MAX
            or now - self.began_at >= _DIP_LENGTH_MAX_NS
        )

    def level_after(self, baseline_ns: int) -> float:
        """Where latency would be on target, from the two latencies measured."""
        wanted = self.in_flight * target_ns(baseline_ns) / max(self.rtt_ns, 1)
        return min(wanted, self.in_flight * _GROWTH_MAX)


def _is_provisional(window: WindowSummary) -> bool:
    return window.provisional_count * 2 > window.sample_count


class AdaptiveLimit:
    """Remembers the level (the limit before rounding up) and what it is in the middle of."""

    def __init__(self, policy: LimitPolicy) -> None:
        self._policy = policy
        self._level = float(clamp_limit(policy.initial, policy))
        self._peak = self._level
        """Where the present fall of the limit began."""
        self._ceiling = math.inf
        """The level at which the service last refused or timed out."""
        self._streak = _STREAK_FAST
        self._dip: _Dip | None = None
        self._may_dip = True
        self._doubts = 0
        self._is_anchored = False
        """Whether the limit rests on a trusted baseline."""
        self._rtt_lowest_ns = 0
        self._throughput_max = 0.0
        self._pause = 0
        self._pause_next = _PAUSE_MIN
        self._strain_mean = 0.0
        self._fast_windows = 0

    @property
    def limit(self) -> int:
        """Slots: the level rounded up, so that the next request is at hand when one ends."""
        return int(clamp_limit(math.ceil(round(self._level, 6)), self._policy))

    @property
    def low_in_flight(self) -> int:
        """All of a dip; nearly nothing before a trusted baseline; then a share of the limit."""
        if self._dip is not None:
            return max(LOW_ALWAYS, self.limit)
        return low_in_flight(self.limit) if self._is_anchored else LOW_ALWAYS

    def apply(self, policy: LimitPolicy) -> None:
        """Take new bounds."""
        self._policy = policy
        self._level = float(clamp_limit(self._level, policy))
        self._peak = self._level

    def on_window(self, window: WindowSummary, *, now: Instant) -> LimitChange:
        """Judge a window. RELEARNT asks the caller to distrust the baselines."""
        before = self.limit
        cause = self._move(window, now=now)
        wanted = self._level
        self._level = float(clamp_limit(wanted, self._policy))
        after = self.limit
        if after == before and cause in _MOVES:
            cause = LimitCause.STEADY if self._level == wanted else LimitCause.CLAMPED
        return LimitChange(before, after, cause, now, window.rtt_ratio)

    def _move(self, window: WindowSummary, *, now: Instant) -> LimitCause:
        if _has_overload(window):
            self._dip = None
            self._ceiling = self._level
            self._rest_at(self._level * _OVERLOAD_BACKOFF)
            return LimitCause.OVERLOAD
        if not window.sample_count:
            return LimitCause.STEADY
        if self._dip is not None:
            return self._move_in_dip(self._dip, window, now=now)
        self._is_anchored = self._is_anchored or not _is_provisional(window)
        self._rtt_lowest_ns = min(self._rtt_lowest_ns or window.rtt_mean_ns, window.rtt_mean_ns)
        self._throughput_max = max(self._throughput_max, window.throughput_rps)
        if not window.limit_was_reached:
            self._fast_windows = 0
            return LimitCause.APP_LIMITED
        strained = strain(window)
        if self._may_dip and _is_provisional(window) and (strained is None or strained > 1):
            return self._doubt(window, strained, now=now)
        if strained is None:
            return LimitCause.STEADY
        step = max(-1.0, min(1.0, math.log(strained))) - self._strain_mean
        self._strain_mean += step / _STRAIN_WINDOWS
        if strained <= 1:
            return self._grow(window, strained, now=now)
        return self._shrink(window, strained, now=now)

    def _grow(self, window: WindowSummary, strained: float, *, now: Instant) -> LimitCause:
        if 0 < window.rtt_ratio < _FASTER_RATIO and not _is_provisional(window):
            # Hold until it is clear whether the service became faster: while the limit grows, what
            # ends first is what was short, and latency cannot be judged.
            self._fast_windows += 1
            if self._fast_windows < _FASTER_WINDOWS:
                return LimitCause.STEADY
            return self._relearn(window, now=now)
        self._fast_windows = 0
        self._streak += 1
        grown = next_grown_level(self._level, strain=strained, streak=self._streak)
        if self._level >= self._ceiling * _CEILING_NEAR:
            # Near what was refused or timed out last time: slowly.
            grown = min(grown, self._level + max(0.1, self._level * _CEILING_GROWTH))
            if grown > self._ceiling * _CEILING_PASSED:
                self._ceiling = math.inf
        self._level = grown
        self._peak = max(self._level, 0.9 * self._peak + 0.1 * self._level)
        return LimitCause.HEADROOM

    def _shrink(self, window: WindowSummary, strained: float, *, now: Instant) -> LimitCause:
        self._streak = self._fast_windows = 0
        self._pause -= 1
        self._level = next_shrunk_level(
            self._level,
            in_flight=window.in_flight_mean,
            strain=strained,
            error=window.rtt_error,
        )
        has_fallen = self._level <= self._peak * _SLOWER_BELOW
        is_at_floor = self._level <= clamp_limit(1, self._policy)
        if has_fallen and self._strain_mean > _SLOWER_STRAIN_FALLEN:
            return self._relearn(window, now=now)
        if self._pause <= 0 and (is_at_floor or self._strain_mean > _SLOWER_STRAIN):
            return self._relearn(window, now=now)
        return LimitCause.QUEUEING

    # --- dips -----------------------------------------------------------------------------------

    def _doubt(self, window: WindowSummary, strained: float | None, *, now: Instant) -> LimitCause:
        """High latency by a baseline of a handful of samples: hold, then learn a better one."""
        self._doubts += 1
        if self._doubts < _DIP_AFTER and not _is_high_for_sure(window, strained):
            return LimitCause.STEADY
        # What was busy at the best throughput if the lowest latency was that without load (the
        # bandwidth-delay product of BBR): the ramp may have gone far beyond it.
        busy = self._throughput_max * self._rtt_lowest_ns / NS_PER_S
        self._begin_dip(window, at_most=max(float(LOW_ALWAYS), busy / 2), now=now)
        return LimitCause.QUEUEING

    def _relearn(self, window: WindowSummary, *, now: Instant) -> LimitCause:
        self._fast_windows = 0
        self._begin_dip(window, at_most=math.inf, now=now)
        return LimitCause.RELEARNT

    def _begin_dip(self, window: WindowSummary, *, at_most: float, now: Instant) -> None:
        self._may_dip = False
        self._strain_mean = 0.0
        self._dip = _Dip(window, now=now)
        self._level = min(self._level, at_most, float(low_in_flight(self.limit)))

    def _move_in_dip(self, dip: _Dip, window: WindowSummary, *, now: Instant) -> LimitCause:
        if not dip.is_over(window, now=now):
            return LimitCause.STEADY
        self._dip = None
        self._is_anchored = True
        baseline_ns = window.baseline_mean_ns
        change = abs(baseline_ns - dip.baseline_ns)
        if change > _CHANGED * dip.baseline_ns:
            self._pause_next = _PAUSE_MIN
        else:
            self._pause_next = min(2 * self._pause_next, _PAUSE_MAX)
        self._pause = self._pause_next
        self._rest_at(max(dip.level_after(baseline_ns), self._level))
        # What the dip found is as good as a row of windows with headroom.
        self._streak = _STREAK_FAST - 1
        return LimitCause.HEADROOM

    def _rest_at(self, level: float) -> None:
        self._level = self._peak = level
        self._streak = 0


def _has_overload(window: WindowSummary) -> bool:
    answers = window.sample_count + window.overload_count
    return window.overload_count > 0 and window.overload_count >= answers * _OVERLOAD_SHARE


def _is_high_for_sure(window: WindowSummary, strained: float | None) -> bool:
    """More than the scatter of single samples explains: the baseline may rest on one of them."""
    if strained is None:
        return False
    scatter = window.rtt_error * math.sqrt(window.sample_count)
    return math.log(max(strained, 1e-9)) > scatter
