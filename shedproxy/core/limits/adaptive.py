"""Our default: hold latency a little above what it is without load.

With L in flight, K slots busy and service time S, latency above the knee is L S / K (Little). So
latency over baseline is L / K, and holding it at a target holds the limit at target x K wherever
it started. The anchor is absolute: the baseline is never learnt under load, so there is no ratchet.
What makes that work on services whose single latencies scatter by more than their mean:

- Evidence is weighed, not followed. Windows add up to a memory of some hundred samples, more for
  scattered latencies, and the limit moves when the move is larger than its error. The margin above
  the baseline grows with the error of the baseline itself, because too high a limit costs a little
  latency and too low a one throughput.
- Small extra latency is noise, never queueing: a service of less than a millisecond is left alone.
- The limit grows only when it was in the way.
- Before a trusted baseline it ramps, by half with each window that objects to nothing, measured
  against the latency of the ramp's own beginning. Then it dips once, to learn the baseline.
- Latency that jumps asks for a trial at a higher limit. Where latency does not follow, the service
  is only slower, and its present latency is the new baseline. Where it does, a dip tells lost
  capacity from longer work. While others are refused: a dip at once, and at instants that all who
  share a clock have in common; also when a fall of the limit was in vain (`fall`).
- Hard evidence (503, timeouts) lowers the limit as long as that helps (`episode`).
- Where a fall of the limit took throughput with latency, more latency is allowed (`allowance`).

Ours; the level a ramp dips to is the bandwidth-delay product of BBR (Cardwell et al., 2016).
"""

from __future__ import annotations

import math

from shedproxy.core.baseline import LOW_ALWAYS, low_in_flight
from shedproxy.core.limits import moves
from shedproxy.core.limits.allowance import Allowance
from shedproxy.core.limits.beginning import Beginning
from shedproxy.core.limits.episode import STEP_MIN, Ceiling, OverloadEpisode, has_overload
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.fall import Fall
from shedproxy.core.limits.lately import SAMPLES, Change, Lately
from shedproxy.core.limits.probe import CheckClock, Dip, Pause, Trial
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit, rescaled_limit
from shedproxy.core.limits.retrograde import FEW, Company, Knee, is_retrograde
from shedproxy.core.limits.scatter import Scatter
from shedproxy.core.limits.target import target_ns
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import Instant
from shedproxy.core.window import WindowSummary

__all__ = ["AdaptiveLimit"]


