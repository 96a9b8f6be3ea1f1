"""What the head of a request says of its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shedproxy.dataplane.asgi.types import Scope

__all__ = ["BODY_FIELDS", "may_have_body", "waits_for_word"]

BODY_FIELDS: Final = (b"content-length", b"transfer-encoding")
"""What says in HTTP/1 that a body follows."""


def may_have_body(scope: Scope, fields: Mapping[bytes, bytes], has_fields: int) -> bool:
    """Whether a body may follow, whatever the method: some apps read it of any.

    Args:
        scope: of an HTTP request.
        fields: headers of it by name, at least those of `BODY_FIELDS`.
        has_fields: not 0 where there is one of these.
    """
    if has_fields and (b"transfer-encoding" in fields or fields[b"content-length"] != b"0"):
        return True
    # From HTTP/2 on no field tells whether a body follows, and one that does not is here at once.
    version = scope.get("http_version", "1.1")
    return bool(version not in {"1.1", "1.0"})


def waits_for_word(scope: Scope, size_max: int) -> bool:
    """Whether its client waits to be told to send a body that is not surely small.

    It is asked by the app then, with its slot: nobody shall send for nothing.
    """
    is_expecting, length = False, -1
    for name, value in scope["headers"]:
        if name == b"expect":
            is_expecting = True
        elif name == b"content-length" and value.isdigit():
            length = int(value)
    return is_expecting and not 0 <= length <= size_max
