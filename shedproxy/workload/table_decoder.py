"""A table of a TOML document as a frozen dataclass: every value that does not fit, all at once.

The dataclass is the schema: its annotations say what may stand where, its defaults what is not
required. A broken value is replaced by a default while the rest is looked at; whoever asks for the
result must look at the findings first.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from shedproxy.errors import DocumentInvalidError, Problem

__all__ = ["Bounds", "Findings", "Path", "TableInvalidError", "decode_table"]

Path = tuple[str, ...]
"""Keys from the top; positions in lists as numbers in text."""

Bounds = Mapping[tuple[str, str], tuple[float, float, bool]]
"""By (class, field): the least and the greatest number, and whether the least itself is allowed.
A number that has no bounds here is at least 0."""

_LIKENESS_MIN = 0.6
_FROM_ZERO = (0.0, math.inf, True)
_ZEROS: dict[Any, Any] = {str: "", bool: False, int: 0, float: 0.0}
_WORDS: dict[Any, str] = {str: "text", bool: "true or false", int: "a whole number"}


class TableInvalidError(DocumentInvalidError):
    """A document was refused whole."""

    def __init__(self, problems: list[Problem], unknown_keys: Collection[Path]) -> None:
        super().__init__(problems)
        self.unknown_keys = frozenset(unknown_keys)
        """Paths whose key is what is wrong, not the value."""


class Findings:
    """Problems as they are found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.unknown_keys: set[Path] = set()

    def add(self, path: Path, message: str, *, note: str = "", help_text: str = "") -> None:
        """Something is wrong at a path; the message begins with what it is about."""
        self.problems.append(Problem(message=message, path=path, note=note, help=help_text))

    def is_sound(self, path: Path) -> bool:
        """Whether nothing at or below this path is known to be wrong."""
        return all(problem.path[: len(path)] != path for problem in self.problems)

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            TableInvalidError: there was something.
        """
        if self.problems:
            raise TableInvalidError(self.problems, self.unknown_keys)


def decode_table(cls: Any, value: Any, path: Path, findings: Findings, bounds: Bounds) -> Any:
    """An instance of a dataclass from a table; what does not fit is in `findings`."""
    fields = _fields_of(cls)
    is_table = isinstance(value, Mapping)
    if not is_table:
        findings.add(
            path,
            f"{_subject(path)} must be a table",
            note=_found(value),
            help_text=f"its keys are {', '.join(fields)}",
        )
        value = {}
    for key in value:
        if key not in fields:
            _report_unknown_key(findings, (*path, key), list(fields))
    known: dict[str, Any] = {}
    for name, (hint, is_required) in fields.items():
        if is_required:
            known[name] = _zero(hint)
            if is_table and name not in value:
                findings.add(path, f"{_subject(path)} needs {name}")
        if name in value:
            bound = bounds.get((cls.__name__, name), _FROM_ZERO)
            item = _decode(hint, value[name], (*path, name), findings, bounds, bound)
            if item is not _BROKEN:
                known[name] = item
    return cls(**known)


_BROKEN = object()
"""Stands for a value that was refused: the field keeps its default."""


@functools.cache
def _fields_of(cls: Any) -> dict[str, tuple[Any, bool]]:
    """By name: the annotation, and whether a value is required."""
    hints = typing.get_type_hints(cls)
    missing = dataclasses.MISSING
    return {
        field.name: (
            hints[field.name],
            field.default is missing and field.default_factory is missing,
        )
        for field in dataclasses.fields(cls)
    }


def _zero(hint: Any) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)[0]
    return _ZEROS[hint]


def _decode(
    hint: Any,
    value: Any,
    path: Path,
    findings: Findings,
    bounds: Bounds,
    bound: tuple[float, float, bool],
) -> Any:
    """One value by its annotation; the forms that occur in scenarios, and no others."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        (hint,) = (part for part in parts if part is not types.NoneType)
        return _decode(hint, value, path, findings, bounds, bound)
    if origin is typing.Literal:
        return _decode_word(parts, value, path, findings)
    if origin is tuple:
        decode = functools.partial(_decode, findings=findings, bounds=bounds, bound=bound)
        if parts[-1] is ...:
            return _decode_list(parts[0], value, path, findings, decode)
        return _decode_row(parts, value, path, findings, decode)
    if dataclasses.is_dataclass(hint):
        return decode_table(hint, value, path, findings, bounds)
    if hint in {int, float}:
        return _decode_number(hint, value, path, findings, bound)
    if type(value) is not hint:
        quoted = f'in quotes: "{value}"' if hint is str and type(value) in {int, float} else ""
        findings.add(
            path,
            f"{_subject(path)} must be {_WORDS[hint]}",
            note=_found(value),
            help_text=quoted,
        )
        return _BROKEN
    return value


