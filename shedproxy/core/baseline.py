"""What each route costs without load, learnt only where there is none.

A baseline learnt under load climbs with the load it should reveal: the limit follows it up, which
raises the load. So only samples admitted at low in-flight count, whoever wants more of them.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from shedproxy.core.series import DecayedMean, SampleMean
from shedproxy.core.units import Instant
from shedproxy.core.window import Learning

__all__ = [
    "LOW_ALWAYS",
    "ROUTES_MAX",
    "BaselineTable",
    "Memory",
    "Remembered",
    "RouteLatency",
    "low_in_flight",
]

ROUTES_MAX: Final = 256
"""Routes with a baseline of their own; the ones after them share one."""

LOW_ALWAYS: Final = 2
"""Low whatever the limit is: nothing can be learnt of a service that gets less."""

_LOW_SHARE: Final = 0.3
"""In flight up to this share of the limit is low. Latency there is the true baseline or at most
this share of what the limit allows: below 1 / target, so that learning there cannot climb."""
_TRUSTED_SAMPLES: Final = 10
"""Less is no baseline, however alike."""
_TRUSTED_ERROR: Final = 0.22
"""A mean of few, scattered samples is no baseline: its error must be known to be below this,"""
_SCATTER_PRIOR: Final = 32
"""Samples that the scatter seen under load, where queues add to it, counts for."""
_TRUSTED_ANYWAY: Final = 240
_TRUSTED_TURNS: Final = 10
"""or the samples this many, and this many times what was in flight."""
_MISSING_ERROR: Final = 0.25
"""How far what is missing of a mean may be from what its scatter says."""
_MISSING_MAX: Final = 0.5
"""And more than this is not made up for."""
_VERDICT_SAMPLES: Final = 64
"""Samples after which a former baseline is judged before the time to learn is over."""
_CONCLUDED_SAMPLES: Final = 8
"""Of less a time to learn that is over concludes nothing: the former baseline is back."""
_CONFIRMED_ERRORS: Final = 2.0
"""Means within so many errors of their difference say the same,"""
_FALL_ERRORS: Final = 3.0
"""or so many where the new one is lower: of a law in which one in ten takes long none of fifty does
by chance in one dip of two hundred."""
_SUSPECT_SAMPLES: Final = 48
"""What a baseline still counts for once latencies under load have spoken against it."""
_BELIEVED_RISE: Final = 1.25
"""A rise up to this, if so little can show, is what others before the same service hold it at."""


class _Verdict(enum.Enum):
    """What becomes of a former baseline when there is a new one."""

    CONFIRMED = enum.auto()
    """Both say the same, as far as can be told: together they say it better."""
    KEPT = enum.auto()
    REPLACED = enum.auto()


class Remembered(NamedTuple):
    """A baseline, as far as a successor needs it."""

    mean_ns: int
    sample_count: int
    variance: float
    """Of single samples, in ns squared."""


Memory = dict[str, Remembered]
"""Baselines by route."""


def low_in_flight(limit: int, *, always: int = LOW_ALWAYS) -> int:
    """Most in flight, with the request itself, that counts as low: at least `always`."""
    return max(always, int(limit * _LOW_SHARE))


def _believed_scatter(low: SampleMean, scatter: float) -> float:
    """That of a law: few samples look alike, many show for themselves how they scatter."""
    own = low.scatter()
    return own + max(0.0, scatter - own) * _SCATTER_PRIOR / (_SCATTER_PRIOR + low.count)


class RouteLatency:
    """The latencies of one route: without load, and lately."""

    __slots__ = (
        "_former",
        "_former_missing",
        "_is_over",
        "_low",
        "_low_in_flight",
        "_missing",
        "_replaced_ns",
        "is_trusted",
        "judged_ns",
        "recent",
        "trusted_ns",
    )

    def __init__(self) -> None:
        self._low = SampleMean()
        self._low_in_flight = 1
        self._missing = 0
        """Samples that are not in yet, and are the longest of their time."""
        self._is_over = False
        """The time to learn is: what comes in now is what was missing."""
        self._former: SampleMean | None = None
        self._former_missing = 0
        """As `_missing`, of the former baseline."""
        self._replaced_ns = 0
        """What the present one has taken the place of, in the time to learn; 0: of nothing."""
        self.recent = DecayedMean()
        self.is_trusted = False
        self.judged_ns = 0
        """The baseline; negative while it is not trusted, 0 before the first sample."""
        self.trusted_ns = 0
        """The last baseline that was trusted; 0: none yet."""

    @property
    def low_count(self) -> int:
        """Samples the baseline is made of."""
        return self._low.count

    def low_error(self, scatter: float) -> float:
        """Standard error of the baseline, in baselines; 1.0: unknown or worse.

        `scatter` is that of latencies under load: a few samples of a law with rare long ones look
        alike, and their own scatter knows nothing of it.
        """
        low = self._low
        if low.count < 2:
            return 1.0
        return min(1.0, math.sqrt(_believed_scatter(low, scatter) / low.count))

    def memory(self) -> Remembered:
        """What is believed."""
        return Remembered(self._low.value_ns, self._low.count, self._low.variance)

    def remember(self, remembered: Remembered) -> None:
        """Believe what a predecessor did."""
        self._low = SampleMean.of(*remembered)
        self._former, self._missing, self._replaced_ns = None, 0, 0
        self._trust(self._low.value_ns)

    def conclude(self, scatter: float) -> None:
        """The time to learn is over: judge the former baseline by what was seen."""
        self._is_over = True
        if self._former is not None and self._low.count >= _CONCLUDED_SAMPLES:
            self._settle(scatter)
        self.trust_again(scatter)

    def trust_again(self, scatter: float) -> None:
        """Go back to what was believed before, with what was learnt meanwhile."""
        former, self._replaced_ns = self._former, 0
        if former is not None:
            former.merge(self._low)
            self._low, self._former, self._missing = former, None, self._former_missing
            self._trust(self._mean_ns(scatter))

    def add_low(self, rtt_ns: int, in_flight: int, scatter: float) -> None:
        """A sample admitted at low in-flight: with itself, that many."""
        low = self._low
        low.add(rtt_ns)
        if self.is_trusted:
            value_ns = low.value_ns
            if self._missing:
                self._missing -= self._is_over
                value_ns = self._mean_ns(scatter)
            self.judged_ns = self.trusted_ns = value_ns
            return
        self._low_in_flight = max(self._low_in_flight, in_flight)
        if low.count >= _TRUSTED_SAMPLES:
            self._missing = self._low_in_flight - 1
        # What a few samples say against a former baseline may be chance: all that can be had count.
        is_judged = self._former is None or low.count >= _VERDICT_SAMPLES
        if is_judged and self._is_known(scatter):
            self._settle(scatter)
        else:
            self.judged_ns = -self._mean_ns(scatter)

    def _mean_ns(self, scatter: float) -> int:
        """The mean, with what is missing of it.

        What ends first is what was short. Of a row of work that begins anew in each of n slots, N
        ends of which have been seen, the mean lies below the true one by scatter n / N, to first
        order of renewal theory: the n that are under way are longer, and not in it.
        """
        low = self._low
        if not self._missing:
            return low.value_ns
        missing = _believed_scatter(low, scatter) * self._missing / low.count
        return int(low.value_ns * (1.0 + min(_MISSING_MAX, missing)))

    def _is_known(self, scatter: float) -> bool:
        low = self._low
        if low.count < _TRUSTED_SAMPLES:
            return False
        if low.count >= max(_TRUSTED_ANYWAY, _TRUSTED_TURNS * self._low_in_flight):
            return True
        scatter = _believed_scatter(low, scatter)
        missing = _MISSING_ERROR * scatter * self._low_in_flight / low.count
        return math.sqrt(scatter / low.count) <= _TRUSTED_ERROR - missing

    def distrust(self, *, is_suspect: bool) -> None:
        """As of the table. What is being learnt already begins anew: it is of another level."""
        if self.is_trusted:
            self._low.fade(_SUSPECT_SAMPLES if is_suspect else self._low.count)
            self.is_trusted = False
            self.judged_ns = -self.judged_ns
            self._former, self._former_missing = self._low, self._missing
        elif self._former is None:
            return
        self._low = SampleMean()
        self._low_in_flight = 1
        self._missing = self._replaced_ns = 0
        self._is_over = False

    def learning(self, scatter: float) -> Learning:
        """How well the baseline is known, and what became of the former one."""
        low, former, replaced_ns = self._low, self._former, self._replaced_ns
        if former is not None and low.count and self._verdict(former) is _Verdict.REPLACED:
            replaced_ns = max(former.value_ns, 1)
        ratio = self._mean_ns(scatter) / replaced_ns if replaced_ns else 1.0
        return Learning(low.count, ratio, self.low_error(scatter), low.scatter())

    def _verdict(self, former: SampleMean) -> _Verdict:
        """What was learnt now against what was believed before."""
        low = self._low
        if low.value_ns <= 0 or former.value_ns <= 0:
            return _Verdict.REPLACED
        scatter = max(low.scatter(), former.scatter())
        error = math.sqrt(scatter / low.count + scatter / max(former.weight, 1))
        step = math.log(self._mean_ns(scatter) / former.value_ns)
        missing = _MISSING_ERROR * scatter * self._low_in_flight / low.count if step < 0 else 0.0
        sure, rise = _CONFIRMED_ERRORS * error, math.log(_BELIEVED_RISE)
        if -_FALL_ERRORS * error - missing <= step <= sure:
            return _Verdict.CONFIRMED
        if step < 0 or step > rise + sure:
            return _Verdict.REPLACED
        return _Verdict.KEPT if sure < rise else _Verdict.CONFIRMED

    def _settle(self, scatter: float) -> None:
        former, self._former = self._former, None
        if former is not None:
            verdict = self._verdict(former)
            if verdict is _Verdict.CONFIRMED:
                self._low.merge(former)
            elif verdict is _Verdict.KEPT:
                self._low, self._missing = former, self._former_missing
            else:
                self._replaced_ns = max(former.value_ns, 1)
        self._trust(self._mean_ns(scatter))

    def _trust(self, mean_ns: int) -> None:
        self.is_trusted = True
        self.judged_ns = self.trusted_ns = mean_ns


class BaselineTable:
    """Baselines and recent latencies by route: bounded, or given by calibration.

    A calibrated baseline wins over what is learnt, until `distrust`: the service was seen to have
    changed since.
    """

    __slots__ = ("_given_ns", "_is_overruled", "_overflow", "_routes", "scatter")

    def __init__(self, given_ns: int | None = None) -> None:
        self._given_ns = given_ns
        self._is_overruled = False
        self._routes: dict[str, RouteLatency] = {}
        self._overflow = RouteLatency()
        self.scatter = 1.0
        """Variance of single latencies, in squared baselines, as the windows show it."""

    def __len__(self) -> int:
        return len(self._routes)

    def routes(self) -> Iterable[str]:
        """Those with a baseline of their own."""
        return self._routes.keys()

    def calibrate(self, given_ns: int | None) -> None:
        """Take a calibrated baseline, or return to the learnt ones (None). No news: no change."""
        if given_ns == self._given_ns:
            return
        self._given_ns = given_ns
        self._is_overruled = False

    def observe(self, route: str, rtt_ns: int, low_in_flight: int, now: Instant) -> int:
        """Take a sample and give the baseline to judge it by, as `judge` does.

        `low_in_flight` is what was in flight with it, or 0 when that was not low.
        """
        latency = self._routes.get(route)
        if latency is None:
            latency = self._enter(route)
        latency.recent.add(rtt_ns, now)
        if low_in_flight:
            latency.add_low(rtt_ns, low_in_flight, self.scatter)
        return latency.judged_ns if self._given_ns is None else self._judge(latency)

    def observe_censored(self, route: str, elapsed_ns: int, now: Instant) -> int:
        """Take a latency of which only a lower bound is known; gives what `observe` gives."""
        latency = self._routes.get(route, self._overflow)
        if 0 < latency.recent.value_ns < elapsed_ns:
            latency.recent.add(elapsed_ns, now)
        return self._judge(latency)

    def judge(self, route: str) -> int:
        """Baseline of a route: negative when it is not trusted yet, 0 when there is none."""
        return self._judge(self._routes.get(route, self._overflow))

    def baseline_ns(self, route: str) -> int:
        """No-load latency of a route as last trusted; 0: never yet."""
        if self._given_ns is not None and not self._is_overruled:
            return self._given_ns
        return self._routes.get(route, self._overflow).trusted_ns or self._given_ns or 0

    def recent(self, route: str) -> DecayedMean:
        """Recent latency of a route, load included."""
        return self._routes.get(route, self._overflow).recent

    def typical_ns(self) -> int:
        """Baseline of the route with the most samples at low in-flight; 0: none yet."""
        if self._given_ns is not None and not self._is_overruled:
            return self._given_ns
        busiest = max(
            (latency for latency in self._latencies() if latency.trusted_ns),
            key=lambda latency: latency.low_count,
            default=None,
        )
        return busiest.trusted_ns if busiest is not None else self._given_ns or 0

    def learning(self) -> Learning:
        """How well the baseline is known, of the route most measured at low in-flight."""
        if self._given_ns is not None and not self._is_overruled:
            return Learning()
        busiest = max(self._latencies(), key=lambda latency: latency.low_count)
        return busiest.learning(self.scatter)

    def distrust(self, *, is_suspect: bool = False) -> None:
        """Learn all again; the former serve until then. `is_suspect`: load spoke against them."""
        self._is_overruled = self._given_ns is not None
        for latency in self._latencies():
            latency.distrust(is_suspect=is_suspect)

    def conclude(self) -> None:
        """The time to learn is over: every baseline in doubt is settled by what was seen."""
        for latency in self._latencies():
            latency.conclude(self.scatter)

    def memory(self) -> Memory:
        """The trusted ones by route: what a successor should not have to learn under load."""
        return {
            route: latency.memory() for route, latency in self._routes.items() if latency.is_trusted
        }

    def remember(self, memory: Memory) -> None:
        """Take the baselines of a predecessor; what was learnt since gives way."""
        for route, remembered in memory.items():
            latency = self._routes.get(route) or self._enter(route)
            if latency is not self._overflow:
                latency.remember(remembered)

    def trust_again(self) -> None:
        """No time to learn after all: go back to the former baselines."""
        for latency in self._latencies():
            latency.trust_again(self.scatter)

    def _judge(self, latency: RouteLatency) -> int:
        if self._given_ns is None:
            return latency.judged_ns
        if not self._is_overruled:
            return self._given_ns
        return latency.judged_ns if latency.low_count else -self._given_ns

    def _latencies(self) -> tuple[RouteLatency, ...]:
        return (*self._routes.values(), self._overflow)

    def _enter(self, route: str) -> RouteLatency:
        if len(self._routes) >= ROUTES_MAX:
            return self._overflow
        latency = self._routes[route] = RouteLatency()
        return latency
