"""The Prometheus text format, with the standard library alone.

For the middleware, which imports no third-party package. The supervisor answers `/metrics` with
`shedproxy.observability.prometheus`; a test holds both against each other.
Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text version 0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby

from shedproxy.observability.metric import Instrument, Metric
from shedproxy.observability.reading import HistogramValue, Sample

__all__ = ["CONTENT_TYPE", "render_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TYPES = {
    Instrument.COUNTER: "counter",
    Instrument.UP_DOWN: "gauge",
    Instrument.GAUGE: "gauge",
    Instrument.HISTOGRAM: "histogram",
}


def render_text(samples: Iterable[Sample]) -> str:
    """The samples as text; those of one metric must come together, as `reading.samples` does."""
    return "".join(
        line
        for metric, group in groupby(samples, key=lambda sample: sample.metric)
        for line in _family(metric, group)
    )


def _family(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    name = metric.prometheus_family
    if metric.instrument is Instrument.COUNTER:
        name += "_total"
    meaning = metric.meaning.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {meaning}\n# TYPE {name} {_TYPES[metric.instrument]}\n"
    label_names = [label.prometheus_name for label in metric.labels]
    for sample in samples:
        labels = [
            f'{label}="{_escaped(value)}"'
            for label, value in zip(label_names, sample.labels, strict=True)
        ]
        if isinstance(sample.value, HistogramValue):
            yield from _histogram(name, labels, metric, sample.value)
        else:
            yield f"{name}{_braced(labels)} {sample.value}\n"


def _histogram(
    name: str, labels: list[str], metric: Metric, value: HistogramValue
) -> Iterator[str]:
    bounds = [*(str(bound) for bound in metric.bounds), "+Inf"]
    for bound, below in zip(bounds, accumulate(value.counts), strict=True):
        bucket = [*labels, f'le="{bound}"']
        yield f"{name}_bucket{_braced(bucket)} {below}\n"
    yield f"{name}_sum{_braced(labels)} {value.sum}\n"
    yield f"{name}_count{_braced(labels)} {value.count}\n"


def _braced(labels: list[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
