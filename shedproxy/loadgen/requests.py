"""Which requests a load is made of: from flags, a TOML file or an access log.

A set of requests is data: each has a name, which is its route in results, and a weight.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from shedproxy.core import Criticality
from shedproxy.errors import ShedproxyError
from shedproxy.workload import RandomSource, drawing_by_weight

__all__ = [
    "RequestSet",
    "RequestSetError",
    "RequestSpec",
    "parse_mix",
    "parse_request",
    "requests_from_log",
    "requests_from_toml",
    "stream_from_toml",
]

_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_SAFE = ("get", "head")
_LOG_LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<path>/\S*) HTTP/[0-9.]+"')
_TARGET = re.compile(r"/[!-~]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+:[\t -~\x80-\xff]*")
_FROM_LOG_MAX = 50


class RequestSetError(ShedproxyError):
    """Requests cannot be read: the message says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSpec:
    """One kind of request. `criticality` None: drawn from the mix of classes."""

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    weight: float = 1.0
    criticality: Criticality | None = None
    name: str = ""

    @property
    def route(self) -> str:
        """What results call it."""
        return self.name or f"{self.method} {self.path.partition('?')[0]}"

    def encode(self, host: str, criticality: Criticality) -> bytes:
        """The message to send."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"x-criticality: {criticality.label}")
        if self.body or self.method in {"POST", "PUT", "PATCH"}:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


class RequestSet:
    """Requests by weight, times classes by weight. `numbered` has every pair's message."""

    def __init__(
        self, specs: Sequence[RequestSpec], classes: Mapping[Criticality, float] | None = None
    ) -> None:
        """Raises RequestSetError when there is nothing to send."""
        if not specs or sum(spec.weight for spec in specs) <= 0:
            raise RequestSetError("no request has a weight above 0")
        self.specs = tuple(specs)
        self._classes = dict(classes or {Criticality.CRITICAL: 1.0})
        total = sum(self._classes.values())
        self._pairs: list[tuple[int, Criticality]] = []
        weights: list[float] = []
        for place, spec in enumerate(self.specs):
            shares = self._classes if spec.criticality is None else {spec.criticality: total}
            for criticality, share in shares.items():
                self._pairs.append((place, criticality))
                weights.append(spec.weight * share)
        self._below = list(accumulate(weights))

    def as_plain(self) -> dict[str, Any]:
        """As an object for JSON; `from_plain` reads it."""
        return {
            "classes": [[one.label, weight] for one, weight in self._classes.items()],
            "requests": [
                {
                    "method": spec.method,
                    "path": spec.path,
                    "headers": spec.headers,
                    "body": spec.body.hex(),
                    "weight": spec.weight,
                    "class": None if spec.criticality is None else spec.criticality.label,
                    "name": spec.name,
                }
                for spec in self.specs
            ],
        }

    @classmethod
    def from_plain(cls, body: Mapping[str, Any]) -> RequestSet:
        """The set of `as_plain`.

        Raises:
            RequestSetError, KeyError, TypeError, ValueError: it is none.
        """
        specs = [
            RequestSpec(
                method=each["method"],
                path=each["path"],
                headers=tuple((str(name), str(value)) for name, value in each["headers"]),
                body=bytes.fromhex(each["body"]),
                weight=float(each["weight"]),
                criticality=None if each["class"] is None else Criticality.parse(each["class"]),
                name=each["name"],
            )
            for each in body["requests"]
        ]
        return cls(specs, {Criticality[one.upper()]: weight for one, weight in body["classes"]})

    @property
    def routes(self) -> tuple[str, ...]:
        """Names by place of the request."""
        return tuple(spec.route for spec in self.specs)

    def pair(self, number: int) -> tuple[int, Criticality]:
        """Place of the request and class of what `messages` has under this number."""
        return self._pairs[number]

    def weighted(self) -> list[tuple[int, Criticality, float]]:
        """Place of the request, class and weight of every message."""
        before = (0.0, *self._below)
        return [
            (place, criticality, upto - below)
            for (place, criticality), below, upto in zip(
                self._pairs, before, self._below, strict=False
            )
        ]

    def messages(self, host: str) -> dict[int, bytes]:
        """Whole messages by number."""
        return {
            number: self.specs[place].encode(host, criticality)
            for number, (place, criticality) in enumerate(self._pairs)
        }

    @property
    def below(self) -> tuple[float, ...]:
        """Running sums of the weights of the messages."""
        return tuple(self._below)

    def drawing(self, rng: RandomSource) -> Callable[[], int]:
        """The next message's number, by weight."""
        return drawing_by_weight(self._below, rng)

    def drawing_of(self, criticality: Criticality, rng: RandomSource) -> Callable[[], int]:
        """The same among the messages of a class, which has some."""
        numbers: list[int] = []
        below: list[float] = []
        for number, (_, one, weight) in enumerate(self.weighted()):
            if one == criticality:
                numbers.append(number)
                below.append((below[-1] if below else 0.0) + weight)
        draw = drawing_by_weight(below, rng)
        return lambda: numbers[draw()]


