"""Samples as the OpenTelemetry SDK's own values, ready for any metric exporter of it.

The counting happened in slots; an SDK instrument per measurement would cost more than the whole
decision. The SDK is given what it would have had after aggregation.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as SdkMetric
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from shedproxy.observability.metric import Instrument, Metric
from shedproxy.observability.reading import HistogramValue, Sample

__all__ = ["PointMaker", "make_resource"]

_Key = tuple[str, tuple[str, ...]]

_DELTA_INSTRUMENTS = {
    "cumulative": frozenset[Instrument](),
    "delta": frozenset({Instrument.COUNTER, Instrument.HISTOGRAM}),
    "lowmemory": frozenset({Instrument.HISTOGRAM}),
}


def make_resource(*, service_name: str, version: str, instance_id: str) -> Resource:
    """Who reports. What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say wins over arguments."""
    ours = {
        "service.name": service_name,
        "service.version": version,
        "service.instance.id": instance_id,
    }
    given = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in ours.items() if name not in given})


class PointMaker:
    """Turns samples into the SDK's MetricsData, one export after another.

    Args:
        resource: Who reports.
        version: Of the instrumentation scope.
        started_ns: Since when counters count, in nanoseconds since the epoch.
        temporality: `cumulative`, `delta` or `lowmemory`, as in
            OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        version: str,
        started_ns: int,
        temporality: str = "cumulative",
    ) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("shedproxy", version)
        self._started_ns = started_ns
        self._delta = _DELTA_INSTRUMENTS[temporality]
        self._delivered_ns = started_ns
        self._delivered: dict[_Key, float | HistogramValue] = {}
        self._pending: dict[_Key, float | HistogramValue] = {}
        self._pending_ns = started_ns

    def make(self, samples: Iterable[Sample], *, now_ns: int) -> MetricsData:
        """The samples of the moment, `now_ns` in nanoseconds since the epoch.

        With delta temporality: what was added since the last `delivered`.
        """
        self._pending = {}
        self._pending_ns = now_ns
        metrics = [
            self._metric(metric, list(group))
            for metric, group in groupby(samples, key=lambda sample: sample.metric)
        ]
        scope = ScopeMetrics(scope=self._scope, metrics=metrics, schema_url="")
        resource = ResourceMetrics(
            resource=self._resource, scope_metrics=[scope], schema_url=self._resource.schema_url
        )
        return MetricsData(resource_metrics=[resource])

    def delivered(self) -> None:
        """What `make` returned last has arrived: the next delta starts there."""
        self._delivered.update(self._pending)
        self._delivered_ns = self._pending_ns

    def _metric(self, metric: Metric, samples: list[Sample]) -> SdkMetric:
        is_delta = metric.instrument in self._delta
        temporality = (
            AggregationTemporality.DELTA if is_delta else AggregationTemporality.CUMULATIVE
        )
        if metric.instrument is Instrument.HISTOGRAM:
            data: Sum | Gauge | Histogram = Histogram(
                data_points=[self._histogram(sample, is_delta=is_delta) for sample in samples],
                aggregation_temporality=temporality,
            )
        elif metric.instrument is Instrument.GAUGE:
            data = Gauge(data_points=[self._number(sample, is_delta=False) for sample in samples])
        else:
            data = Sum(
                data_points=[self._number(sample, is_delta=is_delta) for sample in samples],
                aggregation_temporality=temporality,
                is_monotonic=metric.instrument is Instrument.COUNTER,
            )
        return SdkMetric(name=metric.name, description=metric.meaning, unit=metric.unit, data=data)

    def _number(self, sample: Sample, *, is_delta: bool) -> NumberDataPoint:
        value = sample.value
        assert not isinstance(value, HistogramValue)
        if is_delta:
            before = self._delivered.get(_key(sample), 0)
            self._pending[_key(sample)] = value
            assert not isinstance(before, HistogramValue)
            value -= before
        return NumberDataPoint(
            attributes=_attributes(sample),
            start_time_unix_nano=self._delivered_ns if is_delta else self._started_ns,
            time_unix_nano=self._pending_ns,
            value=value,
        )

    def _histogram(self, sample: Sample, *, is_delta: bool) -> HistogramDataPoint:
        value = sample.value
        assert isinstance(value, HistogramValue)
        if is_delta:
            before = self._delivered.get(_key(sample))
            self._pending[_key(sample)] = value
            if isinstance(before, HistogramValue):
                value = HistogramValue(
                    tuple(map(int.__sub__, value.counts, before.counts)), value.sum - before.sum
                )
        return HistogramDataPoint(
            attributes=_attributes(sample),
            start_time_unix_nano=self._delivered_ns if is_delta else self._started_ns,
            time_unix_nano=self._pending_ns,
            count=value.count,
            sum=value.sum,
            bucket_counts=value.counts,
            explicit_bounds=sample.metric.bounds,
            # Both are optional in OTLP, and slots do not keep them.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )


def _key(sample: Sample) -> _Key:
    return sample.metric.name, sample.labels


def _attributes(sample: Sample) -> dict[str, str]:
    """Labels that apply; OpenTelemetry has no empty ones."""
    return {
        label.name: value
        for label, value in zip(sample.metric.labels, sample.labels, strict=True)
        if value
    }
