"""The file that `shedproxy init` writes: every setting with its meaning and default."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from shedproxy.settings.models import Settings
from shedproxy.settings.schema import SCHEMA_FILE
from shedproxy.settings.shape import Path, model_at

__all__ = ["commented_default_toml"]

_WIDTH = 96

_HEAD = """\
#:schema ./{schema}
# Settings of shedproxy. Lines like `#workers = 1` show defaults: take the # away to change one.
#     shedproxy check {file}            finds mistakes
#     shedproxy run --config {file}     serves
# Environment variables win over this file: SHEDPROXY_MODE, SHEDPROXY_CELL__DEFAULT__LIMIT__MAX.
# While shedproxy runs, a change of this file is taken over once it is valid.
"""

_RULES = """\
# Rules: the first that matches decides. Without any, all requests are of the default class.
#[[rule]]
#name = "checkout"
#match = { path = ["/checkout/**", "/pay/**"], method = ["POST", "PUT"] }
#criticality = "critical_plus"          # refused last

#[[rule]]
#name = "reports"
#match = { path = "/reports/**" }
#criticality = "sheddable"              # refused first
#cost = 4                               # takes four slots

#[[rule]]
#name = "batch clients"
#match = { header = { "user-agent" = "batch-*" } }
#limit = 8                              # most in flight; 0: always refused

#[[rule]]
#name = "events"
#match = { path = "/events" }
#kind = "stream"                        # stays long, takes no slot
"""

_CELL: Path = ("cell", "default")


def commented_default_toml(
    *,
    upstream: str = "http://127.0.0.1:8000",
    minimal: bool = False,
    file: str = "shedproxy.toml",
) -> str:
    """A settings file that is valid as it is and changes no default but the upstream.

    Args:
        upstream: URL of the service.
        minimal: only what most people change.
        file: its name, as shown in the comments.
    """
    active = {
        ("version",): 1,
        ("mode",): "enforce",
        ("server", "listen"): ["127.0.0.1:8080"],
        (*_CELL, "upstream"): [upstream],
    }
    parts = [_HEAD.format(schema=SCHEMA_FILE, file=file)]
    if minimal:
        parts += [
            _section((), Settings, active, only_active=True),
            _section(("server",), model_at(("server",)), active, only_active=True),
            _section(_CELL, model_at(_CELL), active, only_active=True),
            _RULES,
        ]
        return "\n".join(parts)
    for path, model in _tables((), Settings):
        if path == _CELL:
            parts.append(_RULES)
        parts.append(_section(path, model, active, only_active=False))
    return "\n".join(parts)


def _tables(path: Path, model: type[BaseModel]) -> Iterator[tuple[Path, type[BaseModel]]]:
    """Every table that has a name of its own, in the order of the models."""
    yield path, model
    for name in model.model_fields:
        below = _CELL if (*path, name) == ("cell",) else (*path, name)
        inner = model_at(below)
        if inner is not None:
            yield from _tables(below, inner)


def _section(
    path: Path, model: type[BaseModel] | None, active: dict[Path, Any], *, only_active: bool
) -> str:
    """One table. Its header is no comment, so that a key below it can be uncommented alone."""
    assert model is not None
    lines: list[str] = []
    if path:
        lines += _comment(model.__doc__ or "")
        lines.append(f"[{'.'.join(path)}]")
    for name, field in model.model_fields.items():
        key = (*path, name)
        if key in {("rule",), ("cell",)} or model_at(key) is not None:
            continue
        is_active = key in active
        if only_active and not is_active:
            continue
        lines += _comment(field.description or "")
        value = active.get(key, field.get_default(call_default_factory=True))
        if value is None:
            (value,) = field.examples or [0]
            lines.append(f"#{name} = {_toml(value)}    # an example: unset by default")
        else:
            lines.append(f"{'' if is_active else '#'}{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    plain = " ".join(text.split())
    return [f"# {line}" for line in textwrap.wrap(plain, _WIDTH)]


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{}" if not value else str(value)
    # Strings, numbers and booleans of JSON are those of TOML.
    return json.dumps(value)