def _decode_word(allowed: tuple[Any, ...], value: Any, path: Path, findings: Findings) -> Any:
    # `True == 1`, so the type is compared too.
    if any(value == word and type(value) is type(word) for word in allowed):
        return value
    near = _nearest(value, [word for word in allowed if isinstance(word, str)])
    findings.add(
        path,
        f"{_subject(path)} must be {'one of ' if len(allowed) > 1 else ''}"
        f"{', '.join(map(str, allowed))}",
        note=f'did you mean "{near}"?' if near else _found(value),
    )
    return _BROKEN


def _decode_number(
    hint: Any, value: Any, path: Path, findings: Findings, bound: tuple[float, float, bool]
) -> Any:
    subject = _subject(path)
    if type(value) is not int and not (hint is float and type(value) is float):
        word = "a whole number" if hint is int else "a number"
        findings.add(path, f"{subject} must be {word}", note=_found(value))
        return _BROKEN
    least, greatest, is_closed = bound
    if not math.isfinite(value):
        findings.add(path, f"{subject} must be a finite number", note=_found(value))
    elif value < least or (value == least and not is_closed):
        findings.add(path, f"{subject} must be {'at least' if is_closed else 'above'} {least:g}")
    elif value > greatest:
        findings.add(path, f"{subject} must be at most {greatest:g}")
    else:
        return hint(value)
    return _BROKEN


def _decode_list(
    inner: Any, value: Any, path: Path, findings: Findings, decode: Callable[..., Any]
) -> Any:
    """A list; of pairs with a name first also a table, of names also one name."""
    if typing.get_args(inner)[:1] == (str,) and isinstance(value, Mapping):
        number = typing.get_args(inner)[1]
        items = [(key, decode(number, item, (*path, key))) for key, item in value.items()]
        return tuple(items) if all(item is not _BROKEN for _, item in items) else _BROKEN
    if inner is str and isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        help_text = f"in brackets: [{value}]" if isinstance(value, int | float) else ""
        if dataclasses.is_dataclass(inner):
            help_text = f"each is a table of its own, under [[{path[-1]}]]"
        findings.add(
            path, f"{_subject(path)} must be a list", note=_found(value), help_text=help_text
        )
        return _BROKEN
    decoded = [decode(inner, item, (*path, str(index))) for index, item in enumerate(value)]
    return tuple(decoded) if all(item is not _BROKEN for item in decoded) else _BROKEN


def _decode_row(
    parts: tuple[Any, ...],
    value: Any,
    path: Path,
    findings: Findings,
    decode: Callable[..., Any],
) -> Any:
    if not isinstance(value, list) or len(value) != len(parts):
        words = ", ".join("text" if part is str else "a number" for part in parts)
        findings.add(path, f"{_subject(path)} must be [{words}]", note=_found(value))
        return _BROKEN
    decoded = [
        decode(part, item, (*path, str(index)))
        for index, (part, item) in enumerate(zip(parts, value, strict=True))
    ]
    return tuple(decoded) if all(item is not _BROKEN for item in decoded) else _BROKEN


def _report_unknown_key(findings: Findings, path: Path, known: list[str]) -> None:
    *parents, key = path
    owner = _subject(tuple(parents))
    near = _nearest(key, known)
    findings.unknown_keys.add(path)
    findings.add(
        path,
        f'unknown key "{key}" in {owner}',
        note=f'did you mean "{near}"?' if near else "no such key here",
        help_text="" if near else f"known here: {', '.join(known)}",
    )


def _nearest(word: Any, names: Collection[str]) -> str:
    if not isinstance(word, str):
        return ""
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=_LIKENESS_MIN)
    return near[0] if near else ""


def _subject(path: Path) -> str:
    """How a message names a value: `load of client 1`, `the scenario`."""
    if not path:
        return "the scenario"
    if len(path) > 1 and path[1].isdecimal():
        owner, rest = f"{path[0]} {int(path[1]) + 1}", path[2:]
    else:
        owner, rest = path[0], path[1:]
    names = ".".join(part for part in rest if not part.isdecimal())
    return f"{names} of {owner}" if names else owner


def _found(value: Any) -> str:
    if isinstance(value, bool):
        return f"this is {'true' if value else 'false'}"
    if isinstance(value, str):
        return "this is text"
    if isinstance(value, list):
        return "this is a list"
    return "this is a table" if isinstance(value, Mapping) else f"this is {value}"
