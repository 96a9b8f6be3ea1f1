"""HdrHistogram logs (format 1.x): a compressed histogram an interval, decoded by `hdrhistogram`.

The library belongs to the extra `calibrate` and is imported when a log is read. Values of such logs
are nanoseconds by convention, which the file does not say.
"""

from __future__ import annotations

import re
from typing import Any

from shedproxy.calibration.imports.load_record import (
    LatencyFigures,
    LoadRecord,
    Loop,
    Point,
    RouteRecord,
)
from shedproxy.calibration.imports.percentile_text import UNITS_NS
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.core import NS_PER_S, Nanos
from shedproxy.errors import StartupError

__all__ = ["is_histogram_log", "read_histogram_log"]

_SHARES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
_LINE = re.compile(r"(?:Tag=([^,]*),)?([\d.]+),([\d.]+),([\d.]+),([A-Za-z0-9+/=]+)\s*")
_VERSION = re.compile(r"#\[Histogram log format version ([\d.]+)\]")
_DIGITS = 3
_HIGHEST = 3_600 * NS_PER_S


def is_histogram_log(source: SourceText) -> bool:
    """Whether it says so, or its first line of data is one."""
    if _VERSION.search(source.text):
        return True
    data = (line for line in source.lines if line and line[0] not in '#"')
    return any(_LINE.fullmatch(line) and ",HIST" in line for line in data)


def read_histogram_log(
    source: SourceText, *, unit: str | None = None, loop: Loop | None = None
) -> LoadRecord:
    """The run: all intervals together, tags too, and a point for each interval.

    Raises:
        DocumentInvalidError: a line cannot be decoded.
        StartupError: the library is not installed.
    """
    histogram_class = _library()
    unit_ns = UNITS_NS[unit or "ns"]
    whole = histogram_class(1, _HIGHEST, _DIGITS)
    points: list[Point] = []
    for number, line in enumerate(source.lines, 1):
        if not line.strip() or line[0] in '#"':
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            said = "not a line of start, length, maximum and histogram"
            raise source.invalid(said, line=number, help="logs of format 1.0 to 1.3 can be read")
        try:
            histogram = histogram_class.decode(match[5])
            whole.add(histogram)
        except Exception as error:  # the library's own, zlib's and binascii's
            raise source.invalid(
                f"its histogram cannot be decoded: {error}",
                line=number,
                help="the line is cut off or was edited; leave it out",
            ) from error
        start_s = source.number(match[2], line=number, what="a start")
        length_s = source.number(match[3], line=number, what="a length")
        points.append(_point(histogram, start_s, length_s, unit_ns))
    if not whole.get_total_count():
        raise source.invalid("a log without a single value")
    begun = min(point.started_at_ns for point in points)
    ended = max(point.started_at_ns + point.length_ns for point in points)
    version = _VERSION.search(source.text)
    count, length_ns = int(whole.get_total_count()), Nanos(ended - begun)
    return LoadRecord(
        tool="HdrHistogram log",
        version=version[1] if version else "",
        files=(source.name,),
        loop=loop or Loop.UNKNOWN,
        length_ns=length_ns,
        total=RouteRecord(
            name="all",
            request_count=count,
            failed_count=None,
            rate_rps=count * NS_PER_S / length_ns if length_ns else None,
            latency=_figures(whole, unit_ns),
        ),
        points=tuple(points),
        histogram=tuple(
            (Nanos(item.value_iterated_to * unit_ns), int(item.count_added_in_this_iter_step))
            for item in whole.get_recorded_iterator()
        ),
        notes=() if unit else ("The log names no unit: nanoseconds were taken.",),
    )


def _library() -> Any:
    try:
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise StartupError(
            "HdrHistogram logs need the extra: pip install 'shedproxy[calibrate]'"
        ) from error
    return HdrHistogram


def _figures(histogram: Any, unit_ns: int) -> LatencyFigures:
    def at(share: float) -> Nanos:
        return Nanos(int(histogram.get_value_at_percentile(100 * share)) * unit_ns)

    return LatencyFigures(
        mean_ns=Nanos(round(histogram.get_mean_value() * unit_ns)),
        max_ns=Nanos(int(histogram.get_max_value()) * unit_ns),
        percentiles=tuple((share, at(share)) for share in _SHARES),
    )


def _point(histogram: Any, start_s: float, length_s: float, unit_ns: int) -> Point:
    count = int(histogram.get_total_count())
    return Point(
        users=None,
        started_at_ns=Nanos(round(start_s * NS_PER_S)),
        length_ns=Nanos(round(length_s * NS_PER_S)),
        request_count=count,
        failed_count=0,
        throughput_rps=count / length_s if length_s else 0.0,
        latency=_figures(histogram, unit_ns) if count else LatencyFigures(),
    )
