"""Locust's CSV files (`--csv PREFIX`): `_stats`, `_stats_history` and `_failures` of one run.

Columns as written by Locust 2.x, in which they have kept their names; percentiles are whatever
columns look like one. Locust keeps two significant digits of a latency.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shedproxy.calibration.imports.load_record import (
    LatencyFigures,
    LoadRecord,
    Loop,
    Point,
    RouteRecord,
)
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.calibration.results import Count
from shedproxy.core import NS_PER_MS, NS_PER_S, Nanos

__all__ = ["CSV_KINDS", "locust_csv_kind", "read_locust_csv"]

CSV_KINDS = {
    "stats": ("Type", "Name", "Request Count", "Failure Count", "Average Response Time"),
    "history": ("Timestamp", "User Count", "Total Request Count", "Total Average Response Time"),
    "failures": ("Method", "Name", "Error", "Occurrences"),
}
"""Kinds of files by the columns that each has at least."""

_TOTAL = "Aggregated"
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")
_SAME_LEVEL = 1.1
"""Users that differ by less are one level."""
_SETTLE_S = 2
_SHORTEST_S = 3
_SMOOTHED_S = 10
"""Locust's current percentiles are of the last ten seconds."""


class _Row(NamedTuple):
    line: int
    cells: Mapping[str, str]


def locust_csv_kind(source: SourceText) -> str | None:
    """Which of the files this is, by its head; None: none of them."""
    head = next(csv.reader(source.lines[:1]), [])
    return next((kind for kind, wanted in CSV_KINDS.items() if set(wanted) <= set(head)), None)


def read_locust_csv(sources: Sequence[SourceText], *, loop: Loop | None = None) -> LoadRecord:
    """The run that these files are of; at least `_stats` or `_stats_history` is among them.

    Raises:
        DocumentInvalidError: a file is damaged, is there twice, or says nothing of any request.
    """
    by_kind: dict[str, SourceText] = {}
    for source in sources:
        kind = locust_csv_kind(source)
        if kind is None:
            raise source.invalid("not a CSV file of Locust", line=1)
        if kind in by_kind:
            raise source.invalid(
                f"a second {kind} file, besides {by_kind[kind].name}",
                help="name the files of one run at a time",
            )
        by_kind[kind] = source
    stats, history = by_kind.get("stats"), by_kind.get("history")
    if stats is None and history is None:
        raise sources[0].invalid(
            "failures alone say nothing of the load", help="add the _stats.csv of the same run"
        )
    routes = _routes(stats) if stats is not None else []
    points = _points(history) if history is not None else []
    total = next((route for route in routes if route.name == _TOTAL), None)
    if total is None and history is not None:
        total = _total_of(history)
    if total is None or not total.request_count:
        raise (stats or sources[0]).invalid("no request in it: the run was stopped at its start")
    length_ns = _length_ns(total, points)
    failures = by_kind.get("failures")
    return LoadRecord(
        tool="Locust",
        files=tuple(source.name for source in sources),
        loop=loop or Loop.CLOSED,
        length_ns=length_ns,
        users=max((point.users or 0.0 for point in points), default=None),
        total=total,
        routes=tuple(route for route in routes if route.name != _TOTAL),
        points=tuple(points),
        errors=tuple(_failures(failures)) if failures is not None else (),
        notes=("Locust keeps two significant digits of each latency.",),
    )


def _rows(source: SourceText) -> Iterator[_Row]:
    reader = csv.DictReader(source.lines)
    for cells in reader:
        extra: Any = cells.pop(None, None)
        if extra is not None or None in cells.values():
            raise source.invalid(
                f"a row of {len(reader.fieldnames or ())} columns was expected",
                line=reader.line_num,
                help="the file is cut off or was edited; leave that row out or export it again",
            )
        yield _Row(reader.line_num, cells)


def _number(source: SourceText, row: _Row, column: str) -> float:
    return source.number(row.cells[column], line=row.line, what=column)


def _ms(source: SourceText, row: _Row, column: str) -> Nanos | None:
    text = row.cells.get(column, "N/A")
    if text in {"N/A", ""}:
        return None
    return Nanos(round(source.number(text, line=row.line, what=column) * NS_PER_MS))


def _percentiles(source: SourceText, row: _Row) -> tuple[tuple[float, Nanos], ...]:
    found = []
    for column in row.cells:
        match = _PERCENT.fullmatch(column)
        if match is not None and (value := _ms(source, row, column)) is not None:
            found.append((round(float(match[1]) / 100, 9), value))
    return source.checked(found, line=row.line)


