"""k6's summaries in JSON, in the three shapes that its versions write.

- `--summary-export FILE`: metrics with their values beside each other.
- what `handleSummary(data)` is given, saved with `JSON.stringify(data)`: values one level deeper,
  with `state.testRunDurationMs`.
- `--new-machine-readable-summary` (k6 1.5 and later): `results.metrics` is a list, with `config`
  and `metadata` (schema 1.0).

Checked with the source of k6 2.2.0. The third has p(90) and p(95) and no other percentile,
whatever `summaryTrendStats` asks for.

Times are in milliseconds; `http_req_failed` counts as its "passes" (or "matches") what failed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from shedproxy.calibration.imports.load_record import (
    LatencyFigures,
    LoadRecord,
    Loop,
    RouteRecord,
)
from shedproxy.calibration.imports.source_text import NUMBER_MAX, SourceText
from shedproxy.calibration.results import Count
from shedproxy.core import NS_PER_MS, NS_PER_S, Nanos

__all__ = ["is_k6_summary", "read_k6_summary"]

_PERCENTILE = re.compile(r"p\((\d+(?:\.\d+)?)\)")

Metrics = Mapping[str, Mapping[str, Any]]


def is_k6_summary(value: Any) -> bool:
    """Whether this JSON looks like one of the three."""
    if not isinstance(value, dict):
        return False
    results = value.get("results")
    if isinstance(results, dict) and isinstance(results.get("metrics"), list):
        return True
    return isinstance(value.get("metrics"), dict)


def read_k6_summary(source: SourceText, *, loop: Loop | None = None) -> LoadRecord:
    """The run.

    Raises:
        DocumentInvalidError: it has no HTTP requests, or a value is not what it should be.
    """
    value = source.as_json()
    metrics = _metrics(source, value)
    duration = metrics.get("http_req_duration")
    requests = metrics.get("http_reqs")
    if duration is None or requests is None:
        raise source.invalid(
            "there is no http_req_duration and http_reqs among its metrics",
            line=source.line_of('"metrics"'),
            help="only runs with k6/http requests can be read",
        )
    count = int(_value(source, requests, "http_reqs", "count"))
    if not count:
        raise source.invalid("no request in it", line=source.line_of('"http_reqs"'))
    length_s = _length_s(value, requests, count)
    dropped = metrics.get("dropped_iterations")
    failed = metrics.get("http_req_failed")
    users = metrics.get("vus_max") or metrics.get("vus") or {}
    notes, errors = [], []
    if dropped is not None:
        # Only the arrival-rate executors have this metric: they keep a schedule.
        lost = int(_value(source, dropped, "dropped_iterations", "count"))
        errors.append(Count(name="dropped iterations", count=lost))
        notes.append(
            f"{lost} iterations were dropped: k6 had no virtual user left to keep its schedule."
        )
    if "p(99)" not in duration:
        notes.append(
            "No p(99) in it, and this form of summary never has one: leave "
            "--new-machine-readable-summary out, and ask for it with summaryTrendStats."
            if "results" in value
            else "No p(99) in it: ask k6 for it with summaryTrendStats."
        )
    notes += _crossed(source, value)
    total = RouteRecord(
        name="http_req_duration",
        request_count=count,
        failed_count=None if failed is None else _failed(source, failed, count),
        rate_rps=None if not length_s else count / length_s,
        latency=_figures(source, duration, "http_req_duration"),
    )
    return LoadRecord(
        tool="k6",
        version=_version(value),
        files=(source.name,),
        loop=loop or (Loop.UNKNOWN if dropped is None else Loop.OPEN),
        length_ns=Nanos(round(length_s * NS_PER_S)) if length_s else None,
        users=None if "max" not in users else _value(source, users, "vus_max", "max"),
        total=total,
        routes=tuple(_routes(source, metrics)),
        errors=tuple(errors),
        notes=tuple(notes),
    )


def _metrics(source: SourceText, value: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Values by metric, whichever of the shapes it is."""
    results = value.get("results")
    if isinstance(results, dict):
        entries = results["metrics"]
        if not all(isinstance(entry, dict) for entry in entries):
            raise source.invalid("metrics are objects", line=source.line_of('"metrics"'))
        listed = {str(entry.get("name")): entry for entry in entries}
    else:
        listed = value["metrics"]
    found: dict[str, Mapping[str, Any]] = {}
    for name, entry in listed.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("values", {}), dict):
            raise source.invalid(
                f"metric {name!r} is no object with values", line=source.line_of(f'"{name}"')
            )
        found[str(name)] = entry.get("values", entry)
    return found


