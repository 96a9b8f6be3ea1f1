"""From slots to samples: several workers become one service. Pure; exporters only translate.

Counters of all workers add up, those of workers that are gone included. Series that never counted
anything are left out, so that 64 cells times every reason do not drown the ones that matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shedproxy.core import RejectReason
from shedproxy.observability.metric import Gauge, Instrument, Merge, Metric, RequestOutcome
from shedproxy.observability.metric_labels import CELL, CLASSES, DURATION_BOUNDS, WAIT_BOUNDS
from shedproxy.observability.metric_table import METRICS, metric_named
from shedproxy.observability.slot_layout import CELL_SERIES, LAYOUT, PROCESS_SERIES, Series

__all__ = ["HistogramValue", "Sample", "sample_of", "samples"]

_FINER_BUCKETS = len(WAIT_BOUNDS) - len(DURATION_BOUNDS)
_REASONS = len(RejectReason)
_REJECTED = RequestOutcome.REJECTED.name.lower()


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """What a histogram holds: counts per bucket (not cumulative; the last is above every bound)."""

    counts: tuple[int, ...]
    sum: float
    """In the metric's unit."""

    @property
    def count(self) -> int:
        """Everything measured."""
        return sum(self.counts)


class Sample(NamedTuple):
    """One series with its value now."""

    metric: Metric
    labels: tuple[str, ...]
    """Values in the order of `metric.labels`; "" where a label does not apply."""
    value: float | HistogramValue
    """A number in the metric's unit, or a histogram."""


def sample_of(name: str, value: float, *labels: str) -> Sample:
    """A sample of a metric that has no slots: the supervisor's own.

    Raises:
        KeyError: The table has no such metric.
        ValueError: A label has a value that the table does not list, or labels are missing.
    """
    metric = metric_named(name)
    if len(labels) != len(metric.labels):
        raise ValueError(f"{name} has {len(metric.labels)} labels, not {len(labels)}")
    for label, given in zip(metric.labels, labels, strict=True):
        if label.values and given not in label.values:
            raise ValueError(f"{given!r} is no value of {label.name} of {name}")
    return Sample(metric, labels, value)


def samples(
    workers: Sequence[Sequence[int]], cell_names: Sequence[str], extra: Iterable[Sample] = ()
) -> Iterator[Sample]:
    """Every series in use, in the order of the table, all series of a metric together.

    Args:
        workers: The slots of each worker; of the middleware, its one list.
        cell_names: Names by number, as configured.
        extra: Samples from elsewhere (`sample_of`), to be put in their place; the supervisor's
            own count of something that workers count too is added to theirs.
    """
    process = _Block([slots[: LAYOUT.cells] for slots in workers])
    cells = [
        (name, _Block([_cell_slots(slots, number) for slots in workers]))
        for number, name in enumerate(cell_names)
    ]
    others: dict[str, dict[tuple[str, ...], float | HistogramValue]] = {}
    for metric, labels, value in extra:
        others.setdefault(metric.name, {})[labels] = value
    for metric in METRICS:
        in_cells, in_process = _SERIES_OF[metric.name]
        for name, block in cells:
            for series in in_cells:
                value_or_none = block.value(series)
                if value_or_none is not None:
                    yield Sample(metric, (name, *series.labels), value_or_none)
            if metric is _DURATION:
                yield from _rejected_durations(name, block)
        yield from _process_samples(metric, in_process, process, others.get(metric.name, {}))


def _process_samples(
    metric: Metric,
    in_process: Iterable[Series],
    process: _Block,
    others: dict[tuple[str, ...], float | HistogramValue],
) -> Iterator[Sample]:
    """Series of the workers' own blocks, and those from elsewhere."""
    for series in in_process:
        no_cell = ("",) if metric.labels and metric.labels[0] is CELL else ()
        labels = (*no_cell, *series.labels)
        value = process.value(series)
        if value is None:
            continue
        added = others.pop(labels, 0)
        if isinstance(value, HistogramValue) or isinstance(added, HistogramValue):
            raise TypeError(f"{metric.name}: histograms of workers and others do not mix")
        yield Sample(metric, labels, value + added)
    for labels, value in others.items():
        yield Sample(metric, labels, value)


class _Block:
    """The same block of slots of all workers, copied once, with each column's sum at hand."""

    __slots__ = ("rows", "sums")

    def __init__(self, blocks: Sequence[Sequence[int]]) -> None:
        self.rows = [list(block) for block in blocks]
        self.sums: list[int] = [sum(column) for column in zip(*self.rows, strict=True)]

    def value(self, series: Series) -> float | HistogramValue | None:
        """The value of a series, or None to leave it out."""
        metric, _, at = series
        if not self.sums:
            return None
        if metric.instrument is Instrument.HISTOGRAM:
            return _histogram_at(self.sums, at, metric)
        number = self._merged(metric, at)
        if number is None or (number == 0 and _is_hidden_at_zero(metric)):
            return None
        return number if metric.scale == 1 else number / metric.scale

    def _merged(self, metric: Metric, at: int) -> int | None:
        if metric.merge is Merge.SUM:
            return self.sums[at]
        if metric.merge is Merge.MAX:
            return max(row[at] for row in self.rows)
        # The one MIN of the table: a worker without upstreams says nothing of their health.
        has_upstreams = LAYOUT.cell_gauges + Gauge.UPSTREAMS
        return min((row[at] for row in self.rows if row[has_upstreams]), default=None)


def _is_hidden_at_zero(metric: Metric) -> bool:
    return metric.instrument is Instrument.COUNTER or not metric.is_always_shown


def _cell_slots(slots: Sequence[int], number: int) -> Sequence[int]:
    start = LAYOUT.cell_start(number)
    return slots[start : start + LAYOUT.cell_stride]


def _histogram_at(sums: Sequence[int], at: int, metric: Metric) -> HistogramValue | None:
    end = at + len(metric.bounds) + 1
    counts = tuple(sums[at:end])
    return HistogramValue(counts, sums[end] / metric.scale) if any(counts) else None


def _rejected_durations(cell: str, block: _Block) -> Iterator[Sample]:
    """Refusals among the durations: at once, or after the wait that the queue's histogram holds."""
    if not block.sums:
        return
    for number, label in enumerate(CLASSES):
        start = LAYOUT.cell_rejected + number * _REASONS
        refused = sum(block.sums[start : start + _REASONS])
        if not refused:
            continue
        waits = block.value(_REJECTED_WAITS[label])
        counts = [0] * (len(DURATION_BOUNDS) + 1)
        total = 0.0
        if isinstance(waits, HistogramValue):
            total = waits.sum
            counts[0] = sum(waits.counts[: _FINER_BUCKETS + 1])
            counts[1:] = waits.counts[_FINER_BUCKETS + 1 :]
        counts[0] += max(0, refused - sum(counts))
        yield Sample(_DURATION, (cell, label, _REJECTED), HistogramValue(tuple(counts), total))


_DURATION = metric_named("http.server.request.duration")
_REJECTED_WAITS = {
    series.labels[0]: series
    for series in CELL_SERIES
    if series.metric.name == "shedproxy.queue.wait.duration" and series.labels[1] == _REJECTED
}
_SERIES_OF = {
    metric.name: (
        tuple(series for series in CELL_SERIES if series.metric is metric),
        tuple(series for series in PROCESS_SERIES if series.metric is metric),
    )
    for metric in METRICS
}
