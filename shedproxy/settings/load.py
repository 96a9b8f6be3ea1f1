"""Reading it all: file, environment and flags, in this order of growing precedence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from shedproxy.errors import ConfigInvalidError, Problem
from shedproxy.settings.advice import advise
from shedproxy.settings.checks import check_settings
from shedproxy.settings.compile import compile_document
from shedproxy.settings.file_layer import parse_file, read_file
from shedproxy.settings.layers import (
    Layer,
    environment_layer,
    flag_layer,
    holds,
    name_of,
)
from shedproxy.settings.models import Settings
from shedproxy.settings.problems import path_of, translate
from shedproxy.settings.quantities import is_duration, show_duration
from shedproxy.settings.shape import Path, annotation_at, path_text
from shedproxy.snapshot import Document

__all__ = ["EffectiveValue", "Loaded", "load_document", "load_settings", "require_upstream"]

_SECRETS = frozenset(("headers.salt",))
"""Values that are never shown."""
_HIDDEN = "***"

_ELSEWHERE = FilePath("/")
"""Where names of files in a text begin: the same on all hosts."""

_ROUNDS_MAX = 8
"""Values refused in one round may hide others: validation is repeated without them."""


class EffectiveValue(NamedTuple):
    """One value in force."""

    name: str
    """As in a file: `cell.default.limit.max`."""
    value: Any
    """In terms of JSON, lengths of time with their unit; `***` stands for a secret."""
    source: str
    """`default`, `shedproxy.toml:61`, a variable, `flag --limit` or `argument UPSTREAM`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings that are good, and what became of them."""

    settings: Settings
    document: Document
    sources: Mapping[str, str]
    """By name, for every value that somebody wrote: `shedproxy.toml:61`, a variable, a flag."""
    warnings: tuple[Problem, ...] = ()
    file: FilePath | None = None

    def effective(self) -> Iterator[EffectiveValue]:
        """Every value in force, defaults included, in the order of the models."""
        for path, value, _ in _leaves(self.settings, ()):
            name = path_text(path)
            shown = _HIDDEN if value and name in _SECRETS else value
            yield EffectiveValue(name, shown, self.sources.get(name, "default"))


def load_settings(
    file: FilePath | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    text: str | None = None,
) -> Loaded:
    """Read settings from flags, environment and file; the first that has a value wins.

    Args:
        file: TOML; None reads none.
        environ: variables `SHEDPROXY_SECTION__KEY`; None: none.
        overrides: flags by dotted key (`server.listen`); None values count as not given.
        text: what `file` holds, which is not read then and may be on another host.

    Raises:
        ConfigInvalidError: with every problem of all sources.
    """
    problems: list[Problem] = []
    layers: list[Layer] = []
    cells: Sequence[str] = ()
    if file is not None:
        try:
            if text is None:
                layers.append(read_file(file))
            else:
                layers.append(parse_file(text.encode(), str(file), _ELSEWHERE))
        except ConfigInvalidError as error:
            problems += error.problems
        else:
            written = layers[0].values.get("cell")
            cells = list(written) if isinstance(written, dict) else []
    environment = environment_layer(environ or {}, cells)
    layers.insert(0, environment)
    layers.insert(0, flag_layer(overrides or {}))
    settings, refused, broken = _validate(layers)
    problems += refused
    if settings is not None:
        problems += check_settings(settings, layers, broken)
    if problems:
        raise ConfigInvalidError(_in_order([*problems, *environment.problems]))
    assert settings is not None
    return Loaded(
        settings=settings,
        document=compile_document(settings),
        sources={
            path_text(path): name_of(layers, path)
            for path, _, is_written in _leaves(settings, ())
            if is_written
        },
        warnings=tuple(_in_order([*environment.problems, *advise(settings, layers)])),
        file=file,
    )


def load_document(file: FilePath | str | None = None) -> Document:
    """The document of a file and this process' environment: what the middleware runs.

    Raises:
        ConfigInvalidError: with every problem.
    """
    path = None if file is None else FilePath(file)
    return load_settings(path, environ=os.environ).document


def require_upstream(loaded: Loaded) -> None:
    """What `shedproxy run` needs besides valid settings.

    Raises:
        ConfigInvalidError: nothing says where requests go.
    """
    if not any(upstream.urls for upstream in loaded.document.proxy.upstreams):
        raise ConfigInvalidError(
            [
                Problem(
                    message="there is no upstream: nothing says where requests go",
                    path=("cell", "default", "upstream"),
                    source=str(loaded.file or ""),
                    help="name it: shedproxy run http://127.0.0.1:8000",
                )
            ]
        )


def _validate(layers: Sequence[Layer]) -> tuple[Settings | None, list[Problem], list[Path]]:
    """Settings without the values that were refused, the problems, and where those values were.

    A value that is refused is taken away and the rest validated again, so that contradictions
    between the others are found in the same run.
    """
    values = [_copy(layer.values) for layer in layers]
    problems: list[Problem] = []
    broken: list[Path] = []
    for _ in range(_ROUNDS_MAX):
        try:
            return Settings.from_layers(values), problems, broken
        except ValidationError as error:
            problems += translate(error, layers)
            paths = [path_of(detail["loc"]) for detail in error.errors(include_url=False)]
            broken += paths
            for target in {_removable(values, path) for path in paths}:
                _take_away(values, target)
    return None, problems, broken


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _removable(layers: Sequence[dict[str, Any]], path: Path) -> Path:
    """What to take away when the value at `path` was refused: it, or what is nearest above it.

    An entry of a list takes the whole list along, because later entries would change places.
    """
    while path and not any(holds(layer, path) for layer in layers):
        path = path[:-1]
    for depth in range(1, len(path)):
        if path[depth].isdecimal() and path[:depth] != ("rule",):
            return path[:depth]
    return path


def _take_away(layers: Sequence[dict[str, Any]], path: Path) -> None:
    """Remove the value at `path` from every layer; a rule is emptied, so that numbers stay."""
    for layer in layers:
        if not path or not holds(layer, path):
            continue
        holder: Any = layer
        for part in path[:-1]:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        if isinstance(holder, list):
            holder[int(path[-1])] = {}
        else:
            del holder[path[-1]]


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Each problem once: command line and environment first, then the file from top to bottom."""
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda problem: (problem.line, problem.column))


def _leaves(model: BaseModel, path: Path) -> Iterator[tuple[Path, Any, bool]]:
    """Every value below `model`: its path, itself, and whether somebody wrote it."""
    for name in type(model).model_fields:
        is_written = name in model.model_fields_set
        yield from _leaves_of(getattr(model, name), (*path, name), is_written=is_written)


def _leaves_of(value: Any, path: Path, *, is_written: bool) -> Iterator[tuple[Path, Any, bool]]:
    if isinstance(value, BaseModel):
        yield from _leaves(value, path)
    elif isinstance(value, dict) and path == ("cell",):
        for name, cell in value.items():
            yield from _leaves(cell, (*path, name))
    elif isinstance(value, list) and path == ("rule",):
        for index, rule in enumerate(value):
            yield from _leaves(rule, (*path, str(index)))
    elif value is not None and is_duration(annotation_at(path)):
        yield path, show_duration(value), is_written
    else:
        yield path, value, is_written
