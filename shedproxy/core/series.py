"""Running means of latency, in integer nanoseconds and constant memory."""

from __future__ import annotations

from typing import Final

from shedproxy.core.units import NS_PER_S, Instant

__all__ = ["DecayedMean", "SampleMean"]

_SILENCE_NS: Final = NS_PER_S
_DENSE_NS: Final = NS_PER_S >> 4
"""Silence after which a sample weighs more than 1/16."""


class DecayedMean:
    """The recent mean: a sample weighs 1/16, and more the longer it was silent before it.

    After a second of silence the next sample replaces the mean: what was true before says less
    than what is measured now.
    """

    __slots__ = ("_tried_at", "_updated_at", "value_ns")

    def __init__(self) -> None:
        self.value_ns = 0
        """The mean; 0 before the first sample."""
        self._updated_at = self._tried_at = -_SILENCE_NS

    def add(self, sample_ns: int, now: Instant) -> None:
        """Take one sample."""
        silence_ns = now - self._updated_at
        self._updated_at = now
        if silence_ns <= _DENSE_NS:
            self.value_ns += (sample_ns - self.value_ns) >> 4
        elif silence_ns >= _SILENCE_NS:
            self.value_ns = sample_ns
        else:
            self.value_ns += (sample_ns - self.value_ns) * silence_ns // _SILENCE_NS

    def is_due(self, now: Instant, *, is_tried: bool) -> bool:
        """Whether it is time to measure again, for all that it says: nothing was for as long as the
        mean, and a second at least. `is_tried`: it is done then, and due again that much later.
        """
        since = max(self._updated_at, self._tried_at)
        if now - since < max(_SILENCE_NS, self.value_ns):
            return False
        if is_tried:
            self._tried_at = now
        return True


class SampleMean:
    """A mean over at most the last `memory` samples or so, and how well it is known.

    Exact until `memory` samples are in; from then on each weighs 1/memory.
    """

    __slots__ = ("_memory", "_variance", "count", "value_ns")

    def __init__(self, memory: int = 512) -> None:
        self._memory = memory
        self._variance = 0.0
        self.count = 0
        self.value_ns = 0
        """The mean; 0 before the first sample."""

    def add(self, sample_ns: int) -> None:
        """Take one sample (Welford's recurrence, with a floor under the weight)."""
        self.count = weight = self.count + 1
        if weight > self._memory:  # noqa: PLR1730  # no call
            weight = self._memory
        step = sample_ns - self.value_ns
        self.value_ns = value_ns = self.value_ns + step // weight
        self._variance += (step * (sample_ns - value_ns) - self._variance) / weight

    @property
    def weight(self) -> int:
        """Samples that the mean rests on: all of them, at most the memory."""
        return min(self.count, self._memory)

    def scatter(self) -> float:
        """Variance over the square of the mean (1 for exponential samples); 0.0 of nothing."""
        return self._variance / (self.value_ns * self.value_ns) if self.value_ns > 0 else 0.0

    @classmethod
    def of(cls, value_ns: int, count: int, variance: float) -> SampleMean:
        """A mean as it was: what `value_ns`, `count` and `variance` said."""
        mean = cls()
        mean.value_ns, mean.count, mean._variance = value_ns, count, variance
        return mean

    @property
    def variance(self) -> float:
        """Of single samples, in ns squared."""
        return self._variance

    def fade(self, count: int) -> None:
        """Rest on that many samples at most: what comes counts for more."""
        self.count = min(self.count, count)

    def merge(self, other: SampleMean) -> None:
        """Take the samples of another mean as well."""
        count = self.count + other.count
        if not count:
            return
        share = other.count / count
        step = other.value_ns - self.value_ns
        self._variance += (other._variance - self._variance) * share
        self._variance += step * step * share * (1 - share)
        self.value_ns += round(step * share)
        self.count = count
