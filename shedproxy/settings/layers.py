"""Where settings come from: a file, environment variables, flags. Each value knows its place.

A layer holds raw values, nested as in the file, and can show where each was written. The layer
that comes first in a list of layers wins.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import TypeAdapter, ValidationError

from shedproxy.errors import Problem
from shedproxy.settings.models import Settings
from shedproxy.settings.shape import Path, annotation_at, nearest

__all__ = [
    "PREFIX",
    "Layer",
    "Spot",
    "WrittenLayer",
    "environment_layer",
    "flag_layer",
    "holds",
    "is_written",
    "locate",
    "name_of",
]

PREFIX = "SHEDPROXY_"
"""Of environment variables; `__` stands between the keys."""

_NO_SETTING = frozenset(
    (PREFIX + "CONFIG", PREFIX + "CONTROL_PLANE", PREFIX + "CONTROL_PLANE_TOKEN_FILE")
)
"""Options of the command line."""

# A Service called `shedproxy` (or `shedproxy-control`) makes Kubernetes set these in every pod.
_KUBERNETES = re.compile(
    r"SHEDPROXY(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)

_FLAGS = {
    "cell.default.limit": "--limit",
    "control.listen": "--control",
    "server.listen": "--listen",
    "server.state_file": "--state",
    "server.workers": "--workers",
    "snapshot.folder": "--snapshot-folder",
    "snapshot.keys": "--snapshot-key",
    "snapshot.source": "--snapshot",
}

_ARGUMENTS = {"cell.default.upstream": "UPSTREAM"}


class Spot(NamedTuple):
    """A place to show: a stretch of the last line of `excerpt`."""

    source: str
    line: int = 0
    column: int = 0
    length: int = 1
    excerpt: tuple[tuple[int, str], ...] = ()


class Layer(Protocol):
    """One source of values."""

    @property
    def values(self) -> dict[str, Any]:
        """Nested as in the file, not yet validated."""

    def describe(self, path: Path) -> str:
        """In a few words, where the value at `path` was set."""

    def spot(self, path: Path, *, on_key: bool) -> Spot:
        """Where key or value at `path` is written; `path` is in the layer."""


def holds(values: Any, path: Path) -> bool:
    """Whether nested values have something at `path`."""
    for part in path:
        if isinstance(values, dict) and part in values:
            values = values[part]
        elif isinstance(values, list) and part.isdecimal() and int(part) < len(values):
            values = values[int(part)]
        else:
            return False
    return True


def is_written(layers: Sequence[Layer], path: Path) -> bool:
    """Whether somebody wrote the value at `path`; otherwise it is a default."""
    return any(holds(layer.values, path) for layer in layers)


def locate(layers: Sequence[Layer], path: Path, *, on_key: bool = False) -> Spot:
    """The spot of `path` in the first layer that has it, or that of what is nearest above it."""
    for length in range(len(path), 0, -1):
        for layer in layers:
            if holds(layer.values, path[:length]):
                return layer.spot(path[:length], on_key=on_key and length == len(path))
    return Spot("")


class WrittenLayer:
    """Values that were given one by one, each under a name: variables or flags."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self._written: dict[Path, tuple[str, str]] = {}
        self._labels: dict[tuple[str, str], str] = {}

    def set(self, path: Path, value: Any, *, name: str, text: str, label: str = "") -> None:
        """Put a value at `path`; `name` and `text` are what was written, joined by `=` or blank.

        `label` is what to call the place, if not by the name.
        """
        self._labels[name, text] = label
        if isinstance(value, str):
            value = _fitting(value, path)
        self._written[path] = (name, text)
        table = self.values
        for part in path[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                # `..._LIMIT=64` beside `..._LIMIT__MAX=80`: the more exact name wins.
                inner = table[part] = {}
            table = inner
        table[path[-1]] = value

    def describe(self, path: Path) -> str:
        """Name of the variable, `flag --limit` or `argument UPSTREAM`."""
        written = self._nearest(path)
        return self._labels.get(written) or written[0].strip("= ")

    def spot(self, path: Path, *, on_key: bool) -> Spot:
        """With what was written as excerpt; there is no line number."""
        name, text = self._nearest(path)
        shown = text.replace("\n", " ")
        if on_key or not shown:
            column, length = 1, len(name.strip("= "))
        else:
            column, length = len(name) + 1, len(shown)
        source = "environment" if name.startswith(PREFIX) else "command line"
        return Spot(source, 0, column, length, ((0, f"{name}{shown}"),))

    def _nearest(self, path: Path) -> tuple[str, str]:
        for length in range(len(path), 0, -1):
            if path[:length] in self._written:
                return self._written[path[:length]]
        for written, shown in self._written.items():
            if written[: len(path)] == path:
                return shown
        return ("", "")


def environment_layer(environ: Mapping[str, str], cells: Sequence[str] = ()) -> WrittenLayer:
    """The layer of `SHEDPROXY_...` variables.

    `cells` are names that exist already: `CHECK_OUT` finds `check-out`. Variables that name no
    table are warned about, not refused: others may use the prefix.
    """
    layer = WrittenLayer()
    spelled = {name.replace("-", "_"): name for name in cells}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in _NO_SETTING or _KUBERNETES.fullmatch(name):
            continue
        path = tuple(part for part in name[len(PREFIX) :].lower().split("__") if part)
        if not path or path[0] not in Settings.model_fields:
            layer.problems.append(_unknown_variable(name, path))
            continue
        if path[0] == "cell" and len(path) > 1:
            path = ("cell", spelled.get(path[1], path[1]), *path[2:])
        layer.set(path, environ[name], name=f"{name}=", text=environ[name])
    return layer


def _unknown_variable(name: str, path: Path) -> Problem:
    near = nearest(path[0], Settings.model_fields) if path else ""
    better = PREFIX + "__".join((near, *path[1:])).upper()
    return Problem(
        message=f"{name} is not a setting",
        source="environment",
        column=1,
        length=len(name),
        note=f"did you mean {better}?" if near else "ignored",
        severity="warning",
        excerpt=((0, name),),
    )


def flag_layer(overrides: Mapping[str, object]) -> WrittenLayer:
    """The layer of flags: dotted keys (`server.listen`); None means that a flag was not given."""
    layer = WrittenLayer()
    for key, value in overrides.items():
        if value is None:
            continue
        text = _written(value)
        if key == "mode":
            name, text = f"--{value}", ""
        elif key in _ARGUMENTS:
            name = ""
        else:
            name = f"{_FLAGS.get(key, f'--set {key}')} "
        label = f"argument {_ARGUMENTS[key]}" if key in _ARGUMENTS else f"flag {name.strip()}"
        layer.set(tuple(key.split(".")), _plain(value), name=name, text=text, label=label)
    return layer


def _plain(value: object) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _written(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _fitting(text: str, path: Path) -> Any:
    """The value that a text stands for where it is to stand: as text, as TOML, or as a list.

    What fits nowhere stays text, and validation says what was expected.
    """
    annotation = annotation_at(path)
    if annotation is None:
        return text
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    for candidate in _readings(text):
        try:
            adapter.validate_python(candidate, strict=True)
        except ValidationError:
            continue
        return candidate
    return text


def _readings(text: str) -> Iterator[Any]:
    yield text
    with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
        yield tomllib.loads(f"value = {text}")["value"]
    yield [part.strip() for part in text.split(",") if part.strip()]


def name_of(layers: Sequence[Layer], path: Path) -> str:
    """Where a value that somebody wrote comes from: `file:line`, a variable, a flag.

    A short form (`limit = 64`) stands for the values below it. "default" when nobody wrote it.
    """
    for layer in layers:
        if holds(layer.values, path) or _holds_short_form(layer.values, path):
            return layer.describe(path)
    return "default"


def _holds_short_form(values: Any, path: Path) -> bool:
    for part in path:
        if not isinstance(values, dict):
            return not isinstance(values, list)
        if part not in values:
            return False
        values = values[part]
    return False
