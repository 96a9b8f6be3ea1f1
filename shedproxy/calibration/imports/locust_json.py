"""Locust's JSON (`--json`, `--json-file`): a list of entries with a histogram each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from shedproxy.calibration.imports.load_record import (
    LatencyFigures,
    LoadRecord,
    Loop,
    RouteRecord,
)
from shedproxy.calibration.imports.source_text import NUMBER_MAX, SourceText
from shedproxy.core import NS_PER_MS, NS_PER_S, Nanos

__all__ = ["is_locust_json", "read_locust_json"]

_SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)


def is_locust_json(value: Any) -> bool:
    """Whether this JSON looks like Locust's."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, dict) and "response_times" in entry for entry in value)
    )


def read_locust_json(source: SourceText, *, loop: Loop | None = None) -> LoadRecord:
    """The run.

    Raises:
        DocumentInvalidError: an entry lacks what every version of Locust writes.
    """
    entries = source.as_json()
    routes, whole = [], Counter[Nanos]()
    begun, ended = [], []
    for entry in entries:
        histogram = _histogram(source, entry)
        whole.update(histogram)
        begun.append(_number(source, entry, "start_time"))
        has_ended = bool(entry.get("last_request_timestamp"))
        ended.append(_number(source, entry, "last_request_timestamp") if has_ended else begun[-1])
        if not isinstance(entry.get("name"), str):
            raise source.invalid("an entry has no name", line=source.line_of('"response_times"'))
        name = f"{entry.get('method') or ''} {entry['name']}".strip()
        routes.append(_route(source, entry, name, histogram))
    length_s = max(ended) - min(begun)
    count = sum(route.request_count or 0 for route in routes)
    if not count or length_s <= 0:
        raise source.invalid("no request in it: the run was stopped at its start")
    timed = sum(whole.values())
    mean_ns = sum(ns * times for ns, times in whole.items()) // timed if timed else None
    total = RouteRecord(
        name="Aggregated",
        request_count=count,
        failed_count=sum(route.failed_count or 0 for route in routes),
        rate_rps=count / length_s,
        latency=_figures(whole, None if mean_ns is None else Nanos(mean_ns)),
    )
    return LoadRecord(
        tool="Locust",
        files=(source.name,),
        loop=loop or Loop.CLOSED,
        length_ns=Nanos(round(length_s * NS_PER_S)),
        total=total,
        routes=tuple(routes),
        histogram=tuple(sorted(whole.items())),
        notes=(
            "Locust keeps two significant digits of each latency.",
            "The JSON has no number of users: add the CSV files for a curve over concurrency.",
        ),
    )


def _number(source: SourceText, entry: Mapping[str, Any], key: str) -> float:
    value: Any = entry.get(key)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= NUMBER_MAX:
        raise source.invalid(
            f"entry {entry.get('name')!r} has no {key}",
            line=source.line_of(f'"{entry.get("name")}"'),
            help="export it with locust --json or --json-file",
        )
    return float(value)


def _histogram(source: SourceText, entry: Mapping[str, Any]) -> Counter[Nanos]:
    found = Counter[Nanos]()
    times = entry["response_times"]
    if not isinstance(times, dict):
        raise source.invalid(f"response_times of {entry.get('name')!r} is no object")
    for text, count in times.items():
        line = source.line_of(f'"{text}"')
        ms = source.number(text, line=line, what="a response time")
        found[Nanos(round(ms * NS_PER_MS))] += int(
            source.number(str(count), line=line, what="a count of response times")
        )
    return found


def _route(
    source: SourceText, entry: Mapping[str, Any], name: str, histogram: Counter[Nanos]
) -> RouteRecord:
    count = int(_number(source, entry, "num_requests"))
    timed = sum(histogram.values())
    mean_ns = None
    if timed:
        mean_ns = Nanos(round(_number(source, entry, "total_response_time") / timed * NS_PER_MS))
    return RouteRecord(
        name=name,
        request_count=count,
        failed_count=int(_number(source, entry, "num_failures")),
        rate_rps=None,
        latency=_figures(histogram, mean_ns),
    )


def _figures(histogram: Counter[Nanos], mean_ns: Nanos | None) -> LatencyFigures:
    """Nearest-rank percentiles of counted values."""
    ordered, total = sorted(histogram.items()), sum(histogram.values())
    found = []
    for share in _SHARES:
        left = share * total
        for ns, count in ordered:
            left -= count
            if left <= 0:
                found.append((share, ns))
                break
    return LatencyFigures(
        mean_ns=mean_ns,
        max_ns=ordered[-1][0] if ordered else None,
        percentiles=tuple(found),
    )
