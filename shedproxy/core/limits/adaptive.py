"""Our default: hold latency a little above what it is without load.

With L in flight, K slots busy and service time S, latency above the knee is L S / K (Little). So
latency over baseline is L / K, and holding it at a target holds the limit at target x K wherever it
started. The anchor is absolute: the baseline is never learnt under load, so there is no ratchet. What
makes that work on services whose single latencies scatter by more than their mean:

- Evidence is weighed, not followed. Windows add up to a memory of some hundred samples, more for
  scattered latencies, and the limit moves when the move is larger than its error. The margin above the
  baseline grows with the error of the baseline itself, because too high a limit costs a little
  latency and too low a one throughput.
- Small extra latency is noise, never queueing: a service of less than a millisecond is left alone.
- The limit grows only when it was in the way.
- Before a trusted baseline it ramps, by half with each window that objects to nothing, measured against
  the latency of the ramp's own beginning. Then it dips once, to learn the baseline.
- Latency that jumps asks for a trial at a higher limit. Where latency does not follow, the service is
  only slower (a slow downstream), and its present latency is the new baseline. Where it does, a dip
  tells lost capacity from longer work.
- Hard evidence (503, timeouts) lowers the limit as long as that helps. Failures that stay whatever the
  limit is have other reasons.
"""

from __future__ import annotations

import math

from shedproxy.core.baseline import LOW_ALWAYS, low_in_flight
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.probe import Dip, Trial
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import NS_PER_MS, NS_PER_S, Instant
from shedproxy.core.window import WindowSummary

__all__ = ["AdaptiveLimit", "target_ns"]

MARGIN = 0.2
"""Latency held above the baseline at least, in baselines."""
MARGIN_ERRORS = 2.0
"""Plus so many standard errors of the baseline."""
MARGIN_MAX = 0.8
NOISE_NS = 2 * NS_PER_MS
"""Extra latency that is never taken for queueing: scheduling, a lagging loop, a small batch."""

_GROWTH_MAX = 1.5
_SHRINK_MAX = 0.5
"""Most the limit moves in one window."""
_RISE_MAX = 1.1
"""And rises once the ramp is over: what ends first after a rise is what was short."""
_FALL_MAX = 0.85
"""And falls: one pause of the service must not halve it."""
_QUIET_RTTS = 4
"""Latencies after a dip before windows are believed, for the same reason."""
_MEMORY = 400.0
"""Samples of evidence, times 1 + scatter."""
_RECENT = 48.0
"""Samples in which a change must show, times 1 + scatter."""
_SCATTER_MAX = 100.0
_SCATTER_GAIN = 0.05
_JUMP = math.log(1.5)
_JUMP_ERRORS = 4.0
_FASTER_RATIO = 0.8
_SLOWER_BELOW = 0.6
"""A dip when the limit fell to this share of where its fall began."""
_PAUSE_MIN = 12
_PAUSE_MAX = 768
"""Windows between two probes; doubles when one found nothing."""
_CHECK_PERIODS_NS = (4 * NS_PER_S, 16 * NS_PER_S, 64 * NS_PER_S)
"""In overload the baseline is checked when a multiple of these passes: soon, later, then rarely."""
_DIP_BASELINES = 8
"""Length of a dip that checks a baseline, in baselines."""
_CHANGED = 0.25
"""Share by which a dip must move the baseline to have found something."""
_MOVES = frozenset({LimitCause.HEADROOM, LimitCause.QUEUEING, LimitCause.OVERLOAD})

_BACKOFF = 0.9
_OVERLOAD_SHARE = 0.02
"""Fewer overload outcomes than this are an upstream's background noise."""
_HELPED = 0.67
"""Half the limit must leave at most this share of the overload outcomes to have helped."""
_EPISODE_ANSWERS = 20
"""Outcomes at a level before it is judged."""
_CLEAN = 4
"""Windows without hard evidence in a row that end an episode of it."""
_CEILING_NEAR = 0.8
_CEILING_GROWTH = 0.02
_CEILING_PASSED = 1.2


def target_ns(baseline_ns: int, error: float = 0.0) -> int:
    """The mean latency to hold, for a no-load latency known to a relative standard error."""
    margin = min(MARGIN_MAX, MARGIN + MARGIN_ERRORS * error)
    return max(round(baseline_ns * (1 + margin)), baseline_ns + NOISE_NS)