def parse_request(text: str) -> RequestSpec:
    """`GET /path`, `/path`, or with a weight behind it: `POST /orders 0.5`.

    Raises:
        RequestSetError: none of these.
    """
    parts = text.split()
    if parts and parts[0].startswith("/"):
        parts.insert(0, "GET")
    try:
        weight = float(parts[2]) if len(parts) == 3 else 1.0
    except ValueError:
        weight = -1.0
    is_weight = 0 <= weight < math.inf
    if len(parts) not in {2, 3} or parts[0].lower() not in _METHODS or not is_weight:
        raise RequestSetError(f'{text!r} is no request: try "GET /path" or "POST /orders 0.5"')
    if not _TARGET.fullmatch(parts[1]):
        raise RequestSetError(f"{text!r}: a path begins with / and is of printable ASCII")
    return RequestSpec(method=parts[0].upper(), path=parts[1], weight=weight)


def parse_mix(text: str) -> dict[Criticality, float]:
    """`critical=10,sheddable=60`: weights of classes.

    Raises:
        RequestSetError: an unknown class, or a weight that is none.
    """
    by_label = {criticality.label: criticality for criticality in Criticality}
    mix: dict[Criticality, float] = {}
    for part in text.split(","):
        label, _, weight = part.strip().partition("=")
        try:
            mix[by_label[label.strip()]] = float(weight)
        except (KeyError, ValueError):
            known = ", ".join(by_label)
            raise RequestSetError(
                f"{part.strip()!r} is no share of a class: try critical=10 ({known})"
            ) from None
    if not all(0 <= weight < math.inf for weight in mix.values()) or sum(mix.values()) <= 0:
        raise RequestSetError("a mix has weights of 0 and more, and one above 0")
    return mix


def requests_from_toml(path: Path) -> list[RequestSpec]:
    """`[[request]]` tables: method, path, weight, class, name, headers, body (text) or json.

    Those with `stream` are left out: they are no requests of a mix (`stream_from_toml`).

    Raises:
        RequestSetError: not to be read, or nothing in it.
    """
    return [
        _from_table(table, f"{path}: request {n}")
        for n, table in enumerate(_tables(path), start=1)
        if not (isinstance(table, dict) and "stream" in table)
    ]


def stream_from_toml(path: Path) -> tuple[str, str] | None:
    """Path and kind of the first `[[request]]` that has `stream = "sse"` or another kind.

    Raises:
        RequestSetError: not to be read, or nothing in it.
    """
    for n, table in enumerate(_tables(path), start=1):
        if isinstance(table, dict) and "stream" in table:
            target = str(table.get("path", "/"))
            if table.keys() - {"stream", "path", "name"}:
                raise RequestSetError(f"{path}: request {n}: a stream has a path and no more")
            return target, str(table["stream"])
    return None


def _tables(path: Path) -> list[Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("request", [])
    except UnicodeDecodeError as error:
        raise RequestSetError(f"{path}: it is not UTF-8 text") from error
    except OSError as error:
        raise RequestSetError(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise RequestSetError(f"{path}: {error}") from error
    if not isinstance(tables, list) or not tables:
        raise RequestSetError(f"{path}: no [[request]] in it")
    return tables


def _from_table(table: Any, where: str) -> RequestSpec:
    if not isinstance(table, dict):
        raise RequestSetError(f"{where} is no table")
    unknown = table.keys() - {
        "method", "path", "weight", "class", "name", "headers", "body", "json",
    }  # fmt: skip
    if unknown:
        raise RequestSetError(f"{where}: unknown key {min(unknown)!r}")
    spec = parse_request(
        f"{table.get('method', 'GET')} {table.get('path', '/')} {table.get('weight', 1.0)}"
    )
    headers = {str(name).lower(): str(value) for name, value in table.get("headers", {}).items()}
    for name, value in headers.items():
        if not _HEADER.fullmatch(f"{name}:{value}"):
            raise RequestSetError(f"{where}: header {name} cannot be sent")
    body = str(table.get("body", "")).encode()
    if "json" in table:
        body = json.dumps(table["json"]).encode()
        headers.setdefault("content-type", "application/json")
    criticality = next(iter(parse_mix(f"{table['class']}=1"))) if "class" in table else None
    return replace(
        spec,
        headers=tuple(headers.items()),
        body=body,
        criticality=criticality,
        name=str(table.get("name", "")),
    )


def requests_from_log(path: Path) -> list[RequestSpec]:
    """The mix of an access log: the commonest GET and HEAD requests, by how often they came.

    Lines of the common and combined formats, and of our own (JSON with `method` and `path`).

    Raises:
        RequestSetError: not to be read, or no such line.
    """
    counts: Counter[tuple[str, str]] = Counter()
    try:
        with path.open(errors="replace") as lines:
            for line in lines:
                request = _logged(line)
                if request is not None and request[0].lower() in _SAFE:
                    counts[request] += 1
    except OSError as error:
        raise RequestSetError(f"cannot read {path}: {error.strerror}") from error
    if not counts:
        raise RequestSetError(f"{path}: no line with a GET or HEAD request")
    return [
        RequestSpec(method=method, path=target, weight=float(count))
        for (method, target), count in counts.most_common(_FROM_LOG_MAX)
    ]


def _logged(line: str) -> tuple[str, str] | None:
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return None
        method, target = str(entry.get("method")), str(entry.get("path"))
    elif match := _LOG_LINE.search(line):
        method, target = match["method"], match["path"]
    else:
        return None
    # A log has what anybody asked for: what would break a message is not sent.
    return (method, target) if _TARGET.fullmatch(target) else None