def _routes(source: SourceText) -> list[RouteRecord]:
    return [
        RouteRecord(
            name=f"{row.cells['Type']} {row.cells['Name']}".strip(),
            request_count=int(_number(source, row, "Request Count")),
            failed_count=int(_number(source, row, "Failure Count")),
            rate_rps=_number(source, row, "Requests/s") if "Requests/s" in row.cells else None,
            latency=LatencyFigures(
                mean_ns=_ms(source, row, "Average Response Time"),
                max_ns=_ms(source, row, "Max Response Time"),
                percentiles=_percentiles(source, row),
            ),
        )
        for row in _rows(source)
    ]


def _failures(source: SourceText) -> Iterator[Count]:
    for row in _rows(source):
        name = " ".join(
            row.cells[column] for column in ("Method", "Name", "Error") if row.cells[column]
        )
        yield Count(name=name, count=int(_number(source, row, "Occurrences")))


def _length_ns(total: RouteRecord, points: Sequence[Point]) -> Nanos | None:
    if total.rate_rps and total.request_count:
        return Nanos(round(total.request_count / total.rate_rps * NS_PER_S))
    if points:
        return Nanos(points[-1].started_at_ns + points[-1].length_ns)
    return None


def _total_of(source: SourceText) -> RouteRecord | None:
    """The last totals of a history; its percentiles may be of the last seconds only."""
    rows = [row for row in _rows(source) if row.cells["Name"] == _TOTAL]
    if not rows:
        return None
    last = rows[-1]
    return RouteRecord(
        name=_TOTAL,
        request_count=int(_number(source, last, "Total Request Count")),
        failed_count=int(_number(source, last, "Total Failure Count")),
        rate_rps=None,
        latency=LatencyFigures(
            mean_ns=_ms(source, last, "Total Average Response Time"),
            max_ns=_ms(source, last, "Total Max Response Time"),
        ),
    )


# --- history: levels of users -----------------------------------------------------------------


def _points(source: SourceText) -> list[Point]:
    rows = list(_rows(source))
    has_current = any(row.cells["Name"] != _TOTAL for row in rows)
    totals = [row for row in rows if row.cells["Name"] == _TOTAL]
    started_at = _number(source, totals[0], "Timestamp") if totals else 0.0
    levels: list[list[_Row]] = []
    for row in totals:
        users = _number(source, row, "User Count")
        if levels and _is_same(_number(source, levels[-1][0], "User Count"), users):
            levels[-1].append(row)
        else:
            levels.append([row])
    points = [_point(source, level, started_at, has_current=has_current) for level in levels]
    return [point for point in points if point is not None]


def _is_same(first: float, second: float) -> bool:
    low, high = sorted((first, second))
    return low == high or (low > 0 and high / low < _SAME_LEVEL)


def _point(
    source: SourceText, level: Sequence[_Row], started_at: float, *, has_current: bool
) -> Point | None:
    """What a level adds to the totals between its settling and its end; None: it is too short."""
    at = [_number(source, row, "Timestamp") for row in level]
    begin = next((i for i, each in enumerate(at) if each >= at[0] + _SETTLE_S), None)
    users = _number(source, level[-1], "User Count")
    if begin is None or at[-1] - at[begin] < _SHORTEST_S or not users:
        return None
    first, last = level[begin], level[-1]
    counts = [int(_number(source, row, "Total Request Count")) for row in (first, last)]
    failures = [int(_number(source, row, "Total Failure Count")) for row in (first, last)]
    means = [_number(source, row, "Total Average Response Time") for row in (first, last)]
    count, length_s = counts[1] - counts[0], at[-1] - at[begin]
    if count <= 0:
        return None
    mean_ms = max(0.0, (means[1] * counts[1] - means[0] * counts[0]) / count)
    percentiles: tuple[tuple[float, Nanos], ...] = ()
    if has_current and at[-1] - at[0] >= _SMOOTHED_S:
        percentiles = _percentiles(source, last)
    return Point(
        users=users,
        started_at_ns=Nanos(round((at[begin] - started_at) * NS_PER_S)),
        length_ns=Nanos(round(length_s * NS_PER_S)),
        request_count=count,
        failed_count=failures[1] - failures[0],
        throughput_rps=count / length_s,
        latency=LatencyFigures(mean_ns=Nanos(round(mean_ms * NS_PER_MS)), percentiles=percentiles),
    )
