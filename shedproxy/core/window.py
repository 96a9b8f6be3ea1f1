"""One window of measurement: what a limit estimator is told, once per service time or so.

A window is measured in samples and in service times, never in wall seconds: a service that answers
in 1 ms is judged a thousand times while one that answers in 1 s is judged once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from shedproxy.core.units import NS_PER_MS, NS_PER_S, Instant

__all__ = ["NOTHING_LEARNT", "Learning", "Window", "WindowSummary"]

_SAMPLES_MIN: Final = 16
_SAMPLES_MAX: Final = 200
_SAMPLES_FEW: Final = 4
"""Enough once a window has lasted its longest."""
_LENGTH_MAX_NS: Final = NS_PER_S
"""A window lasts at most this, or one mean latency where that is longer."""
_OVERLOAD_LENGTH_NS: Final = 100 * NS_PER_MS
"""A little hard evidence waits at least this long (and one latency)."""


class Learning(NamedTuple):
    """How well the baseline is known, of the route it rests on most."""

    sample_count: int = 0
    """Samples at low in-flight since it was last put in doubt."""
    ratio: float = 1.0
    """Their mean over what was believed before, if that is to be believed."""
    error: float = 0.0
    """Standard error, in baselines."""
    scatter: float = 0.0
    """Variance of single latencies, in squared baselines."""


NOTHING_LEARNT: Final = Learning()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSummary:
    """What was seen between two instants. Lengths in ns; means are over the samples."""

    sample_count: int = 0
    """Latency samples, the useful censored ones included."""
    overload_count: int = 0
    """Timeouts, refused connections, 503 and 504 of the upstream."""
    late_count: int = 0
    """Those of them that took as long as work does, or longer."""
    provisional_count: int = 0
    """Samples whose route has no trusted baseline yet."""
    rtt_mean_ns: int = 0
    rtt_ratio: float = 0.0
    """Sum of latencies over sum of route baselines; 0.0 when no baseline is known."""
    rtt_scatter: float = 0.0
    """Variance of single latencies about their route's baseline, in squared mean baselines; about
    their mean, in squares of it, where no route has a baseline."""
    scatter_count: int = 0
    """Samples that this is of; of less than two nothing is known."""
    learnt_count: int = 0
    """Samples that the baseline being learnt rests on."""
    learnt_ratio: float = 1.0
    """What is learnt over what was believed before; 1.0: as before, or nothing to compare with."""
    baseline_error: float = 0.0
    """Standard error of the baseline, in baselines."""
    baseline_scatter: float = 0.0
    """Variance of single latencies without load, in squared baselines; 0.0: unknown."""
    baseline_mean_ns: int = 0
    """Mean baseline of the samples that have one; 0: none."""
    in_flight_max: int = 0
    in_flight_mean: float = 0.0
    """In flight with the sample itself, as each sample was admitted."""
    throughput_rps: float = 0.0
    limit_was_reached: bool = False
    was_reached_late: bool = False
    """Half of its samples or more had ended by then."""
    is_overloaded: bool = False
    """Demand is above capacity: others are being refused already."""

    @property
    def is_provisional(self) -> bool:
        """Most of its samples have no trusted baseline."""
        return self.provisional_count * 2 > self.sample_count

    @property
    def judged_rtt_ns(self) -> int:
        """Mean latency of the samples whose route has a baseline; of all where none has."""
        return round(self.baseline_mean_ns * self.rtt_ratio) or self.rtt_mean_ns


class Window:
    """Collects samples with integer additions only, and says when there are enough.

    `add` is on the path of every request; everything else runs once per window.
    """

    __slots__ = (
        "_baseline_sum",
        "_excess_square_sum",
        "_excess_sum",
        "_in_flight_max",
        "_in_flight_sum",
        "_known_count",
        "_late_count",
        "_provisional_count",
        "_rtt_last_ns",
        "_rtt_sum",
        "_started_at",
        "_unknown_square_sum",
        "limit_was_reached",
        "old_at",
        "overload_count",
        "reached_from",
        "sample_count",
    )

    def __init__(self, *, now: Instant) -> None:
        self._rtt_last_ns = 0
        self.restart(now=now)

    def restart(self, *, now: Instant) -> None:
        """Forget what was collected and begin at `now`."""
        self._started_at = now
        self.old_at = Instant(now + _LENGTH_MAX_NS)
        """From when a few samples are enough."""
        self.sample_count = 0
        self._known_count = 0
        self.overload_count = 0
        self._late_count = 0
        self._provisional_count = 0
        self._rtt_sum = 0
        self._baseline_sum = 0
        self._excess_sum = 0
        self._excess_square_sum = 0
        self._unknown_square_sum = 0
        self._in_flight_max = 0
        self._in_flight_sum = 0
        self.limit_was_reached = False
        self.reached_from = 0
        """`sample_count` when it was first."""

    def add(self, rtt_ns: int, baseline_ns: int, in_flight: int) -> None:
        """A latency, the baseline of its route (0: unknown), and what was in flight before it."""
        self.sample_count += 1
        self._rtt_sum += rtt_ns
        self._in_flight_sum += in_flight
        if in_flight >= self._in_flight_max:
            self._in_flight_max = in_flight + 1
        if baseline_ns:
            excess_ns = rtt_ns - baseline_ns
            self._known_count += 1
            self._baseline_sum += baseline_ns
            self._excess_sum += excess_ns
            self._excess_square_sum += excess_ns * excess_ns
        else:
            self._unknown_square_sum += rtt_ns * rtt_ns

    def add_censored(self, elapsed_ns: int, baseline_ns: int, in_flight: int) -> bool:
        """The client left after `elapsed_ns`. It teaches something only above the baseline.

        Returns whether it counts as a sample.
        """
        if 0 < baseline_ns < elapsed_ns:
            self.add(elapsed_ns, baseline_ns, in_flight)
            return True
        return False

    def add_overload(self, *, is_late: bool) -> None:
        """Hard evidence: a timeout, a refused connection, a 503 or 504 of the upstream.

        `is_late` says that it took as long as work does.
        """
        self.overload_count += 1
        self._late_count += is_late

    def add_provisional(self) -> None:
        """The sample just added was judged by a baseline that is not trusted yet, or by none."""
        self._provisional_count += 1

    def reach_limit(self) -> None:
        """The limit was in somebody's way."""
        if not self.limit_was_reached:
            self.limit_was_reached, self.reached_from = True, self.sample_count

    @staticmethod
    def samples_wanted(limit: int) -> int:
        """Samples that are enough whatever the window's age: about `limit`."""
        return min(max(limit, _SAMPLES_MIN), _SAMPLES_MAX)

    def is_ready(self, limit: int, *, now: Instant) -> bool:
        """Whether there is enough to judge: about `limit` samples over at least one latency.

        A window that has lasted 1 s (or one latency, if longer) is content with 4 samples. With
        overload it takes one latency alone, at least 100 ms while the overloads are under 4.
        Before `old_at` it is not ready with fewer samples than wanted and no overload.
        """
        count = self.sample_count
        elapsed_ns = now - self._started_at
        if count >= self.samples_wanted(limit) or (now >= self.old_at and count >= _SAMPLES_FEW):
            return elapsed_ns * count >= self._rtt_sum
        if self.overload_count:
            rtt_ns = self._rtt_sum // count if count else self._rtt_last_ns
            if not rtt_ns or self.overload_count < _SAMPLES_FEW:
                rtt_ns = max(_OVERLOAD_LENGTH_NS, rtt_ns)
            return elapsed_ns >= rtt_ns
        return False

    def close(
        self,
        *,
        in_flight: int,
        now: Instant,
        learning: Learning = NOTHING_LEARNT,
        is_overloaded: bool = False,
    ) -> WindowSummary:
        """Summarise, and begin the next window at `now`. `in_flight` is that of now."""
        count = self.sample_count
        known = self._known_count
        elapsed_ns = max(1, now - self._started_at)
        self._rtt_last_ns = self._rtt_sum // count if count else self._rtt_last_ns
        known_rtt_sum = self._baseline_sum + self._excess_sum
        summary = WindowSummary(
            sample_count=count,
            overload_count=self.overload_count,
            late_count=self._late_count,
            provisional_count=self._provisional_count,
            rtt_mean_ns=self._rtt_sum // count if count else 0,
            rtt_ratio=known_rtt_sum / self._baseline_sum if known else 0.0,
            rtt_scatter=self._scatter(),
            scatter_count=known or count,
            baseline_mean_ns=self._baseline_sum // known if known else 0,
            learnt_count=learning.sample_count,
            learnt_ratio=learning.ratio,
            baseline_error=learning.error,
            baseline_scatter=learning.scatter,
            in_flight_max=max(self._in_flight_max, in_flight),
            in_flight_mean=self._in_flight_sum / count + 1 if count else float(in_flight),
            throughput_rps=count * NS_PER_S / elapsed_ns,
            limit_was_reached=self.limit_was_reached,
            was_reached_late=0 < count <= 2 * self.reached_from,
            is_overloaded=is_overloaded,
        )
        self.restart(now=now)
        return summary

    def _scatter(self) -> float:
        known = self._known_count
        if not known:
            rtt_sum = self._rtt_sum
            return _scatter(self.sample_count, rtt_sum, rtt_sum, self._unknown_square_sum)
        if self._provisional_count * 2 > self.sample_count:
            # In squares of a guess that is too low it would be anything.
            rtt_sum = self._baseline_sum + self._excess_sum
            return _scatter(known, rtt_sum, self._excess_sum, self._excess_square_sum)
        # Of the excess over each route's baseline, so that a mix of fast and slow routes is not
        # taken for noise.
        return _scatter(known, self._baseline_sum, self._excess_sum, self._excess_square_sum)


def _scatter(count: int, unit_sum: int, value_sum: int, square_sum: int) -> float:
    """Variance of so many values in squares of a mean unit; 0.0: of less than two."""
    if count < 2 or not unit_sum:
        return 0.0
    unit = unit_sum / count
    spread = square_sum - value_sum * value_sum / count
    return max(0.0, spread) / (count - 1) / (unit * unit)
