"""HTML elements from values. What is not markup already is escaped, so text can never become it."""

from __future__ import annotations

import html

__all__ = ["Html", "element", "join"]

_VOID = frozenset({"input", "line", "link", "meta"})


class Html(str):
    """Text that is markup."""

    __slots__ = ()


def element(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Html:
    """`<name attributes>children</name>`.

    Children that are not `Html` are escaped; `None` is left out. In names of attributes `_` stands
    for `-`, and one at the end is dropped (`class_`); an attribute that is `True` has no value, one
    that is `False` or `None` is left out.
    """
    head = "".join(
        _attribute(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{head}/>")  # the slash ends it in SVG, and means nothing in HTML
    return Html(f"<{name}{head}>{join(*children)}</{name}>")


def _attribute(name: str, value: str | float | bool) -> str:
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def join(*parts: str | None) -> Html:
    """The parts one after the other, escaped where they are not `Html`."""
    return Html(
        "".join(
            part if isinstance(part, Html) else html.escape(part, quote=False)
            for part in parts
            if part is not None
        )
    )
