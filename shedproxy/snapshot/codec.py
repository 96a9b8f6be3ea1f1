"""A `Document` as bytes and back: JSON on one line, made from the dataclasses themselves.

The envelope names the format and carries a SHA-256 digest of the document in canonical JSON, so a
cut or altered copy is refused. Fields that this version does not know are ignored, fields that are
missing have their defaults, a newer schema is refused whole. Enum members travel by label, lengths
of time as nanoseconds; no number in a document is negative, unless it is `Signed`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from shedproxy.core import RequestInfo
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot.bounded_json import load_json
from shedproxy.snapshot.cell_numbers import CELLS_MAX
from shedproxy.snapshot.document import Document

__all__ = [
    "DOCUMENT_SIZE_MAX",
    "Signed",
    "decode_body",
    "decode_document",
    "document_digest",
    "encode_document",
    "from_plain",
    "to_plain",
]

DOCUMENT_SIZE_MAX = 4 * 1024 * 1024
"""Bytes; a longer document is refused before it is parsed."""

Signed = typing.NewType("Signed", float)
"""A number that may be less than nothing."""

_T = typing.TypeVar("_T")
_Path = tuple[str, ...]
_Problems = list[Problem]
_Decoder = Callable[[Any, _Path, _Problems], Any]

_FORMAT = "shedproxy-document"
_SCHEMA = 1

_INTEGER_MAX = (1 << 63) - 1
"""Counts and times are kept in signed words of 64 bits."""
_SALT_MAX = (1 << 64) - 1

_COMPILED: dict[type[Any], dict[str, Any]] = {RequestInfo: {"route_limit": int | None}}
"""Annotations of compiled classes that do not outlive the compiler, by field."""

_PROBLEMS_MAX = 1000
_LENGTHS_MAX: dict[_Path, int] = {
    ("policy", "cells"): CELLS_MAX,
    ("classification", "rules"): 10_000,
    ("proxy", "upstreams"): 2 * CELLS_MAX,
    ("profiles",): 2 * CELLS_MAX,
}

_FLOAT_MAX = 1.7976931348623157e308


def encode_document(document: Document) -> bytes:
    """The document as one line of ASCII JSON, without the line's end.

    Raises:
        DocumentInvalidError: longer than `DOCUMENT_SIZE_MAX`.
    """
    body = to_plain(document)
    envelope = {"format": _FORMAT, "digest": _digest(body), "document": body}
    data = json.dumps(envelope, separators=(",", ":")).encode()
    if len(data) > DOCUMENT_SIZE_MAX:
        raise DocumentInvalidError([_too_long(len(data))])
    return data


def decode_document(data: bytes) -> Document:
    """The document that `encode_document` wrote, this version's or an older one's.

    Raises:
        DocumentInvalidError: with every problem found; nothing of the document may be used.
    """
    return decode_body(_open_envelope(data))


def decode_body(body: Any, *, newer: int = 0) -> Document:
    """The document that `to_plain` made `body` of.

    Args:
        body: in terms of JSON.
        newer: by how much its schema may be newer than ours; what we do not know is left out.

    Raises:
        DocumentInvalidError: with every problem found; nothing of the document may be used.
    """
    schema = body.get("schema", _SCHEMA) if isinstance(body, dict) else _SCHEMA
    if type(schema) is int and schema > _SCHEMA + newer:
        raise DocumentInvalidError(
            [
                Problem(
                    message=f"schema {schema} is newer than this version understands ({_SCHEMA})",
                    path=("schema",),
                    help="upgrade shedproxy on this host first",
                )
            ]
        )
    problems = list(_too_many(body))
    if problems:
        raise DocumentInvalidError(problems)
    document = from_plain(Document, body)
    problems = _contradictions(document)
    if problems:
        raise DocumentInvalidError(problems)
    return document


def document_digest(document: Document) -> str:
    """The digest under which the document travels: `sha256:` and 64 hex digits.

    Equal for equal documents, whatever process asks.
    """
    return _digest(to_plain(document))


def to_plain(value: Any) -> Any:
    """A document, or a part of one, in terms of JSON."""
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.init
        }
    return value


def from_plain(cls: type[_T], value: Any) -> _T:
    """The part of a document (a `Policy`, a `RequestInfo`) that `to_plain` made `value` of.

    Raises:
        DocumentInvalidError: with every value that does not fit its field.
    """
    problems: _Problems = []
    decode = _dataclass_decoder(typing.cast("Any", cls))
    part = decode(value, (), problems)
    if problems:
        raise DocumentInvalidError(problems)
    return typing.cast("_T", part)


def _open_envelope(data: bytes) -> dict[str, Any]:
    """The body, after everything that can be checked without looking into it."""
    if len(data) > DOCUMENT_SIZE_MAX:
        raise DocumentInvalidError([_too_long(len(data))])
    envelope = load_json(data)
    if not isinstance(envelope, dict) or envelope.get("format") != _FORMAT:
        raise DocumentInvalidError([Problem(message="not a document of shedproxy")])
    body = envelope.get("document")
    if not isinstance(body, dict):
        raise DocumentInvalidError([Problem(message="the envelope holds no document")])
    if envelope.get("digest") != _digest(body):
        raise DocumentInvalidError([Problem(message="digest does not fit: the copy is damaged")])
    return body


def _too_many(body: Any) -> Iterator[Problem]:
    """Lists that are longer than any can be: each entry is dear, so that they are not read."""
    for path, most in _LENGTHS_MAX.items():
        found = body
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, list) and len(found) > most:
            yield _problem(path, f"{len(found)} are too many: {most} at most")


def _contradictions(document: Document) -> _Problems:
    """What every field allows by itself and nothing can be run by."""
    names = [cell.name for cell in document.policy.cells]
    if not 1 <= len({*names, *document.cells}) <= CELLS_MAX or not 1 <= len(names) <= CELLS_MAX:
        return [_problem(("policy", "cells"), f"expected 1 to {CELLS_MAX} cells")]
    problems = [
        _problem(("policy", "cells", str(index)), f"a second cell is called {_shown(name)}")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    problems += [
        _problem(("classification", "rules", str(index), "cost"), "expected 1 or more")
        for index, rule in enumerate(document.classification.rules)
        if rule.cost < 1
    ]
    return problems


def _too_long(size: int) -> Problem:
    return Problem(message=f"a document of {size} bytes is too long: {DOCUMENT_SIZE_MAX} at most")


def _digest(body: Any) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


def _problem(path: _Path, message: str) -> Problem:
    name = ".".join(path) or "document"
    return Problem(message=f"{name}: {message}", path=path)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


@functools.cache
def _dataclass_decoder(cls: type[Any]) -> _Decoder:
    hints = typing.get_type_hints(cls) | _COMPILED.get(cls, {})
    decoders = {
        field.name: _decoder_of(hints[field.name])
        for field in dataclasses.fields(cls)
        if field.init
    }

    def decode(value: Any, path: _Path, problems: _Problems) -> Any:
        if not isinstance(value, dict):
            problems.append(_problem(path, f"expected an object, found {_shown(value)}"))
            return None
        known = {
            name: decoder(value[name], (*path, name), problems)
            for name, decoder in decoders.items()
            if name in value
        }
        # With problems on the list nobody gets to see the value, and None may not fit.
        return None if problems else cls(**known)

    return decode


@functools.cache
def _decoder_of(hint: Any) -> _Decoder:
    """The decoder for one annotation; the forms that occur in documents, and no others."""
    if hint is Signed:
        return _signed
    if isinstance(hint, typing.NewType):
        return _decoder_of(hint.__supertype__)
    origin = typing.get_origin(hint)
    if origin in {types.UnionType, typing.Union}:
        (inner,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        return _optional_decoder(_decoder_of(inner))
    if origin is tuple:
        first, *rest = typing.get_args(hint)
        if rest == [...]:
            return _list_decoder(_decoder_of(first))
        return _row_decoder(tuple(_decoder_of(part) for part in (first, *rest)))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_decoder(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enum_decoder(hint)
    return _SCALARS[hint]


def _optional_decoder(inner: _Decoder) -> _Decoder:
    def decode(value: Any, path: _Path, problems: _Problems) -> Any:
        return None if value is None else inner(value, path, problems)

    return decode


def _list_decoder(inner: _Decoder) -> _Decoder:
    def decode(value: Any, path: _Path, problems: _Problems) -> Any:
        if not isinstance(value, list):
            problems.append(_problem(path, f"expected a list, found {_shown(value)}"))
            return None
        items = []
        for index, item in enumerate(value):
            if len(problems) > _PROBLEMS_MAX:
                break  # nobody reads on, and each costs memory
            items.append(inner(item, (*path, str(index)), problems))
        return tuple(items)

    return decode


def _row_decoder(inner: tuple[_Decoder, ...]) -> _Decoder:
    def decode(value: Any, path: _Path, problems: _Problems) -> Any:
        if not isinstance(value, list) or len(value) != len(inner):
            expected = f"expected a list of {len(inner)}, found {_shown(value)}"
            problems.append(_problem(path, expected))
            return None
        return tuple(
            decoder(item, (*path, str(i)), problems)
            for i, (decoder, item) in enumerate(zip(inner, value, strict=True))
        )

    return decode


def _enum_decoder(cls: type[enum.Enum]) -> _Decoder:
    members = {member.name.lower(): member for member in cls}

    def decode(value: Any, path: _Path, problems: _Problems) -> Any:
        member = members.get(value) if isinstance(value, str) else None
        if member is None:
            allowed = ", ".join(members)
            problems.append(_problem(path, f"expected one of {allowed}, found {_shown(value)}"))
        return member

    return decode


def _string(value: Any, path: _Path, problems: _Problems) -> Any:
    if not isinstance(value, str):
        problems.append(_problem(path, f"expected a string, found {_shown(value)}"))
    return value


def _boolean(value: Any, path: _Path, problems: _Problems) -> Any:
    if not isinstance(value, bool):
        problems.append(_problem(path, f"expected true or false, found {_shown(value)}"))
    return value


def _integer(value: Any, path: _Path, problems: _Problems) -> Any:
    if type(value) is not int or value < 0:
        problems.append(_problem(path, f"expected an integer from 0, found {_shown(value)}"))
    elif value > (_SALT_MAX if path[-1:] == ("salt",) else _INTEGER_MAX):
        problems.append(_problem(path, "the number is too large"))
    return value


def _number(value: Any, path: _Path, problems: _Problems) -> Any:
    if type(value) not in {int, float} or not 0 <= value <= _FLOAT_MAX:
        problems.append(_problem(path, f"expected a number from 0, found {_shown(value)}"))
        return value
    return float(value)


def _signed(value: Any, path: _Path, problems: _Problems) -> Any:
    if type(value) not in {int, float} or not -_FLOAT_MAX <= value <= _FLOAT_MAX:
        problems.append(_problem(path, f"expected a number, found {_shown(value)}"))
        return value
    return float(value)


_SCALARS: dict[Any, _Decoder] = {str: _string, bool: _boolean, int: _integer, float: _number}
