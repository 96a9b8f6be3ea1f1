"""What may stand where: the models of the settings asked by path, and the nearest valid name."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from types import NoneType, UnionType
from typing import Annotated, Any

from pydantic import BaseModel

from shedproxy.settings.models import Settings

__all__ = ["Path", "annotation_at", "home_of", "model_at", "nearest", "path_text", "subject"]

Path = tuple[str, ...]
"""Keys from the top; positions in arrays as numbers in text."""

_SYNONYMS = {
    "backend": "upstream",
    "backends": "upstream",
    "bind": "listen",
    "burst": "length_max",
    "class": "criticality",
    "concurrency": "limit",
    "default_class": "default",
    "exempt": "lane",
    "in_flight_max": "limit",
    "max_concurrency": "limit",
    "max_in_flight": "limit",
    "max_inflight": "limit",
    "methods": "method",
    "paths": "path",
    "port": "listen",
    "priority": "criticality",
    "target": "upstream",
    "trusted_peers": "trusted_proxies",
    "upstreams": "upstream",
    "weight": "cost",
}
"""What neighbours call our keys."""

_LIKENESS_MIN = 0.7


def annotation_at(path: Path) -> Any:
    """The annotation, with its metadata, of the value at `path`; None where nothing may stand."""
    annotation: Any = Settings
    for part in path:
        inner = _bare(annotation)
        origin = typing.get_origin(inner)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            field = inner.model_fields.get(part)
            if field is None:
                return None
            annotation = field.annotation
            if field.metadata:
                annotation = Annotated[(annotation, *field.metadata)]
        elif origin is dict:
            annotation = typing.get_args(inner)[1]
        elif origin is list and part.isdecimal():
            (annotation,) = typing.get_args(inner)
        else:
            return None
    return annotation


def model_at(path: Path) -> type[BaseModel] | None:
    """The model of the table at `path`, if a table with fixed keys may stand there."""
    inner = _bare(annotation_at(path))
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """An annotation without metadata and without `| None`."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in {typing.Union, UnionType}:
        (annotation,) = (part for part in typing.get_args(annotation) if part is not NoneType)
        return _bare(annotation)
    return annotation


def nearest(word: str, names: Iterable[str]) -> str:
    """The name most like `word`, or "": letters count, the order of words between `_` does not."""
    known = list(names)
    synonym = _SYNONYMS.get(word.lower(), "")
    if synonym in known:
        return synonym
    best, likeness = "", _LIKENESS_MIN
    for name in known:
        ratio = max(
            SequenceMatcher(None, word.lower(), name).ratio(),
            SequenceMatcher(None, _sorted_words(word), _sorted_words(name)).ratio(),
        )
        if ratio > likeness:
            best, likeness = name, ratio
    return best


def _sorted_words(name: str) -> str:
    return " ".join(sorted(name.lower().replace("-", "_").split("_")))


def home_of(key: str) -> str:
    """The table where `key` may stand ("[server.tls]"), or "" if there is none or not only one."""
    homes = {f"[{'.'.join(path)}]" for path, name in _all_keys(Settings, ()) if name == key}
    return homes.pop() if len(homes) == 1 else ""


def _all_keys(model: type[BaseModel], path: Path) -> Iterator[tuple[Path, str]]:
    for name in model.model_fields:
        if path:
            yield path, name
        inner = _bare(annotation_at((*path, name)))
        if name == "cell" and not path:
            yield from _all_keys(model_at(("cell", "NAME")) or Settings, ("cell", "NAME"))
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _all_keys(inner, (*path, name))


def path_text(path: Path) -> str:
    """A path as in a file: `cell.default.limit.max`, `rule[2].match`."""
    text = ""
    for part in path:
        text += f"[{part}]" if part.isdecimal() and text == "rule" else f".{part}" if text else part
    return text


def subject(path: Path) -> str:
    """How a message names the value: `server.workers`, `limit.max of cell "default"`."""
    if path[:1] == ("rule",) and len(path) > 1:
        owner = f"rule {int(path[1]) + 1}"
    elif path[:1] == ("cell",) and len(path) > 1:
        owner = f'cell "{path[1]}"'
    else:
        return ".".join(part for part in path if not part.isdecimal()) or "the configuration"
    rest = ".".join(part for part in path[2:] if not part.isdecimal())
    return f"{rest} of {owner}" if rest else owner