class _Episode:
    """A time of hard evidence: less and less, halving by halving, as long as each halving helps."""

    __slots__ = ("_answers", "_clean", "_level_halved", "_overloads", "_share_before",
                 "has_helped", "is_futile", "level_before")  # fmt: skip

    def __init__(self, level: float) -> None:
        self.level_before = self._level_halved = level
        self.has_helped = False
        self.is_futile = False
        """A halving did not help: what fails has other reasons."""
        self._share_before = math.inf
        self._overloads = self._answers = self._clean = 0

    def next_level(self, level: float, window: WindowSummary) -> float:
        """The level after one more window of hard evidence."""
        self._clean = 0
        self._overloads += window.overload_count
        self._answers += window.overload_count + window.sample_count
        if self.is_futile:
            return level
        if level * _BACKOFF >= self._level_halved / 2:
            return level * _BACKOFF
        if self._answers < _EPISODE_ANSWERS:
            return level
        share = self._overloads / self._answers
        self._overloads = self._answers = 0
        if share > self._share_before * _HELPED:
            self.is_futile = True
            return self._level_halved
        self.has_helped = self._share_before < math.inf
        self._level_halved, self._share_before = level, share
        return level * _BACKOFF

    def is_over(self) -> bool:
        """A window without hard evidence: enough of them in a row."""
        self._clean += 1
        return self._clean >= _CLEAN


