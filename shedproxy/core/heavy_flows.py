"""Tenants whose requests are other work than everybody's: told by their latency beside the others'.

A busy service makes all tenants slower alike, so that the ratio of one to the median of all is what
its own work is, whatever the load. Who takes `_HEAVY` times as long as the median is heavy: its
latencies say nothing of how busy the service is, and a slot that it has is not soon free again. The
median is one of tenants, not of requests, so that one of them cannot move it by asking more.

For each tenant, by its place (`sharding.place_of`) in a small fixed table, the mean of its last
latencies is kept, in baselines of their routes. Fewer than `_FLOWS_MIN` tenants have no median that
means something.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.sharding import PLACE_BITS

__all__ = ["FLOW_BITS", "HeavyFlows"]

FLOW_BITS: Final = 8
"""Of a place, so many of the highest bits tell tenants apart."""
_SIZE: Final = 1 << FLOW_BITS
_SHIFT: Final = PLACE_BITS - FLOW_BITS
_MEMORY: Final = 16
"""Samples of a tenant that its mean is of."""
_SAMPLES_MIN: Final = 6
"""With fewer a tenant of ordinary, scattered work would be taken for heavy now and then: the mean
of six exponential times is three times as high as it should be once in five thousand."""
_FLOWS_MIN: Final = 4
_HEAVY: Final = 3.0
_LIGHT_AGAIN: Final = 2.0
_PERIOD: Final = 32
"""Samples between two judgements at least, and two of each tenant: looking at all has its price."""
_SWEEP: Final = 32
"""Judgements between two sweeps: who had no sample since the last is forgotten."""
_MOST: Final = 0.75
"""Where more than this part of the samples is of heavy tenants, they are what the service does."""


class HeavyFlows:
    """Constant memory; two tenants that meet in the table are judged as one."""

    __slots__ = (
        "_calm",
        "_counts",
        "_heavy",
        "_heavy_count",
        "_is_most",
        "_left",
        "_means",
        "_old_counts",
        "_period",
        "_seen",
        "_until_sweep",
        "has_found",
    )

    def __init__(self) -> None:
        self._means = [0.0] * _SIZE
        self._counts = [0] * _SIZE
        self._seen: list[int] = []
        """Those with a sample, in the order of their first."""
        self._old_counts = [0] * _SIZE
        """At the last sweep."""
        self._until_sweep = _SWEEP
        self._heavy = [False] * _SIZE
        self._heavy_count = 0
        self._is_most = False
        self._calm = _SWEEP
        """Judgements since anybody was heavy."""
        self.has_found = False
        """Somebody is heavy, and nobody was for long: what was measured until now has his share in
        it. For whoever reads it to take back."""
        self._period = self._left = _PERIOD

    def is_heavy(self, place: int) -> bool:
        """Whether the requests of the tenant at this place were heavy lately."""
        return self._heavy[place >> _SHIFT]

    def take(self, place: int, ratio: float) -> bool:
        """A latency of the tenant at this place, over the baseline of its route.

        Returns:
            Whether it is to be left out of what the limit is judged by.
        """
        index = place >> _SHIFT
        counts, means = self._counts, self._means
        counts[index] = count = counts[index] + 1
        if count == 1:
            self._seen.append(index)
        mean = means[index]
        means[index] = mean + (ratio - mean) / (min(_MEMORY, count))
        is_heavy = self._heavy[index]
        self._heavy_count += is_heavy
        self._left -= 1
        if not self._left:
            self._judge()
        return is_heavy and not self._is_most

    def _judge(self) -> None:
        counts, means, heavy = self._counts, self._means, self._heavy
        seen = self._seen
        ordered = sorted(means[index] for index in seen)
        # The lower one of two, so that among equals in number the light ones are the measure.
        median = ordered[(len(ordered) - 1) // 2]
        is_known = len(seen) >= _FLOWS_MIN
        has_heavy = False
        for index in seen:
            bound = (_LIGHT_AGAIN if heavy[index] else _HEAVY) * median
            if counts[index] >= _SAMPLES_MIN or heavy[index]:
                heavy[index] = is_heavy = is_known and means[index] > bound
                has_heavy = has_heavy or is_heavy
        # Where somebody is taken for heavy ever and again, that is how the service's times are.
        self.has_found = self.has_found or (has_heavy and self._calm >= _SWEEP)
        self._calm = 0 if has_heavy else self._calm + 1
        self._is_most = self._heavy_count > _MOST * self._period
        self._heavy_count = 0
        self._period = self._left = max(_PERIOD, 2 * len(seen))
        self._until_sweep -= 1
        if not self._until_sweep:
            self._until_sweep = _SWEEP
            self._sweep()

    def _sweep(self) -> None:
        counts, old = self._counts, self._old_counts
        for index in self._seen:
            if counts[index] == old[index]:
                counts[index] = 0
                self._means[index] = 0.0
                self._heavy[index] = False
        self._seen = [index for index in self._seen if counts[index]]
        self._old_counts = counts.copy()
