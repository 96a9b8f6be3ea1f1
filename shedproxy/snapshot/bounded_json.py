"""JSON of unknown origin, read in bounded time and memory, and with one meaning only.

What it would take is told from the number of commas and brackets before anything is built. Nesting
beyond what the parser can bear, a number of thousands of digits, NaN and a key that occurs twice
(two readers could take either) are errors.
"""

from __future__ import annotations

import json
from typing import Any

from shedproxy.errors import DocumentInvalidError, Problem

__all__ = ["VALUES_MAX", "load_json"]

VALUES_MAX = 400_000
"""Values in one text, those inside of others included."""


def load_json(data: bytes, *, what: str = "document") -> Any:
    """The value that the text stands for.

    Raises:
        DocumentInvalidError: it is no JSON, has two meanings, or more values than there may be.
    """
    if _values_at_most(data) > VALUES_MAX:
        raise _invalid(f"not a {what}: more than {VALUES_MAX} values")
    try:
        return json.loads(data, parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"not a {what}: {error}") from error


def _values_at_most(data: bytes) -> int:
    """Each value but the first follows a comma or an opening bracket, or a key that does."""
    return 1 + data.count(b",") + data.count(b"[") + data.count(b"{")


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number a document may hold")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _invalid(message: str) -> DocumentInvalidError:
    return DocumentInvalidError([Problem(message=message)])
