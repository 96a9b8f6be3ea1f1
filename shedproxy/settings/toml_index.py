"""Where every key and value of a TOML text stands.

`tomllib` reads the values and says what is wrong with the syntax, but forgets positions. This
scanner reads the same text once more, only for them, and so only texts that `tomllib` has accepted:
it never judges. Paths are tuples of keys, with the position in an array as a number in text:
`("rule", "0", "match", "path", "1")`.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import NamedTuple

__all__ = ["Place", "TomlIndex"]

Path = tuple[str, ...]

_BLANK = re.compile(r"[ \t]*")
_SKIP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\[\s\S]|(?!""")[\s\S])*"{3,5}'
    r"|'''(?:(?!''')[\s\S])*'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


class Place(NamedTuple):
    """A stretch of one line; line and column count from 1, the length is 1 or more."""

    line: int
    column: int
    length: int


class _Span(NamedTuple):
    key: tuple[int, int]
    value: tuple[int, int]


class TomlIndex:
    """Positions in one text that is valid TOML."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._spans = _Scanner(text).scan()

    def key(self, path: Path) -> Place | None:
        """Where the key of this path is written; None where it is not."""
        span = self._spans.get(path)
        return None if span is None else self._place(*span.key)

    def value(self, path: Path) -> Place | None:
        """Where the value of this path is written; the first line of it, if there are more."""
        span = self._spans.get(path)
        return None if span is None else self._place(*span.value)

    def line(self, number: int) -> str:
        """The text of a line, without its end."""
        return self.lines[number - 1].rstrip("\r") if 0 < number <= len(self.lines) else ""

    def _place(self, start: int, end: int) -> Place:
        line = bisect_right(self._starts, start)
        column = start - self._starts[line - 1] + 1
        room = len(self.line(line)) - column + 1
        return Place(line, column, max(1, min(end - start, room)))


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._spans: dict[Path, _Span] = {}
        self._counts: dict[Path, int] = {}
        """Tables so far in each array of tables."""

    def scan(self) -> dict[Path, _Span]:
        table: Path = ()
        while True:
            self._skip(_SKIP)
            if self._at >= len(self._text):
                return self._spans
            before = self._at
            if self._text.startswith("[", before):
                table = self._header()
            else:
                self._entry(table)
            assert self._at > before

    def _skip(self, pattern: re.Pattern[str]) -> tuple[int, int]:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match.span()

    def _header(self) -> Path:
        start = self._at
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._at += brackets
        keys = self._dotted_key()
        end = self._text.index("]", self._at) + brackets
        self._at = end
        path: Path = ()
        for number, (key, span) in enumerate(keys, start=1):
            path = (*path, key)
            is_last = number == len(keys)
            if is_last and brackets == 2:
                self._spans.setdefault(path, _Span(span, (start, end)))
                path = (*path, str(self._counts.setdefault(path, 0)))
                self._counts[path[:-1]] += 1
            elif path in self._counts:
                path = (*path, str(self._counts[path] - 1))
            if is_last:
                self._spans[path] = _Span(span, (start, end))
            else:
                self._spans.setdefault(path, _Span(span, (start, end)))
        return path

    def _entry(self, table: Path) -> None:
        """One `key = value`."""
        path = table
        keys = self._dotted_key()
        for key, span in keys:
            path = (*path, key)
            self._spans.setdefault(path, _Span(span, span))
        self._at = self._text.index("=", self._at) + 1
        self._skip(_BLANK)
        value = self._value(path)
        for number in range(1, len(keys) + 1):
            self._spans[path[: len(table) + number]] = _Span(keys[number - 1][1], value)

    def _dotted_key(self) -> list[tuple[str, tuple[int, int]]]:
        keys = []
        while True:
            self._skip(_BLANK)
            if self._text[self._at] in "\"'":
                start, end = self._skip(_STRING)
                (key,) = tomllib.loads(f"{self._text[start:end]} = 0")
            else:
                start, end = self._skip(_BARE_KEY)
                key = self._text[start:end]
            keys.append((key, (start, end)))
            self._skip(_BLANK)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> tuple[int, int]:
        start = self._at
        first = self._text[start]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        elif first in "\"'":
            self._skip(_STRING)
        else:
            _, end = self._skip(_SCALAR)
            end -= len(self._text[start:end]) - len(self._text[start:end].rstrip())
            return start, end
        return start, self._at

    def _array(self, path: Path) -> None:
        self._at += 1
        count = 0
        while True:
            self._skip(_SKIP)
            if self._text[self._at] == "]":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            item = (*path, str(count))
            span = self._value(item)
            self._spans[item] = _Span(span, span)
            count += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_SKIP)
            if self._text[self._at] == "}":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._entry(path)
