"""A configuration file as a layer: TOML, with the place of every value, or what is wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path as FilePath
from typing import Any

from shedproxy.errors import ConfigInvalidError, Problem
from shedproxy.settings.layers import Spot
from shedproxy.settings.shape import Path
from shedproxy.settings.toml_index import TomlIndex

__all__ = ["FILE_SIZE_MAX", "FileLayer", "parse_file", "read_file"]

FILE_SIZE_MAX = 4 * 1024 * 1024
"""Bytes of a configuration file that are read."""
_DEPTH_MAX = 32
"""Tables and lists in each other: settings have six."""

_FILE_KEYS = frozenset(
    ("cert", "key", "ca", "token_file", "read_token_file", "secret_file", "state_file")
)
_SNAPSHOT_KEYS = frozenset(("source", "keys", "folder", "report", "token_file"))


class FileLayer:
    """A TOML text. Paths of files in it are relative to its folder."""

    def __init__(self, text: str, name: str, folder: FilePath) -> None:
        self.values: dict[str, Any] = tomllib.loads(text)
        self.name = name
        self._index = TomlIndex(text)
        for section in ("server", "control", "cell", "replacement"):
            _resolve_files(self.values.get(section), folder)
        _resolve_files(self.values.get("snapshot"), folder, _SNAPSHOT_KEYS)

    def describe(self, path: Path) -> str:
        """`file:line`, of the nearest key above where `path` itself is not written."""
        while path:
            place = self._index.value(path)
            if place is not None:
                return f"{self.name}:{place.line}"
            path = path[:-1]
        return self.name

    def spot(self, path: Path, *, on_key: bool) -> Spot:
        """With the line itself as excerpt."""
        place = self._index.key(path) if on_key else self._index.value(path)
        if place is None:
            return self.spot(path[:-1], on_key=on_key) if path else Spot(self.name)
        line, column, length = place
        return Spot(self.name, line, column, length, ((line, self._index.line(line)),))


def _resolve_files(table: Any, folder: FilePath, keys: frozenset[str] = _FILE_KEYS) -> None:
    """Make relative names of files absolute, in place: they are known by their keys."""
    for key, value in table.items() if isinstance(table, dict) else ():
        if isinstance(value, dict):
            _resolve_files(value, folder, keys)
        elif key in keys and isinstance(value, list):
            table[key] = [_resolved(item, folder) for item in value]
        elif key in keys:
            table[key] = _resolved(value, folder)


def _resolved(value: Any, folder: FilePath) -> Any:
    is_file = isinstance(value, str) and value and "://" not in value
    return str(folder / value) if is_file else value


def read_file(file: FilePath, *, written_by: str = "") -> FileLayer:
    """The layer of a configuration file.

    Args:
        file: where it is.
        written_by: the command that writes one; "" for `shedproxy init`.

    Raises:
        ConfigInvalidError: it cannot be read, or is not TOML.
    """
    name = str(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise ConfigInvalidError(
            [_unreadable(name, error, written_by or f"shedproxy init {name}")]
        ) from error
    return parse_file(data, name, file.absolute().parent)


def parse_file(data: bytes, name: str, folder: FilePath) -> FileLayer:
    """The layer of what a configuration file holds.

    Args:
        data: its content.
        name: what people call it.
        folder: where the names of files in it begin.

    Raises:
        ConfigInvalidError: it is too long, or not TOML.
    """
    if len(data) > FILE_SIZE_MAX:
        raise ConfigInvalidError([Problem(message=f"{name} is longer than 4 MiB", source=name)])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(message=f"{name} is not UTF-8 text", source=name, line=line, column=1)
        raise ConfigInvalidError([problem]) from error
    try:
        layer = FileLayer(text, name, folder)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalidError([_syntax_problem(name, text, error)]) from error
    except ValueError as error:  # of Python, which makes no number of so many digits
        problem = Problem(message=f"{name} holds a number that is too long", source=name)
        raise ConfigInvalidError([problem]) from error
    except RecursionError as error:
        raise ConfigInvalidError([_too_deep(name)]) from error
    if _is_too_deep(layer.values):
        raise ConfigInvalidError([_too_deep(name)])
    return layer


def _is_too_deep(values: dict[str, Any]) -> bool:
    """Whether tables and lists are nested so deeply that reading them further may not end well."""
    level: list[Any] = [values]
    for _ in range(_DEPTH_MAX):
        inside = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for item in inside for each in item if isinstance(each, dict | list)]
    return bool(level)


def _too_deep(name: str) -> Problem:
    return Problem(message=f"{name} is nested too deeply", source=name)


def _unreadable(name: str, error: OSError, command: str) -> Problem:
    help_text = f"`{command}` writes one" if isinstance(error, FileNotFoundError) else ""
    return Problem(message=f"cannot read {name}: {error.strerror}", source=name, help=help_text)


_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _syntax_problem(name: str, text: str, error: tomllib.TOMLDecodeError) -> Problem:
    message = str(error)
    lines = text.split("\n")
    match = _AT.search(message)
    if match and match[1]:
        line, column = int(match[1]), int(match[2])
    else:
        line = len(text.rstrip().split("\n"))
        column = len(lines[line - 1].rstrip()) + 1
    shown = lines[line - 1].rstrip("\r")
    reason, length, help_text = _AT.sub("", message), 1, _syntax_help(shown)
    if reason.startswith("Cannot "):
        # Said at the end of the statement; the key is what is wrong.
        key = shown.split("=")[0].strip()
        column, length = shown.index(key) + 1, len(key)
        help_text = "a key or table may be written once"
    elif reason == "Illegal character '\\n'":
        reason, help_text = "text does not end on its line", "the closing quote is missing"
    return Problem(
        message=f"not TOML: {reason[:1].lower()}{reason[1:]}",
        source=name,
        line=line,
        column=min(column, len(shown) + 1),
        length=length,
        help=help_text,
        excerpt=((line, shown),),
    )


def _syntax_help(line: str) -> str:
    _, equals, value = line.partition("=")
    bare = value.split("#")[0].strip()
    if equals and re.fullmatch(r"[A-Za-z/.:][^\s\"']*", bare) and bare not in {"true", "false"}:
        return f'text stands in quotes: "{bare}"'
    if re.match(r"\s*[\w-]+\s*:\s", line):
        return "a key and its value are joined by =, not by a colon"
    return ""
