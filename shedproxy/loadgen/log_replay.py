"""An access log as load: the same requests with the same gaps, faster or slower if asked.

Reads the common and combined log formats, and JSON lines: our own access log, and others that name
time, method and path in a usual way. A log that has whole seconds only does not say when within
one its requests came; they are spread over it evenly. Of our own log the time is that of the end,
so that the duration is taken off. What may change something (POST, PUT, PATCH, DELETE and the like)
is not sent unless its method is allowed by name, and then without a body, which no log has.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from shedproxy.core import NS_PER_S, Criticality, Nanos
from shedproxy.loadgen.requests import RequestSetError, RequestSpec

__all__ = ["SAFE_METHODS", "LogReading", "LoggedRequest", "read_log", "timed"]

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
REQUESTS_MAX = 1_000_000
"""A log of more is played in parts."""
_COMMON = re.compile(
    r'\[(?P<time>[^\]]{10,40})\] "(?P<method>[A-Z]{1,20}) (?P<path>\S+) HTTP/[0-9.]+"'
)
_REQUEST = re.compile(r"([A-Z]{1,20}) (\S+)(?: HTTP/[0-9.]+)?")
_TIMES = ("time", "timestamp", "@timestamp", "ts", "time_iso8601", "msec")
_METHODS = ("method", "request_method", "verb")
_PATHS = ("path", "request_uri", "uri", "url")
_TARGET = re.compile(r"/[!-~]*")
_MILLISECONDS_FROM = 1e11
"""A number above is in milliseconds of the epoch, one below in seconds."""


class LoggedRequest(NamedTuple):
    """A request of the log. `criticality` is None where the line has none."""

    at_s: float
    """Seconds since the epoch."""
    method: str
    target: str
    criticality: Criticality | None


@dataclass(slots=True, kw_only=True)
class LogReading:
    """What is in a log, and what of it is not played."""

    requests: list[LoggedRequest] = field(default_factory=list)
    """In time."""
    line_count: int = 0
    unreadable_count: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """By method that was not allowed."""
    is_coarse: bool = False
    """Its times are whole seconds."""

    @property
    def span_s(self) -> float:
        """From the first request to the last."""
        return self.requests[-1].at_s - self.requests[0].at_s if self.requests else 0.0


def read_log(path: Path, *, allowed: Sequence[str] = ()) -> LogReading:
    """Everything in the log that may be sent; `allowed` are methods besides the safe ones.

    Raises:
        RequestSetError: it cannot be read, or has nothing to send.
    """
    reading = LogReading()
    methods = {*SAFE_METHODS, *(method.upper() for method in allowed)}
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            _read(lines, methods, reading)
    except OSError as error:
        raise RequestSetError(f"cannot read {path}: {error.strerror}") from error
    if not reading.requests:
        skipped = ", ".join(f"{count} {method}" for method, count in reading.skipped.items())
        raise RequestSetError(
            f"{path}: none of {reading.line_count} lines is a request that may be sent"
            + (f" (not allowed: {skipped})" if skipped else "")
        )
    reading.requests.sort(key=lambda request: request.at_s)
    reading.is_coarse = all(request.at_s == int(request.at_s) for request in reading.requests)
    if reading.is_coarse:
        reading.requests = _spread(reading.requests)
    return reading


def _read(lines: Iterable[str], methods: set[str], reading: LogReading) -> None:
    for line in lines:
        if not line.strip():
            continue
        reading.line_count += 1
        request = _of_json(line) if line.lstrip().startswith("{") else _of_text(line)
        if request is None or _TARGET.fullmatch(request.target) is None:
            reading.unreadable_count += 1
        elif request.method not in methods:
            reading.skipped[request.method] += 1
        elif len(reading.requests) >= REQUESTS_MAX:
            raise RequestSetError(f"the log has more than {REQUESTS_MAX} requests: play a part")
        else:
            reading.requests.append(request)


def _spread(requests: Sequence[LoggedRequest]) -> list[LoggedRequest]:
    counts = Counter(request.at_s for request in requests)
    places: Counter[float] = Counter()
    spread = []
    for request in requests:
        place = places[request.at_s]
        places[request.at_s] += 1
        spread.append(request._replace(at_s=request.at_s + place / counts[request.at_s]))
    return spread


def _of_text(line: str) -> LoggedRequest | None:
    match = _COMMON.search(line)
    if match is None:
        return None
    try:
        at_s = datetime.strptime(match["time"], "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None
    return LoggedRequest(at_s, match["method"], _without_origin(match["path"]), None)


def _of_json(line: str) -> LoggedRequest | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    at_s = _instant(_first(entry, _TIMES))
    method, target = _first(entry, _METHODS), _first(entry, _PATHS)
    if method is None and isinstance(entry.get("request"), str):
        match = _REQUEST.fullmatch(entry["request"])
        method, target = match.groups() if match else (None, None)
    if at_s is None or not isinstance(method, str) or not isinstance(target, str):
        return None
    criticality = None
    if entry.get("kind") == "access":
        took_ms = entry.get("duration_ms") or 0.0
        at_s -= took_ms / 1000 if isinstance(took_ms, int | float) else math.inf
        criticality = Criticality.parse(str(entry.get("class", "")))
    if not math.isfinite(at_s):
        return None
    return LoggedRequest(at_s, method.upper(), _without_origin(target), criticality)


def _first(entry: dict[str, Any], names: Sequence[str]) -> Any:
    return next((entry[name] for name in names if entry.get(name) is not None), None)


def _instant(value: Any) -> float | None:
    """Seconds since the epoch, from ISO 8601 or a number; text without a zone is UTC."""
    if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number / 1000 if number > _MILLISECONDS_FROM else number


def _without_origin(target: str) -> str:
    """Of an absolute URL what a service is asked for."""
    _, is_absolute, rest = target.partition("://")
    return "/" + rest.partition("/")[2] if is_absolute and not target.startswith("/") else target


def timed(
    requests: Sequence[LoggedRequest], *, speed: float, classes: Sequence[Criticality]
) -> tuple[list[RequestSpec], list[tuple[Nanos, int]]]:
    """The kinds of requests, and when which of them is due, `speed` times as fast as it was.

    `classes` has one for each request, for those whose line has none.
    """
    kinds: dict[tuple[str, str, Criticality], int] = {}
    schedule = []
    begin_s = requests[0].at_s
    for request, drawn in zip(requests, classes, strict=True):
        said = request.criticality
        kind = (request.method, request.target, drawn if said is None else said)
        place = kinds.setdefault(kind, len(kinds))
        offset = round((request.at_s - begin_s) / speed * NS_PER_S)
        schedule.append((Nanos(offset), place))
    return [
        RequestSpec(method=method, path=target, criticality=criticality)
        for method, target, criticality in kinds
    ], schedule