class AdaptiveLimit:
    """Remembers the level (the limit before rounding up) and what it is in the middle of."""

    def __init__(self, policy: LimitPolicy) -> None:
        self._policy = policy
        self._level = float(clamp_limit(policy.initial, policy))
        self._peak = self._level
        """Where the present fall of the limit began."""
        self._evidence = Evidence()
        self._recent = Evidence()
        self._first = Evidence()
        """The ramp's beginning: what latency was at half the level or less."""
        self._first_target_ns = 1.0
        """What was aimed at when the ramp ended."""
        self._scatter = 1.0
        self._is_ramping = True
        self._is_anchored = False
        """Whether the limit rests on a trusted baseline."""
        self._streak = 0
        self._dip: Dip | None = None
        self._trial: Trial | None = None
        self._suspicions = 0
        self._quiet_until = Instant(0)
        self._window_at = Instant(0)
        self._checks = 0
        self._pause = 0
        self._pause_next = _PAUSE_MIN
        self._throughput_max = 0.0
        self._ceiling = math.inf
        """The level at which the service last refused or timed out, and less helped."""
        self._episode: _Episode | None = None

    @property
    def limit(self) -> int:
        """Slots: the level rounded up, so that the next request is at hand when one ends."""
        return int(clamp_limit(math.ceil(round(self._level, 6)), self._policy))

    @property
    def low_in_flight(self) -> int:
        """All of a dip; a share of the limit else."""
        return max(LOW_ALWAYS, self.limit) if self._dip is not None else low_in_flight(self.limit)

    @property
    def is_probing(self) -> bool:
        """In the middle of a dip: fewer slots than it believes in."""
        return self._dip is not None

    def apply(self, policy: LimitPolicy) -> None:
        """Take new bounds."""
        self._policy = policy
        self._level = self._peak = float(clamp_limit(self._level, policy))

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

    def stop_probing(self, *, now: Instant) -> LimitChange:
        """The dip costs too much now: return to where it began, and try again later."""
        before, dip = self.limit, self._dip
        assert dip is not None
        self._dip = None
        self._rest_at(max(dip.level_before, self._level))
        self._put_off()
        return LimitChange(before, self.limit, LimitCause.HEADROOM, now)

    def _move(self, window: WindowSummary, *, now: Instant) -> LimitCause:
        if _has_overload(window):
            return self._back_off(window)
        if not window.sample_count:
            return LimitCause.STEADY
        if self._episode is not None and self._episode.is_over():
            self._end_episode(self._episode)
        if self._dip is not None:
            return self._move_in_dip(self._dip, window, now=now)
        self._is_anchored = self._is_anchored or not _is_provisional(window)
        if self._trial is not None:
            return self._move_in_trial(self._trial, window, now=now)
        if not window.limit_was_reached:
            return LimitCause.APP_LIMITED
        if now < self._quiet_until:
            return LimitCause.STEADY
        self._throughput_max = max(self._throughput_max, window.throughput_rps)
        self._pause -= 1
        scatter = self._update_scatter(window)
        target = self._target_ns(window)
        self._evidence.add(window, target_ns=target, memory=_MEMORY * (1 + scatter))
        self._recent.add(window, target_ns=target, memory=_RECENT * (1 + scatter))
        if self._is_ramping:
            return self._ramp(window, scatter, now=now)
        if self._is_check_due(window, now=now):
            return self._relearn(window, now=now)
        return self._look_for_change(window, scatter, now=now) or self._settle(
            window, scatter, now=now
        )

    def _target_ns(self, window: WindowSummary) -> float:
        """The latency to hold: by the baseline, or by the ramp's beginning before there is one."""
        known = window.baseline_mean_ns > 0 and not _is_provisional(window)
        if known or not self._first.count:
            baseline_ns = window.baseline_mean_ns or window.rtt_mean_ns
            return float(target_ns(baseline_ns, window.baseline_error))
        return float(target_ns(round(self._first.rtt_ns), self._first.error(self._scatter)))

    def _update_scatter(self, window: WindowSummary) -> float:
        seen = min(_SCATTER_MAX, window.rtt_scatter)
        self._scatter += (seen - self._scatter) * _SCATTER_GAIN
        return max(self._scatter, min(_SCATTER_MAX, window.baseline_scatter))

    # --- moves --------------------------------------------------------------------------------

    def _ramp(self, window: WindowSummary, scatter: float, *, now: Instant) -> LimitCause:
        evidence = self._evidence
        error = evidence.error(scatter)
        wanted = evidence.wanted(self._level)
        step = math.log(wanted / self._level)
        if step > error or not self._first.count:
            if not self._first.count or window.in_flight_mean < 2 * self._first.in_flight:
                self._first.add(window, target_ns=1.0, memory=math.inf)
            self._evidence.reset()
            self._recent.reset()
            self._streak += 1
            is_clear = self._streak >= 2
            return self._rise(_GROWTH_MAX if is_clear else min(_GROWTH_MAX, wanted / self._level))
        self._streak = 0
        if step < -1.5 * error or evidence.count > _MEMORY * (1 + scatter) / 2:
            if not self._is_anchored:
                return self._doubt(window, now=now)
            self._is_ramping = False
            self._level = min(self._level, max(wanted, self._level * _SHRINK_MAX))
            self._peak = self._level
            return LimitCause.QUEUEING
        return LimitCause.STEADY

    def _settle(self, window: WindowSummary, scatter: float, *, now: Instant) -> LimitCause:
        evidence = self._evidence
        error = evidence.error(scatter)
        wanted = evidence.wanted(self._level)
        step = math.log(wanted / self._level)
        if step > max(0.5 * error, 0.02):
            return self._rise(min(_RISE_MAX, wanted / self._level))
        if step < -max(error, 0.03) and evidence.count >= _RECENT * (1 + scatter):
            if not self._is_anchored:
                return self._doubt(window, now=now)
            self._level = max(wanted, self._level * _FALL_MAX)
            is_known = evidence.count > _MEMORY * (1 + scatter) / 2
            if is_known and self._level <= self._peak * _SLOWER_BELOW and self._may_probe:
                return self._relearn(window, now=now)
            return LimitCause.QUEUEING
        return LimitCause.STEADY

    def _rise(self, factor: float) -> LimitCause:
        grown = max(self._level * factor, self._level + 0.1)
        if self._level >= self._ceiling * _CEILING_NEAR:
            # Near what was refused or timed out last time: slowly.
            grown = min(grown, self._level + max(0.1, self._level * _CEILING_GROWTH))
            if grown > self._ceiling * _CEILING_PASSED:
                self._ceiling = math.inf
        self._level = grown
        self._peak = max(self._level, 0.9 * self._peak + 0.1 * self._level)
        return LimitCause.HEADROOM

    def _rest_at(self, level: float) -> None:
        self._level = self._peak = level
        self._is_ramping = False
        self._forget()

    def _forget(self) -> None:
        self._streak = self._suspicions = 0
        self._evidence.reset()
        self._recent.reset()

    # --- changes of the service ---------------------------------------------------------------

    @property
    def _may_probe(self) -> bool:
        return self._is_anchored and self._pause <= 0

    def _is_check_due(self, window: WindowSummary, *, now: Instant) -> bool:
        """Whether a multiple of the check's period has passed since the last window.

        All that stand before one service look at the same instants, or each would take the load of
        the others for the service's own latency.
        """
        last, self._window_at = self._window_at, now
        period_ns = _CHECK_PERIODS_NS[min(self._checks, len(_CHECK_PERIODS_NS) - 1)]
        if not (window.is_overloaded and self._is_anchored):
            return False
        if now // period_ns == last // period_ns:
            return False
        self._checks += 1
        return True

    def _look_for_change(
        self, window: WindowSummary, scatter: float, *, now: Instant
    ) -> LimitCause | None:
        """Whether the last some dozen samples contradict the evidence, twice in a row."""
        recent = self._recent
        if recent.count < 0.9 * _RECENT * (1 + scatter):
            return None
        error = recent.error(scatter)
        has_become_faster = 0 < recent.ratio < min(_FASTER_RATIO, 1 - _JUMP_ERRORS * error)
        jump = math.log(recent.strain / self._evidence.strain)
        is_jump = abs(jump) > max(_JUMP, _JUMP_ERRORS * error)
        if not (has_become_faster or is_jump):
            self._suspicions = 0
            return None
        self._suspicions += 1
        if self._suspicions < 2:
            recent.reset()
            return LimitCause.STEADY
        if has_become_faster and self._may_probe:
            return self._relearn(window, now=now)
        if jump > 0 and self._may_probe and window.is_overloaded:
            return self._relearn(window, now=now)
        if jump > 0 and self._may_probe:
            self._trial = Trial(self._evidence, self._level, now=now)
            self._level = self._trial.level
            self._forget()
            return LimitCause.STEADY
        self._evidence.reset()
        self._suspicions = 0
        return LimitCause.STEADY

    def _move_in_trial(self, trial: Trial, window: WindowSummary, *, now: Instant) -> LimitCause:
        scatter = self._update_scatter(window)
        is_over = trial.is_over(window, target_ns=self._target_ns(window), scatter=scatter, now=now)
        self._level = trial.level
        if not is_over:
            return LimitCause.STEADY
        self._trial = None
        if not trial.is_real:
            self._put_off()
            return LimitCause.STEADY
        if trial.is_saturated:
            return self._relearn(window, now=now)
        # Only slower: what latency is now is what it is without load.
        length_ns = _DIP_BASELINES * window.rtt_mean_ns
        self._dip = Dip(self._level, self._level, now=now, length_ns=length_ns)
        return LimitCause.RELEARNT

    # --- dips ---------------------------------------------------------------------------------

    def _doubt(self, window: WindowSummary, *, now: Instant) -> LimitCause:
        """The ramp has come to its end by a baseline of a handful of samples: learn a better one."""
        if self._pause > 0:
            return LimitCause.STEADY
        # What was busy at the best throughput, if latency was that of the ramp's beginning (the
        # bandwidth-delay product of BBR): the ramp may have gone far beyond it.
        first_ns = self._first.rtt_ns or float(window.rtt_mean_ns)
        busy = self._throughput_max * first_ns / NS_PER_S
        self._first_target_ns = self._target_ns(window)
        self._begin_dip(window, at_most=max(float(LOW_ALWAYS), busy), now=now)
        return LimitCause.QUEUEING

    def _relearn(self, window: WindowSummary, *, now: Instant) -> LimitCause:
        # Long enough to tell, and equally long for all that stand before one service.
        length_ns = _DIP_BASELINES * window.baseline_mean_ns
        self._begin_dip(window, at_most=math.inf, now=now, length_ns=length_ns)
        return LimitCause.RELEARNT

    def _begin_dip(
        self, window: WindowSummary, *, at_most: float, now: Instant, length_ns: int = 0
    ) -> None:
        seen = self._recent if self._recent.count else self._evidence
        wanted = seen.in_flight / seen.strain if seen.count else self._level
        self._dip = Dip(wanted, self._level, now=now, length_ns=length_ns)
        self._level = min(self._level, at_most, float(low_in_flight(self.limit)))
        self._forget()

    def _move_in_dip(self, dip: Dip, window: WindowSummary, *, now: Instant) -> LimitCause:
        if not dip.is_over(window, is_known=not _is_provisional(window), now=now):
            return LimitCause.STEADY
        self._dip = None
        has_changed = abs(window.learnt_ratio - 1) > _CHANGED
        if has_changed:
            self._pause_next = _PAUSE_MIN
        self._put_off()
        ratio = window.learnt_ratio
        if not self._is_anchored:
            target = target_ns(window.baseline_mean_ns, window.baseline_error)
            ratio = target / self._first_target_ns
        self._is_anchored = True
        self._rest_at(max(dip.level_after(ratio), self._level))
        self._is_ramping = has_changed
        self._quiet_until = Instant(now + _QUIET_RTTS * max(window.rtt_mean_ns, 1))
        return LimitCause.HEADROOM

    def _put_off(self) -> None:
        self._pause = self._pause_next
        self._pause_next = min(2 * self._pause_next, _PAUSE_MAX)

    # --- hard evidence ------------------------------------------------------------------------

    def _back_off(self, window: WindowSummary) -> LimitCause:
        """Less, as long as less helps."""
        if self._dip is not None:
            self._level = max(self._level, self._dip.level_before)
        self._dip = self._trial = None
        if self._episode is None:
            self._episode = _Episode(self._level)
        self._rest_at(self._episode.next_level(self._level, window))
        return LimitCause.OVERLOAD

    def _end_episode(self, episode: _Episode) -> None:
        self._episode = None
        if episode.has_helped or not episode.is_futile:
            self._ceiling = self._level / _BACKOFF


def _is_provisional(window: WindowSummary) -> bool:
    return window.provisional_count * 2 > window.sample_count


def _has_overload(window: WindowSummary) -> bool:
    answers = window.sample_count + window.overload_count
    return window.overload_count > 0 and window.overload_count >= answers * _OVERLOAD_SHARE
