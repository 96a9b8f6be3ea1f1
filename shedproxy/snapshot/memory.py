"""What was learnt of each route, as it passes from process to process and through a file.

A memory is baselines by cell and route. In JSON each is an object of `mean_ns`, `sample_count` and
`variance` (in ns squared) under the names of its cell and its route. The state file holds one such
object in an envelope with its format, schema and date: fields that this version does not know are
ignored, a newer schema is refused whole. Nothing but names of routes and numbers is in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shedproxy.core import Memory, Remembered
from shedproxy.errors import DocumentInvalidError, Problem

__all__ = [
    "ROUTES_MAX",
    "STATE_SIZE_MAX",
    "State",
    "decode_state",
    "encode_state",
    "merge_memories",
    "plain_memory",
    "read_memory",
]

ROUTES_MAX = 256
"""Routes of one cell: as many as have a baseline of their own."""

STATE_SIZE_MAX = 32 * 1024 * 1024
"""Bytes of a state file; more than could ever be written."""

_NAME_MAX = 128
"""Characters. With it a cell takes less than half of what one message to the supervisor may."""
_COUNT_MAX = 1 << 53
_VARIANCE_MAX = float(1 << 106)

_FORMAT = "shedproxy-state"
_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a state file says."""

    memory: Mapping[str, Memory]
    written_at: float
    """Seconds since the epoch."""
    version: str
    """Of the shedproxy that wrote it."""


def plain_memory(memory: Mapping[str, Memory]) -> dict[str, Any]:
    """A memory in terms of JSON. Cells without a baseline and names above 128 are left out."""
    plain = {
        cell: {
            route: {**known._asdict(), "variance": max(0.0, known.variance)}
            for route, known in routes.items()
            if known.mean_ns > 0 and known.sample_count > 0 and len(route) <= _NAME_MAX
        }
        for cell, routes in memory.items()
    }
    return {cell: routes for cell, routes in plain.items() if routes}


def read_memory(value: Any) -> dict[str, Memory]:
    """The memory that `plain_memory` made `value` of.

    Raises:
        DocumentInvalidError: it is of another form, or a number is beyond all bounds.
    """
    return {
        cell: {
            route: _read_remembered(cell, route, known)
            for route, known in _read_object(routes, cell, ROUTES_MAX).items()
        }
        for cell, routes in _read_object(value, "cells").items()
    }


def merge_memories(memories: Iterable[Mapping[str, Memory]]) -> dict[str, Memory]:
    """One memory of several: means weighted by their samples, the spread between them included.

    The count is the largest, not the sum: workers may have been told the same memory before, and
    what they share would grow with every restart. Of more than 256 routes of a cell those with the
    most samples stay.
    """
    found: dict[str, dict[str, list[Remembered]]] = {}
    for memory in memories:
        for cell, routes in memory.items():
            of_cell = found.setdefault(cell, {})
            for route, known in routes.items():
                of_cell.setdefault(route, []).append(known)
    merged: dict[str, Memory] = {}
    for cell, of_cell in found.items():
        pooled = [(route, _pooled(several)) for route, several in of_cell.items()]
        pooled.sort(key=lambda item: -item[1].sample_count)
        merged[cell] = dict(pooled[:ROUTES_MAX])
    return merged


def encode_state(state: State) -> bytes:
    """The state as one line of ASCII JSON."""
    envelope = {
        "format": _FORMAT,
        "schema": _SCHEMA,
        "version": state.version,
        "written_at": state.written_at,
        "cells": plain_memory(state.memory),
    }
    return json.dumps(envelope, separators=(",", ":")).encode() + b"\n"


def decode_state(data: bytes) -> State:
    """The state that `encode_state` wrote, this version's or an older one's.

    Raises:
        DocumentInvalidError: it is none, is damaged, or is of a newer schema; says which.
    """
    try:
        envelope = json.loads(data)
    except (ValueError, RecursionError):
        envelope = None
    if not isinstance(envelope, dict) or envelope.get("format") != _FORMAT:
        raise _invalid("it is no state of shedproxy, or it is damaged")
    schema = envelope.get("schema")
    if type(schema) is not int or schema < 1:
        raise _invalid("it is damaged: it names no schema")
    if schema > _SCHEMA:
        raise _invalid(f"schema {schema} is newer than this version understands ({_SCHEMA})")
    written_at: Any = envelope.get("written_at")
    version = envelope.get("version")
    if not _is_number(written_at, _COUNT_MAX) or not isinstance(version, str):
        raise _invalid("it is damaged: it has no date or no version")
    memory = read_memory(envelope.get("cells"))
    return State(memory=memory, written_at=float(written_at), version=version)


def _pooled(several: list[Remembered]) -> Remembered:
    count, mean_ns, variance = 0, 0.0, 0.0
    for known in several:
        count += known.sample_count
        share = known.sample_count / count
        step = known.mean_ns - mean_ns
        variance += (known.variance - variance) * share + step * step * share * (1 - share)
        mean_ns += step * share
    return Remembered(round(mean_ns), max(known.sample_count for known in several), variance)


def _read_object(value: Any, name: str, size_max: int = _COUNT_MAX) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > size_max:
        raise _invalid(f"it is damaged: {name} is no object, or is too large")
    return value


def _read_remembered(cell: str, route: str, value: Any) -> Remembered:
    known = _read_object(value, route)
    numbers: list[Any] = [known.get(name) for name in Remembered._fields]
    mean_ns, count, variance = numbers
    if (
        len(route) > _NAME_MAX
        or not (_is_number(mean_ns, _COUNT_MAX) and type(mean_ns) is int and mean_ns)
        or not (_is_number(count, _COUNT_MAX) and type(count) is int and count)
        or not _is_number(variance, _VARIANCE_MAX)
    ):
        raise _invalid(f"it is damaged: {cell}.{route[:_NAME_MAX]} is no baseline")
    return Remembered(mean_ns, count, float(variance))


def _is_number(value: Any, largest: float) -> bool:
    return type(value) in {int, float} and 0 <= value <= largest


def _invalid(message: str) -> DocumentInvalidError:
    return DocumentInvalidError([Problem(message=message)])
