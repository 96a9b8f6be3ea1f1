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

MARGIN = 0.2
"""Latency held above the baseline at least, in baselines: enough to keep the service busy."""
MARGIN_ERRORS = 2.0
"""Plus so many standard errors of the baseline: too high a limit costs a little latency, too low a
one throughput."""
MARGIN_MAX = 0.8
NOISE_NS = 2 * NS_PER_MS
"""Extra latency that is never taken for queueing: scheduling, a lagging loop, a small batch."""

_GROWTH_MAX = 1.5
_SHRINK_MAX = 0.5
_UP_ERRORS = 0.5
_DOWN_ERRORS = 1.5
_STREAK_FAST = 3
_EVIDENCE = 400
_RECENT = 48
_MOVES = frozenset({LimitCause.HEADROOM, LimitCause.QUEUEING, LimitCause.OVERLOAD})
_OVERLOAD_BACKOFF = 0.9
_OVERLOAD_SHARE = 0.02
_CEILING_NEAR = 0.8
_CEILING_GROWTH = 0.02
_CEILING_PASSED = 1.2
_DIP_AFTER = 3
_DIP_SAMPLES_MAX = 320
_DIP_LENGTH_MAX_NS = 3 * NS_PER_S
_SLOWER_BELOW = 0.6
_JUMP = math.log(1.5)
_PAUSE_MIN = 12
_PAUSE_MAX = 768
_CHANGED = 0.25
_FASTER_RATIO = 0.8
_FASTER_WINDOWS = 6


def target_ns(baseline_ns: int, baseline_error: float = 0.0) -> int:
    """The mean latency to hold, for a no-load latency; both ns."""
    margin = min(MARGIN_MAX, MARGIN + MARGIN_ERRORS * baseline_error)
    return max(round(baseline_ns * (1 + margin)), baseline_ns + NOISE_NS)


def strain(window: WindowSummary) -> float | None:
    """Mean latency over its target: above 1 work waits inside the service. None: no baseline."""
    if window.rtt_ratio > 0:
        rtt_ns = window.baseline_mean_ns + window.rtt_excess_ns
        return max(rtt_ns, 1) / target_ns(window.baseline_mean_ns, window.baseline_error)
    if 0 < window.rtt_mean_ns <= NOISE_NS:
        return window.rtt_mean_ns / NOISE_NS
    return None


class _Evidence:
    """What the last `memory` samples or so say together. Arithmetic sums: means of ratios of
    scattered latencies would lie below the ratio of their means."""

    __slots__ = ("_baseline_sum", "_in_flight_sum", "_rtt_sum", "_target_sum", "count")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.count = 0.0
        self._rtt_sum = self._baseline_sum = self._target_sum = self._in_flight_sum = 0.0

    def add(self, window: WindowSummary, strained: float, memory: float) -> None:
        count = window.sample_count
        rtt = float(max(1, window.rtt_mean_ns))
        kept = min(1.0, memory / (self.count + count))
        self.count = self.count * kept + count
        self._rtt_sum = self._rtt_sum * kept + count * rtt
        self._baseline_sum = self._baseline_sum * kept + count * window.baseline_mean_ns
        self._target_sum = self._target_sum * kept + count * rtt / strained
        self._in_flight_sum = self._in_flight_sum * kept + count * window.in_flight_mean

    @property
    def strain(self) -> float:
        return self._rtt_sum / self._target_sum

    @property
    def ratio(self) -> float:
        return self._rtt_sum / self._baseline_sum if self._baseline_sum else 0.0

    def wanted(self, level: float) -> float:
        """The level at which latency would be on target."""
        strain = self.strain
        if strain <= 1:
            return level / strain
        return min(level, self._in_flight_sum / self.count / strain)

    def error(self, scatter: float) -> float:
        """Standard error of the strain, relative; waiting makes neighbours alike: twice the variance."""
        return math.sqrt(2 * max(scatter, 0.01) / self.count)


