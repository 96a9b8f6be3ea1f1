"""Samples for Prometheus, encoded by prometheus_client: text or OpenMetrics, as it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, groupby

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.registry import Collector

from shedproxy.observability.metric import Instrument, Metric
from shedproxy.observability.reading import HistogramValue, Sample

__all__ = ["SampleCollector", "render_for"]


class SampleCollector(Collector):
    """Feeds a prometheus_client registry from slots, when it is scraped.

    Args:
        read: Returns the samples of the moment.
    """

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read

    def collect(self) -> Iterator[MetricFamily]:
        """The families of the moment, in the order of the metric table."""
        for metric, group in groupby(self._read(), key=lambda sample: sample.metric):
            yield _family(metric, group)


def render_for(samples: Iterable[Sample], accept: str = "") -> tuple[bytes, str]:
    """The samples in the format that an Accept header asks for, and its content type."""
    registry = CollectorRegistry()
    registry.register(SampleCollector(lambda: samples))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _family(metric: Metric, samples: Iterable[Sample]) -> MetricFamily:
    name, unit = metric.prometheus_family, metric.prometheus_unit
    labels = [label.prometheus_name for label in metric.labels]
    if metric.instrument is Instrument.HISTOGRAM:
        histogram = HistogramMetricFamily(name, metric.meaning, labels=labels, unit=unit)
        bounds = [*(str(bound) for bound in metric.bounds), "+Inf"]
        for sample in samples:
            assert isinstance(sample.value, HistogramValue)
            below = accumulate(sample.value.counts)
            buckets = list(zip(bounds, below, strict=True))
            histogram.add_metric(sample.labels, buckets=buckets, sum_value=sample.value.sum)
        return histogram
    make = CounterMetricFamily if metric.instrument is Instrument.COUNTER else GaugeMetricFamily
    family = make(name, metric.meaning, labels=labels, unit=unit)
    for sample in samples:
        assert not isinstance(sample.value, HistogramValue)
        family.add_metric(sample.labels, sample.value)
    return family