class AdaptiveLimit:
    """Remembers the level (the limit before rounding up) and what it is in the middle of."""

    def __init__(self, policy: LimitPolicy) -> None:
        self._policy = policy
        self._level = float(clamp_limit(policy.initial, policy))
        self._evidence = Evidence()
        self._lately = Lately()
        self._beginning = Beginning()
        self._scatter = Scatter()
        self._is_ramping = True
        self._is_anchored = False  # the limit rests on a trusted baseline
        self._streak = 0
        self._dip: Dip | None = None
        self._trial: Trial | None = None
        self._quiet_until = Instant(0)
        self._checks = CheckClock()
        self._pause = Pause()
        self._ceiling = Ceiling()
        self._fall = Fall()
        self._allowance = Allowance()
        self._knee = Knee()
        self._episode: OverloadEpisode | None = None
        self.suspects_change = False  # of RELEARNT; else it was only time to look

    @property
    def limit(self) -> int:
        """Slots: the level rounded up, so that the next request is at hand when one ends."""
        return int(clamp_limit(math.ceil(round(self._level, 6)), self._policy))

    @property
    def low_in_flight(self) -> int:
        """All of a dip; a share of the limit else."""
        return self.limit if self._dip is not None else self._knee.low_in_flight(self.limit)

    @property
    def is_probing(self) -> bool:
        """In the middle of a dip: fewer slots than it believes in."""
        return self._dip is not None

    @property
    def is_costly(self) -> bool:
        """And it may keep others waiting: with more slots more was done, as far as known."""
        return self._dip is not None and self._dip.is_costly(self.limit)

    def apply(self, policy: LimitPolicy) -> None:
        """Take new bounds; what was learnt stays, per healthy weight."""
        if policy.weight != self._policy.weight or policy.minimum > self.limit:
            self._end_probes()
            self._knee = Knee()
            self._allowance.forget()
        self._level = float(rescaled_limit(self._level, self._policy, policy))
        self._policy = policy
        self._fall.end()

    def on_window(self, window: WindowSummary, *, now: Instant) -> LimitChange:
        """Judge a window. RELEARNT asks the caller to distrust the baselines."""
        before, cause = self.limit, self._move(window, now=now)
        wanted = self._level
        self._level = float(clamp_limit(wanted, self._policy))
        if self.limit == before and cause.is_move:
            cause = LimitCause.STEADY if self._level == wanted else LimitCause.CLAMPED
        return LimitChange(before, self.limit, cause, now, window.rtt_ratio)

    def stop_probing(self, *, now: Instant) -> LimitChange:
        """The dip (`is_probing`) costs too much now: back to the level before, try again later."""
        before = self.limit
        self._end_probes()
        self._is_ramping = not self._is_anchored  # without a baseline only that can go on
        self._pause.begin()
        return LimitChange(before, self.limit, LimitCause.HEADROOM, now)

    def halve(self, *, now: Instant) -> LimitChange:
        """Nobody is served any more: whatever the limit rests on, it is far too high."""
        before = self.limit
        self._dip = self._trial = None
        self._allowance.forget()
        self._rest_at(float(clamp_limit(self._level / 2, self._policy)))
        self._is_ramping = not self._is_anchored
        return LimitChange(before, self.limit, LimitCause.OVERLOAD, now)

    def _move(self, window: WindowSummary, *, now: Instant) -> LimitCause:
        if has_overload(window):
            return self._back_off(window)
        if not window.sample_count:
            return LimitCause.STEADY
        if self._episode is not None and self._episode.is_over():
            if self._episode.has_taught:
                self._ceiling.put_above(self._level)
            self._episode = None
        if self._dip is not None:
            return self._move_in_dip(self._dip, window, now=now)
        self._is_anchored = self._is_anchored or not window.is_provisional
        if self._trial is not None:
            return self._move_in_trial(self._trial, window, now=now)
        self._allowance.pass_time(window, now=now)
        is_cold = self._is_ramping and not self._is_anchored
        if not window.limit_was_reached or (is_cold and window.was_reached_late):
            if is_cold:
                self._scatter.add(window)
                self._beginning.take(window)  # of the ramp, whoever bounded it
            return LimitCause.APP_LIMITED
        if now < self._quiet_until:
            return LimitCause.STEADY
        self._beginning.work(window)
        self._pause.pass_window()
        scatter = self._scatter.add(window)
        target = self._target_ns(window)
        self._evidence.add(window, target_ns=target, memory=moves.MEMORY * (1 + scatter))
        self._lately.add(window, target_ns=target, scatter=scatter)
        if self._is_ramping:
            return self._ramp(window, scatter, now=now)
        missed = self._allowance.missed_level(
            self._evidence, window, target_ns=target, scatter=scatter, now=now
        )
        if missed > self._level:
            self._knee.lift(missed)
            self._rise_to(missed)
            self._forget()
            return LimitCause.STEADY
        can_check = window.is_overloaded and self._is_anchored
        if self._checks.is_due(window, now=now, is_possible=can_check):
            return self._relearn(window, now=now, is_due=True)
        found = self._look_for_change(window, scatter, now=now)
        return found or self._settle(window, scatter, now=now)

    def _target_ns(self, window: WindowSummary) -> float:
        return self._beginning.target_ns(window, self._scatter) * self._allowance.factor

    def _ramp(self, window: WindowSummary, scatter: float, *, now: Instant) -> LimitCause:
        evidence = self._evidence
        wanted, step, error = evidence.judged(self._level, scatter)
        if step > error or not (self._is_anchored or self._beginning.is_known):
            if self._is_anchored and self._level >= min(self._knee.level, self._policy.maximum):
                self._is_ramping = False
                return LimitCause.STEADY
            self._beginning.take(window)
            self._evidence.reset()
            self._lately.reset()
            self._streak += 1
            most = wanted / self._level if self._streak < 2 else moves.GROWTH_MAX
            return self._rise(min(moves.GROWTH_MAX, most))
        self._streak = 0
        patience = SAMPLES if window.is_overloaded else moves.MEMORY / 2  # without any room
        if step < -moves.RAMP_END_ERRORS * error or evidence.count > patience * (1 + scatter):
            level = min(self._level, max(wanted, self._level * moves.SHRINK_MAX))
            if not self._is_anchored:
                is_sure = self._beginning.is_sure_of(step, error=error, scatter=scatter)
                return self._doubt(window, level if is_sure else self._level, now=now)
            self._is_ramping, self._level = False, level
            return LimitCause.QUEUEING
        return LimitCause.STEADY

    def _settle(self, window: WindowSummary, scatter: float, *, now: Instant) -> LimitCause:
        evidence = self._evidence
        wanted, step, error = evidence.judged(self._level, scatter)
        if step > max(moves.RISE_ERRORS * error, moves.RISE_MIN):
            if self._lately.evidence.strain > 1:  # what is remembered may be of lower levels
                return LimitCause.STEADY
            return self._rise(min(moves.RISE_MAX, wanted / self._level))
        if self._lately.has_headroom(scatter):
            return self._rise(moves.RISE_MAX)
        is_enough = evidence.count >= SAMPLES * (1 + scatter)
        if is_enough and step < -max(moves.FALL_ERRORS * error, moves.FALL_MIN):
            if not self._is_anchored:
                return self._doubt(window, self._level, now=now)
            self._fall.begin(evidence, level=self._level)
            self._level = max(wanted, self._level * moves.FALL_MAX)
            is_known = evidence.count > moves.MEMORY * (1 + scatter) / 2
            if is_known and self._fall.is_deep(self._level) and self._pause.is_over:
                return self._relearn(window, now=now)
            return LimitCause.QUEUEING
        return LimitCause.STEADY

    def _rise(self, factor: float) -> LimitCause:
        self._rise_to(max(self._level * factor, self._level + STEP_MIN))
        self._fall.rise_to(self._level)
        return LimitCause.HEADROOM

    def _rise_to(self, grown: float) -> None:
        """Slowly, or not at all, to what is known to be too high."""
        grown = min(grown, max(self._level, self._knee.level))
        self._level = self._ceiling.bounded(grown, level=self._level)

    def _rest_at(self, level: float) -> None:
        self._level = level
        self._is_ramping = False
        self._forget()

    def begin_anew(self, *, now: Instant) -> None:
        """What was measured so far was not only the service's doing; the level stays."""
        self._forget()
        self._allowance.forget()
        if self._dip is not None:
            self._dip.forget()
        self._checks.put_off(now=now)

    def _forget(self) -> None:
        self._streak = 0
        self._fall.end()
        self._evidence.reset()
        self._lately.reset()

    def _look_for_change(
        self, window: WindowSummary, scatter: float, *, now: Instant
    ) -> LimitCause | None:
        fall = self._fall if window.is_overloaded else None
        change = self._lately.change(self._evidence, scatter=scatter, fall=fall)
        if change is None or change is Change.SUSPECTED:
            return change and LimitCause.STEADY
        is_higher = change is Change.HIGHER
        no_trial = window.is_overloaded or self._level * moves.GROWTH_MAX > self._policy.maximum
        may_probe = self._is_anchored and self._pause.is_over
        if may_probe and (change in {Change.FASTER, Change.LESS} or (is_higher and no_trial)):
            return self._relearn(window, now=now)
        if is_higher and may_probe:
            self._trial = Trial(self._evidence, self._level, now=now)
            self._level = self._trial.level
            self._forget()
            return LimitCause.STEADY
        self._evidence.reset()  # what is remembered is of another service than that of now
        self._lately.forgive()
        return LimitCause.STEADY

    def _move_in_trial(self, trial: Trial, window: WindowSummary, *, now: Instant) -> LimitCause:
        scatter = self._scatter.add(window)
        target = self._target_ns(window)
        is_over = trial.is_over(window, target_ns=target, scatter=scatter, now=now)
        self._level = trial.level
        if not is_over:
            return LimitCause.STEADY
        self._trial, self._level = None, trial.level_before
        if trial.is_of_knee:
            if trial.has_compared and not trial.is_saturated:
                self._knee.lift()
            return LimitCause.STEADY
        if not trial.is_real:
            self._pause.begin()
            return LimitCause.STEADY
        if trial.is_saturated:
            return self._relearn(window, now=now)
        # Only slower: what latency is now is what it is without load.
        length_ns = Dip.check_length_ns(window.rtt_mean_ns)
        self._dip = Dip(self._level, self._level, now=now, length_ns=length_ns)
        return LimitCause.RELEARNT

    def _doubt(self, window: WindowSummary, level: float, *, now: Instant) -> LimitCause:
        """A baseline of a handful of samples says `level`: learn a better one, or take it."""
        if not (self._pause.is_over or window.is_overloaded):
            self._level = level
            return LimitCause.QUEUEING  # others are not refused yet, and none shall be for a dip
        busy = self._beginning.end(window, self._scatter)
        self._begin_dip(level, now=now).believed_ns = window.baseline_mean_ns
        self._level = min(self._level, max(LOW_ALWAYS, busy))
        return LimitCause.QUEUEING

    def _relearn(self, window: WindowSummary, *, now: Instant, is_due: bool = False) -> LimitCause:
        self.suspects_change = not is_due
        if is_due:
            self._allowance.halve(now=now)
        self._begin_dip(self._level, Dip.check_length_ns(window.baseline_mean_ns), now=now)
        return LimitCause.RELEARNT

    def _begin_dip(self, back_to: float, length_ns: int = 0, *, now: Instant) -> Dip:
        seen = self._lately.evidence if self._lately.evidence.count else self._evidence
        wanted = seen.in_flight / seen.strain if seen.count else self._level
        self._dip = dip = Dip(wanted, back_to, now=now, length_ns=length_ns, before=seen)
        self._level = min(self._level, float(low_in_flight(self.limit)))
        self._allowance.note(self._evidence, scatter=self._scatter.value)
        self._forget()
        return dip

    def _move_in_dip(self, dip: Dip, window: WindowSummary, *, now: Instant) -> LimitCause:
        scatter = self._scatter.value
        company = dip.company
        if company is not None:
            company.take(window)
            if company.tells_first():
                return LimitCause.RELEARNT  # by what is alone from now on
            if not company.is_over(scatter=scatter, now=now):
                return LimitCause.STEADY
            if company.is_answered:
                self._knee.company_costs = company.costs
            if company.costs:
                return self._end_dip_alone(dip, company, window, now=now)
            self._level = float(LOW_ALWAYS)
        else:
            dip.see(window, level=self.limit)
            if not dip.is_over(window, is_known=not window.is_provisional, now=now):
                return LimitCause.STEADY
            can_be_alone = self.limit == LOW_ALWAYS and self._policy.minimum == 1
            if can_be_alone and self._knee.is_in_doubt(dip.seen, dip.before, scatter=scatter):
                if Company.can_tell(dip.seen, scatter=scatter):
                    dip.company, self._level = Company(dip.seen, now=now), 1.0
                if dip.company or not dip.is_late(window, now=now):
                    return LimitCause.STEADY
        has_changed = dip.has_found(window)
        if has_changed:
            self._knee.company_costs = None
            if self._is_anchored:
                self._allowance.forget()
        level = dip.level_after(window.learnt_ratio)
        if not self._is_anchored:
            level = self._beginning.level_after(dip, window)
        if self.limit <= FEW and is_retrograde(dip.seen, dip.before, scatter=scatter):
            self._knee.level = self._level
            if self.limit > max(LOW_ALWAYS, self._policy.minimum):  # fewer may do still more
                self._dip = Dip(self._level, self._level, now=now, before=dip.seen)
                self._level = float(max(LOW_ALWAYS, self.limit // 2))
                return LimitCause.RELEARNT
        self._end_dip(max(min(level, self._knee.level), self._level), window, now=now)
        self._pause.begin(has_found=has_changed)
        self._is_ramping = has_changed
        if self.limit < dip.level_before:
            self._fall.begin(dip.before, level=self._level)
        if self._knee.level <= self._level and dip.before.count:
            self._trial = Trial(dip.before, self._level, now=now, is_of_knee=True)
        return LimitCause.HEADROOM

    def _end_dip_alone(
        self, dip: Dip, company: Company, window: WindowSummary, *, now: Instant
    ) -> LimitCause:
        """Two in flight have turned out to be load, and so was what was believed before."""
        target = target_ns(window.baseline_mean_ns, window.baseline_error)
        self._knee.level = 1.0 if company.is_of_no_use else math.inf
        level = min(max(1.0, dip.before.rate * target), dip.level_before, self._knee.level)
        self._end_dip(level, window, now=now)
        self._pause.begin()
        return LimitCause.HEADROOM

    def _end_dip(self, level: float, window: WindowSummary, *, now: Instant) -> None:
        self._dip, self._is_anchored = None, True
        self._checks.look(now=now, has_found=Dip.has_found(window))
        self._rest_at(level)
        self._quiet_until = Dip.quiet_until(window, now=now)

    def _end_probes(self) -> None:
        if self._dip is not None:
            self._level = max(self._level, self._dip.level_before)
        if self._trial is not None:
            self._level = self._trial.level_before
        self._dip = self._trial = None
        self._forget()

    def _back_off(self, window: WindowSummary) -> LimitCause:
        """Less, as long as less helps."""
        self._end_probes()
        self._allowance.forget()
        self._episode = self._episode or OverloadEpisode(self._level)
        self._rest_at(self._episode.next_level(self._level, window))
        return LimitCause.OVERLOAD