def _value(source: SourceText, values: Mapping[str, Any], metric: str, key: str) -> float:
    value = values.get(key)
    if not _is_number(value):
        raise source.invalid(
            f"{metric} has no {key}: {value!r}", line=source.line_of(f'"{metric}"')
        )
    return float(value)


def _version(value: Mapping[str, Any]) -> str:
    metadata = value.get("metadata")
    return str(metadata.get("k6Version") or "") if isinstance(metadata, dict) else ""


def _is_number(value: Any) -> TypeGuard[float]:
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and 0 <= value <= NUMBER_MAX


def _length_s(value: Mapping[str, Any], requests: Mapping[str, Any], count: int) -> float | None:
    """As said, else from count and rate."""
    for table, key, scale in (("state", "testRunDurationMs", 1000), ("config", "duration", 1)):
        said = value.get(table)
        length = said.get(key) if isinstance(said, dict) else None
        if _is_number(length) and length:
            return float(length) / scale
    rate = requests.get("rate")
    length_s = count / float(rate) if _is_number(rate) and rate else 0.0
    return length_s if _is_number(length_s) and length_s else None


def _failed(source: SourceText, values: Mapping[str, Any], count: int) -> int:
    for key in ("matches", "passes"):
        if key in values:
            return int(_value(source, values, "http_req_failed", key))
    key = "rate" if "rate" in values else "value"
    return round(_value(source, values, "http_req_failed", key) * count)


def _figures(source: SourceText, values: Mapping[str, Any], metric: str) -> LatencyFigures:
    def ns(key: str) -> Nanos | None:
        if key not in values:
            return None
        return Nanos(round(_value(source, values, metric, key) * NS_PER_MS))

    shares = {"med": 0.5}
    for key in values:
        match = _PERCENTILE.fullmatch(key)
        if match is not None:
            shares[key] = round(float(match[1]) / 100, 9)
    found = {share: value for key, share in shares.items() if (value := ns(key)) is not None}
    return LatencyFigures(
        mean_ns=ns("avg"),
        max_ns=ns("max"),
        percentiles=source.checked(found.items(), line=source.line_of(f'"{metric}"')),
    )


def _crossed(source: SourceText, value: Mapping[str, Any]) -> list[str]:
    """A note on each threshold that the run did not keep, in the shapes that name them.

    Beside a metric's values (`--summary-export`) true says that it was crossed; beside `values`
    (`handleSummary`) there is an object that says `ok`.
    """
    metrics = value.get("metrics")
    notes = []
    for name, entry in metrics.items() if isinstance(metrics, dict) else ():
        thresholds = entry.get("thresholds", {})
        if not isinstance(thresholds, dict):
            raise source.invalid(
                f"thresholds of {name} are no object", line=source.line_of('"thresholds"')
            )
        for text, said in thresholds.items():
            is_ok = said.get("ok") if isinstance(said, dict) else said
            if not isinstance(is_ok, bool):
                raise source.invalid(
                    f"threshold {text!r} of {name} is neither kept nor crossed",
                    line=source.line_of(f'"{text}"'),
                )
            if is_ok is not isinstance(said, dict):
                notes.append(f"The run's own threshold was crossed: {name}, {text}.")
    return notes


def _routes(source: SourceText, metrics: Metrics) -> list[RouteRecord]:
    """Sub-metrics that thresholds ask for: `http_req_duration{name:...}`. They have no counts."""
    found = []
    for name, values in metrics.items():
        if name.startswith("http_req_duration{"):
            tag = name.removeprefix("http_req_duration{").removesuffix("}")
            counts = metrics.get(f"http_reqs{{{tag}}}")
            count = None if counts is None else int(_value(source, counts, name, "count"))
            found.append(
                RouteRecord(
                    name=tag,
                    request_count=count,
                    failed_count=None,
                    rate_rps=None,
                    latency=_figures(source, values, name),
                )
            )
    return found
