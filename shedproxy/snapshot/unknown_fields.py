"""Fields of a newer version: named to people, and kept when a document is written once more.

A document is held as it came (`raw`), as this version reads it (`known`), and as it shall be
(`wanted`); the two last are in terms of `to_plain`. What `raw` has and `known` has not, nobody here
understands, and it goes along with the object that it was found in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["carry_over", "unknown_fields"]

_LABELS = ("name", "cell")
"""What objects in a list are told apart by."""


def unknown_fields(raw: Any, known: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Dotted names of everything that this version does not read."""
    if isinstance(raw, dict) and isinstance(known, dict):
        for name, value in raw.items():
            if name in known:
                yield from unknown_fields(value, known[name], (*path, name))
            else:
                yield ".".join((*path, name))
    elif isinstance(raw, list) and isinstance(known, list):
        for index, (value, other) in enumerate(zip(raw, known, strict=False)):
            yield from unknown_fields(value, other, (*path, str(index)))


def carry_over(raw: Any, known: Any, wanted: Any) -> Any:
    """`wanted`, with the unknown fields of what it was made of."""
    if isinstance(raw, dict) and isinstance(known, dict) and isinstance(wanted, dict):
        result = {
            name: carry_over(raw.get(name), known.get(name), value)
            for name, value in wanted.items()
        }
        result.update((name, value) for name, value in raw.items() if name not in known)
        return result
    if isinstance(raw, list) and isinstance(known, list) and isinstance(wanted, list):
        return _carry_items(raw, known, wanted)
    return wanted


def _carry_items(raw: list[Any], known: list[Any], wanted: list[Any]) -> list[Any]:
    """Objects are found again by their label, and those without one where they were, unchanged."""
    if raw == known or len(raw) != len(known):
        return wanted
    by_label = {label: index for index, item in enumerate(known) if (label := _label(item))}
    result = []
    for index, item in enumerate(wanted):
        at = by_label.get(_label(item), index)
        is_same = at < len(known) and (known[at] == item or bool(_label(item)))
        is_same = is_same and _label(known[at]) == _label(item)
        result.append(carry_over(raw[at], known[at], item) if is_same else item)
    return result


def _label(item: Any) -> str:
    if isinstance(item, dict):
        for name in _LABELS:
            if isinstance(item.get(name), str) and item[name]:
                return f"{name}={item[name]}"
    return ""
