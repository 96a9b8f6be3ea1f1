"""The limit of one cell: window, route baselines and an estimator, tied together.

Tells the estimator what was measured and tells everybody else the limit. Knows nothing of queues,
requests or outcomes beyond their latency.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shedproxy.core.baseline import BaselineTable
from shedproxy.core.heavy_flows import HeavyFlows
from shedproxy.core.limits import make_estimator
from shedproxy.core.limits.adaptive import AdaptiveLimit
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit
from shedproxy.core.low_bound import LowBound
from shedproxy.core.opening import Opening, opening_after
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.relay import CENSORED, LEFT, ORPHANED, OVERLOAD, SAMPLE
from shedproxy.core.sharding import NO_PLACE
from shedproxy.core.share import LOOK_NS, CellShare
from shedproxy.core.standstill import Standstill
from shedproxy.core.units import Instant
from shedproxy.core.window import Window

__all__ = ["LimitLoop"]

_SCATTER_MAX: Final = 4.0
"""Of log-normal services with a coefficient of variation of 2; more is a mix of routes."""
_SCATTER_SAMPLES: Final = 8
"""A window of less knows nothing of scatter, nor of the latency that is usual."""
_SCATTER_TURNS: Final = 8
"""Windows over which scatter is averaged: one of some dozen samples knows it badly."""
_UNSERVED_MAX: Final = 32
"""So many of them, and the service works for nobody: half the limit, until somebody is served."""


class LimitLoop:
    """One loop per cell. `limit` is a plain attribute: it is read for every request."""

    __slots__ = (
        "_estimator",
        "_in_flight_last",
        "_led",
        "_listen_at",
        "_low",
        "_opening",
        "_policy",
        "_samples_wanted",
        "_unserved",
        "_valid_from",
        "_window",
        "baselines",
        "heavy",
        "last_change",
        "limit",
        "opens_at",
        "scatter",
        "service_ns",
        "share",
        "standing_share",
        "standstill",
        "stood_still",
        "typical_ns",
    )

    def __init__(self, policy: LimitPolicy, *, now: Instant) -> None:
        """Raises ValueError when the policy names no known algorithm."""
        self._policy = policy
        self._estimator = make_estimator(policy)
        self.baselines = BaselineTable(policy.baseline_ns)
        self._window = Window(now=now)
        self.heavy = HeavyFlows()
        """Tenants whose latencies say nothing of how busy the service is."""
        self._valid_from = now
        self._low = LowBound(now=now)
        self._in_flight_last = 0
        self.standstill = Standstill(now=now)
        self.stood_still = False
        """The service has done so; whoever heeds it, sets it back."""
        self._unserved = 0
        """Clients in a row that waited for long and left, with no answer to anybody between."""
        self.scatter = 1.0
        """Variance of single latencies, in squared baselines: at most 4."""
        self.standing_share = 0.0
        """Of what is in flight: how much waits inside the service, by Little's law."""
        self.typical_ns = 0
        """Mean latency of the last window."""
        self.service_ns = 0
        """The same without load, as far as that is known."""
        self.limit = self._estimator.limit
        """Slots that may be in flight now."""
        self._opening: Opening | None = None
        self.opens_at: Instant | None = None
        """When the next of them does; who waits asks for `update` then."""
        self.share: CellShare | None = None
        """Of several workers one leads; the others take its limit."""
        self._led = True
        self._listen_at = now
        """When we hear what others have measured, while we lead."""
        self._samples_wanted = Window.samples_wanted(self.limit)
        self._low.set(self._estimator.low_in_flight, now=now)
        self.last_change: LimitChange | None = None
        """The last judgement, moved or not; None before the first."""

    def on_sample(
        self,
        route: str,
        rtt_ns: int,
        in_flight: int,
        admitted_at: Instant,
        now: Instant,
        is_served: bool = True,
        place: int = NO_PLACE,
    ) -> bool:
        """A request succeeded in `rtt_ns`; `in_flight` others were there when it was admitted.

        Not `is_served`: its client had left before.

        Returns whether `update` may have something to judge; False: it would do nothing.
        """
        if self._opening is not None:
            self._opening.end(admitted_at)
        if is_served:
            self._unserved = 0
        if admitted_at < self._valid_from:
            self.standstill.end(now)
            return True
        if self.standstill.show(admitted_at, now):
            self._valid_from = self.standstill.until
            self._window.restart(now=now)  # with the samples since then its time is lost as well
            self.stood_still = True
            return True
        self._in_flight_last = in_flight
        share = self.share
        if share is not None:
            share.on_sample()
            if not self._led:
                # Of a heavy tenant too: the leader judges those of all workers.
                kind = SAMPLE if is_served else ORPHANED
                share.relay.tell(kind, route, rtt_ns, in_flight, admitted_at, now, place)
        is_measured = self._measure(route, rtt_ns, in_flight, admitted_at, now, place)
        if not is_measured or (share is not None and self._led and now >= self._listen_at):
            return True
        window = self._window
        # What `is_ready` would find out for nearly every request, without asking it.
        return (
            window.sample_count >= self._samples_wanted
            or now >= window.old_at
            or window.overload_count > 0
        )

    def _measure(
        self,
        route: str,
        rtt_ns: int,
        in_flight: int,
        admitted_at: Instant,
        now: Instant,
        place: int,
    ) -> bool:
        """Put a latency into the window; False: it is left out, its tenant is heavy."""
        heavy = self.heavy
        is_heavy = place >= 0 and heavy.is_heavy(place)
        if is_heavy:
            known_ns = abs(self.baselines.judge(route))
            if known_ns and heavy.take(place, rtt_ns / known_ns):
                return False
        low_in_flight = in_flight + 1 if self._low.holds(in_flight, admitted_at) else 0
        baseline_ns = self.baselines.observe(route, rtt_ns, low_in_flight, now)
        self._window.add(rtt_ns, abs(baseline_ns), in_flight)
        if baseline_ns <= 0:
            self._window.add_provisional()
        if place >= 0 and baseline_ns and not is_heavy:
            heavy.take(place, rtt_ns / abs(baseline_ns))
        return True

    def on_censored(self, route: str, elapsed_ns: int, *, now: Instant) -> None:
        """Nobody saw the end of the work, which took longer than `elapsed_ns`."""
        # Where all leave there is no other sample: without this one nothing would be learnt again.
        if not self._led:
            self._relay(CENSORED, route, elapsed_ns, now)
        self._measure_censored(route, elapsed_ns, self._in_flight_last, now)

    def _measure_censored(self, route: str, elapsed_ns: int, in_flight: int, now: Instant) -> None:
        baseline_ns = self.baselines.observe_censored(route, elapsed_ns, now)
        if self._window.add_censored(elapsed_ns, abs(baseline_ns), in_flight) and baseline_ns < 0:
            self._window.add_provisional()

    def on_left(self, route: str, elapsed_ns: int, *, now: Instant) -> None:
        """The client left after `elapsed_ns`, without an answer."""
        # Who leaves early says nothing of the service.
        if 2 * elapsed_ns < self.baselines.recent(route).value_ns:
            return
        if self._led:
            self._count_unserved(now)
        else:
            self._relay(LEFT, route, elapsed_ns, now)

    def _count_unserved(self, now: Instant) -> None:
        self._unserved += 1
        if self._unserved >= _UNSERVED_MAX and isinstance(self._estimator, AdaptiveLimit):
            self._unserved = 0
            self._take(self._estimator.halve(now=now))
            self.baselines.trust_again()

    def on_overload(self, route: str, elapsed_ns: int, *, now: Instant) -> None:
        """Timeout, refused connection, 503 or 504 after `elapsed_ns`: hard evidence, no latency."""
        self.standstill.end(now)
        if not self._led:
            self._relay(OVERLOAD, route, elapsed_ns, now)
        self._window.add_overload(is_late=elapsed_ns >= self.baselines.recent(route).value_ns)

    def on_limit_reached(self) -> None:
        """The limit was in somebody's way."""
        self._window.reach_limit()

    def on_stall(self, *, now: Instant) -> None:
        """Our own event loop stood still until `now`: so long all took."""
        self._valid_from = now
        self._window.restart(now=now)

    def update(
        self, in_flight: int, now: Instant, is_overloaded: bool = False
    ) -> LimitChange | None:
        """Judge the window when it is ready; None when it is not.

        `is_overloaded` says that requests are being refused for lack of capacity.
        """
        if self.share is not None:
            self._heed(self.share, now)
        self._open(self._opening, now)
        window = self._window
        if self.heavy.has_found:
            self.heavy.has_found = False
            window.restart(now=now)
            if isinstance(self._estimator, AdaptiveLimit):
                self._estimator.begin_anew(now=now)
        if not window.is_ready(self.limit, now=now) or self.standstill.is_in_doubt(now):
            return None
        learning = self.baselines.learning()
        summary = window.close(
            in_flight=in_flight, now=now, learning=learning, is_overloaded=is_overloaded
        )
        if summary.scatter_count >= _SCATTER_SAMPLES:
            scatter = min(_SCATTER_MAX, summary.rtt_scatter)
            self.scatter += (scatter - self.scatter) / _SCATTER_TURNS
            self.baselines.scatter = self.scatter
        if summary.sample_count >= _SCATTER_SAMPLES:
            self.typical_ns = summary.rtt_mean_ns
            # A follower's baselines are not put in doubt when the service changes.
            is_known = self._led and not summary.is_provisional
            ratio = max(1.0, summary.rtt_ratio) if is_known else 1.0
            self.service_ns = int(self.typical_ns / ratio)
            self.standstill.fit(summary.rtt_mean_ns)
            standing = 1.0 - 1.0 / max(1.0, summary.rtt_ratio)
            # It grows slowly and falls at once: a queue that is too short leaves slots idle.
            grown = self.standing_share + (standing - self.standing_share) / _SCATTER_TURNS
            self.standing_share = min(standing, grown)
        if not self._led:
            return None
        was_probing = self.is_probing
        change = self._estimator.on_window(summary, now=now)
        if change.cause is LimitCause.RELEARNT:
            ours = self._estimator
            is_suspect = isinstance(ours, AdaptiveLimit) and ours.suspects_change
            self.baselines.distrust(is_suspect=is_suspect)
        self._take(change)
        if was_probing and not self.is_probing:
            self.baselines.conclude()
            self._open(opening_after(summary, limit=self.limit, in_flight=in_flight, now=now), now)
        return change

    def _open(self, opening: Opening | None, now: Instant) -> None:
        if opening is None:
            return
        self._set_limit(opening.open_at(now))
        if not opening.is_over(now):
            self._opening, self.opens_at = opening, opening.next_at(now)
            self._samples_wanted = 0  # each end is a reason to look

    def _heed(self, share: CellShare, now: Instant) -> None:
        """Take the leader's limit, and go on from there when we lead."""
        leads = share.leads or self._policy.algorithm == "fixed"
        if self._led and not leads:
            self.stop_probing(now=now)
        limit = share.leader_limit()
        if not leads and limit and (limit != self.limit or self._opening is not None):
            self._set_limit(int(clamp_limit(limit, self._policy)))
        elif leads and not self._led:
            share.relay.skip()
            self._estimator = make_estimator(replace(self._policy, initial=self.limit))
            self._low.set(self._estimator.low_in_flight, now=now)
        self._led = leads
        if leads and now >= self._listen_at:
            self._listen_at = Instant(now + LOOK_NS)
            if self._policy.algorithm != "fixed":
                self._listen(share, now)

    def _relay(self, kind: int, route: str, elapsed_ns: int, now: Instant) -> None:
        if self.share is not None:
            self.share.relay.tell(kind, route, elapsed_ns, self._in_flight_last, now, now)

    def _listen(self, share: CellShare, now: Instant) -> None:
        """Learn what the other workers have measured."""
        relay, baselines, window = share.relay, self.baselines, self._window
        relay.learn(baselines.routes(), len(baselines))
        heard = relay.take()
        # Of several workers nobody knows the order: those who left are a row if nobody was served.
        is_served = any(relayed.kind == SAMPLE for relayed in heard)
        if is_served:
            self._unserved = 0
        for kind, route, elapsed_ns, in_flight, admitted_at, place in heard:
            # Of a route that we have not seen we have no baseline. And as we do not hear of its
            # answers, what speaks against the service would be heard alone.
            if not route:
                continue
            if kind == OVERLOAD:
                window.add_overload(is_late=elapsed_ns >= baselines.recent(route).value_ns)
            elif kind == LEFT:
                if not is_served:
                    self._count_unserved(now)
            elif kind == CENSORED:
                self._measure_censored(route, elapsed_ns, in_flight, now)
            elif (
                self._measure(route, elapsed_ns, in_flight, admitted_at, now, place)
                and in_flight + 1 >= self.limit
            ):
                self.on_limit_reached()

    def leave(self, parts: int, *, now: Instant) -> None:
        """The words are lost: go on alone, with an equal part of the limit in force."""
        if self.share is None:
            return
        self.share, self._led, before = None, True, self.limit
        limit = int(clamp_limit(max(1, before // parts), self._policy))
        self._estimator = make_estimator(replace(self._policy, initial=limit))
        self._take(LimitChange(before, limit, LimitCause.CONFIGURED, now))

    @property
    def is_probing(self) -> bool:
        """Whether the limit is low on purpose, to learn a baseline."""
        return isinstance(self._estimator, AdaptiveLimit) and self._estimator.is_probing

    @property
    def is_costly(self) -> bool:
        """Whether that costs throughput, as far as is known."""
        return isinstance(self._estimator, AdaptiveLimit) and self._estimator.is_costly

    def stop_probing(self, *, now: Instant) -> None:
        """The probe costs too much now: the limit and the baselines return to what they were."""
        if isinstance(self._estimator, AdaptiveLimit) and self._estimator.is_probing:
            self._take(self._estimator.stop_probing(now=now))
            self.baselines.trust_again()

    def expected_ns(self, route: str) -> int:
        """Recent mean latency of a route, load included; 0: unknown."""
        return self.baselines.recent(route).value_ns

    def apply(self, policy: LimitPolicy, *, now: Instant) -> None:
        """Take a new policy; what was learnt survives, the limit is brought inside the bounds.

        Raises:
            ValueError: no algorithm has that name; the policy in force stays.
        """
        before, was_probing, weight = self.limit, self.is_probing, self._policy.weight
        cause = LimitCause.CONFIGURED if policy.weight == weight else LimitCause.RESCALED
        if policy.algorithm == self._policy.algorithm:
            self._estimator.apply(policy)
            if was_probing and not self.is_probing:
                self.baselines.trust_again()
        else:
            start = policy.initial if policy.algorithm == "fixed" else before
            start = int(clamp_limit(start, policy))
            self._estimator = make_estimator(replace(policy, initial=start))
            if self.share is not None:
                # Nobody heard what was told under a fixed limit: it is stale.
                self.share.relay.skip()
        self._policy = policy
        self.baselines.calibrate(policy.baseline_ns)
        self._window.restart(now=now)
        after = self._estimator.limit
        if not self._led and policy.algorithm != "fixed":
            after = int(clamp_limit(before, policy))  # the leader's: our own moved when we led
        if after != before or self._opening is not None:
            self._take(LimitChange(before, after, cause, now))

    def _set_limit(self, limit: int) -> None:
        self._opening = self.opens_at = None
        self.limit = limit
        if self.share is not None:
            self.share.tell(limit)
        self._samples_wanted = Window.samples_wanted(limit)

    def _take(self, change: LimitChange) -> None:
        self.last_change = change
        if self._opening is None or self._opening.limit != change.limit_after:
            self._set_limit(change.limit_after)
        self._low.set(self._estimator.low_in_flight, now=change.at)