class _Dip:
    """A short time at low in-flight, to learn what latency is without load."""

    __slots__ = ("baseline_ns", "began_at", "in_flight", "level_before", "rtt_ns", "samples")

    def __init__(self, window: WindowSummary, level: float, *, now: Instant) -> None:
        self.level_before = level
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
            or self.samples >= _DIP_SAMPLES_MAX
            or now - self.began_at >= _DIP_LENGTH_MAX_NS
        )

    def level_after(self, baseline_ns: int, error: float) -> float:
        """Where latency would be on target, from the two latencies measured."""
        wanted = self.in_flight * target_ns(baseline_ns, error) / max(self.rtt_ns, 1)
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
        self._evidence = _Evidence()
        self._recent = _Evidence()
        self._scatter = 1.0
        self._is_ramping = True
        self._episode: tuple[float, float] | None = None
        self._level_before_episode = self._level
        self._has_helped = False
        self._suspicions = 0

    @property
    def limit(self) -> int:
        """Slots: the level rounded up, so that the next request is at hand when one ends."""
        return int(clamp_limit(math.ceil(round(self._level, 6)), self._policy))

    @property
    def low_in_flight(self) -> int:
        """All of a dip; nearly nothing before a trusted baseline; then a share of the limit."""
        if self._dip is not None:
            return max(LOW_ALWAYS, self.limit)
        return low_in_flight(self.limit) if self._is_anchored else max(LOW_ALWAYS, int(self.limit * 0.2))

    @property
    def is_probing(self) -> bool:
        return self._dip is not None

    def stop_probing(self, *, now: Instant) -> LimitChange:
        before = self.limit
        dip = self._dip
        assert dip is not None
        self._dip = None
        self._may_dip = True
        self._pause_next = min(2 * self._pause_next, _PAUSE_MAX)
        self._pause = self._pause_next
        self._rest_at(max(dip.level_before, self._level))
        return LimitChange(before, self.limit, LimitCause.HEADROOM, now)

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
            return self._back_off(window)
        if self._episode is not None:
            self._end_episode()
        if not window.sample_count:
            return LimitCause.STEADY
        if self._dip is not None:
            return self._move_in_dip(self._dip, window, now=now)
        self._is_anchored = self._is_anchored or not _is_provisional(window)
        self._rtt_lowest_ns = min(self._rtt_lowest_ns or window.rtt_mean_ns, window.rtt_mean_ns)
        self._throughput_max = max(self._throughput_max, window.throughput_rps)
        if not window.limit_was_reached:
                return LimitCause.APP_LIMITED
        strained = strain(window)
        if self._may_dip and _is_provisional(window) and (strained is None or strained > 1):
            return self._doubt(window, strained, now=now)
        if strained is None:
            return LimitCause.STEADY
        return self._weigh(window, strained, now=now)

    def _back_off(self, window: WindowSummary) -> LimitCause:
        """Hard evidence: less, as long as less helps."""
        share = window.overload_count / (window.sample_count + window.overload_count)
        if self._dip is not None:
            self._level = max(self._level, self._dip.level_before)
            self._dip = None
        if self._episode is None:
            self._episode = (self._level, share)
            self._level_before_episode = self._level
        start, start_share = self._episode
        if self._level * _OVERLOAD_BACKOFF < start / 2:
            if share > start_share * 0.67:
                return LimitCause.OVERLOAD
            self._episode = (self._level, share)
            self._has_helped = True
        self._rest_at(self._level * _OVERLOAD_BACKOFF)
        return LimitCause.OVERLOAD

    def _end_episode(self) -> None:
        assert self._episode is not None
        if self._has_helped or self._level > 0.55 * self._level_before_episode:
            self._ceiling = self._level / _OVERLOAD_BACKOFF
        else:
            # Less did not help: what failed had other reasons.
            self._rest_at(self._level_before_episode)
        self._episode = None
        self._has_helped = False

    def _weigh(self, window: WindowSummary, strained: float, *, now: Instant) -> LimitCause:
        self._pause -= 1
        scatter = min(6.0, window.rtt_error**2 * window.sample_count)
        self._scatter += (scatter - self._scatter) * 0.15
        scatter = max(self._scatter, min(6.0, window.baseline_scatter))
        evidence, recent = self._evidence, self._recent
        evidence.add(window, strained, _EVIDENCE * (1 + scatter))
        recent.add(window, strained, _RECENT * (1 + scatter))
        if self._is_ramping:
            return self._ramp(scatter)
        error = recent.error(scatter)
        if recent.count >= _RECENT * (1 + scatter) * 0.9:
            ratio = recent.ratio
            if 0 < ratio < _FASTER_RATIO and ratio < 1 - 3 * error and self._pause <= 0:
                return self._relearn(window, now=now)
            jump = math.log(recent.strain / evidence.strain)
            if abs(jump) > max(_JUMP, 3 * error):
                self._suspicions += 1
                recent.reset()
                if self._suspicions >= 2:
                    self._suspicions = 0
                    if jump > 0 and self._pause <= 0 and self._is_anchored:
                        return self._relearn(window, now=now)
                    evidence.reset()
                    evidence.add(window, strained, _EVIDENCE)
                return LimitCause.STEADY
            self._suspicions = 0
        error = evidence.error(scatter)
        wanted = evidence.wanted(self._level)
        step = math.log(wanted / self._level)
        if step > max(0.5 * error, 0.02):
            return self._rise(min(_GROWTH_MAX, wanted / self._level))
        if step < -max(error, 0.03):
            self._level = max(wanted, self._level * _SHRINK_MAX)
            if self._level <= self._peak * _SLOWER_BELOW and self._pause <= 0:
                return self._relearn(window, now=now)
            return LimitCause.QUEUEING
        return LimitCause.STEADY

    def _ramp(self, scatter: float) -> LimitCause:
        evidence = self._evidence
        error = evidence.error(scatter)
        wanted = evidence.wanted(self._level)
        step = math.log(wanted / self._level)
        if step > error:
            evidence.reset()
            self._recent.reset()
            self._streak += 1
            return self._rise(_GROWTH_MAX if self._streak >= 2 else min(_GROWTH_MAX, wanted / self._level))
        self._streak = 0
        if step < -1.5 * error or evidence.count > _EVIDENCE * (1 + scatter) * 0.5:
            self._is_ramping = False
            self._level = min(self._level, max(wanted, self._level * _SHRINK_MAX))
            self._peak = self._level
            return LimitCause.QUEUEING
        return LimitCause.STEADY

    def _rise(self, factor: float) -> LimitCause:
        grown = max(self._level * factor, self._level + 0.1)
        if self._level >= self._ceiling * _CEILING_NEAR:
            grown = min(grown, self._level + max(0.1, self._level * _CEILING_GROWTH))
            if grown > self._ceiling * _CEILING_PASSED:
                self._ceiling = math.inf
        self._level = grown
        self._peak = max(self._level, 0.9 * self._peak + 0.1 * self._level)
        return LimitCause.HEADROOM

    # --- dips -----------------------------------------------------------------------------------

    def _doubt(self, window: WindowSummary, strained: float | None, *, now: Instant) -> LimitCause:
        """High latency by a baseline of a handful of samples: hold, then learn a better one."""
        self._doubts += 1
        self._pause -= 1
        if self._pause > 0:
            return LimitCause.STEADY
        if self._doubts < _DIP_AFTER and not _is_high_for_sure(window, strained):
            return LimitCause.STEADY
        # What was busy at the best throughput if the lowest latency was that without load (the
        # bandwidth-delay product of BBR): the ramp may have gone far beyond it.
        busy = self._throughput_max * self._rtt_lowest_ns / NS_PER_S
        self._begin_dip(window, at_most=max(float(LOW_ALWAYS), busy), now=now)
        return LimitCause.QUEUEING

    def _relearn(self, window: WindowSummary, *, now: Instant) -> LimitCause:
        self._begin_dip(window, at_most=math.inf, now=now)
        return LimitCause.RELEARNT

    def _begin_dip(self, window: WindowSummary, *, at_most: float, now: Instant) -> None:
        self._may_dip = False
        self._evidence.reset()
        self._recent.reset()
        self._dip = _Dip(window, self._level, now=now)
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
        self._rest_at(max(dip.level_after(baseline_ns, window.baseline_error), self._level))
        # What the dip found is as good as a row of windows with headroom.
        self._streak = _STREAK_FAST - 1
        return LimitCause.HEADROOM

    def _rest_at(self, level: float) -> None:
        self._level = self._peak = level
        self._streak = 0
        self._is_ramping = False
        self._evidence.reset()
        self._recent.reset()


def _has_overload(window: WindowSummary) -> bool:
    answers = window.sample_count + window.overload_count
    return window.overload_count > 0 and window.overload_count >= answers * _OVERLOAD_SHARE


def _is_high_for_sure(window: WindowSummary, strained: float | None) -> bool:
    """More than the scatter of single samples explains: the baseline may rest on one of them."""
    if strained is None:
        return False
    scatter = window.rtt_error * math.sqrt(window.sample_count)
    return math.log(max(strained, 1e-9)) > scatter
