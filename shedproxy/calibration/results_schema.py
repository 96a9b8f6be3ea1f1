"""The JSON Schema of a report.json, made from the dataclasses that it is decoded into.

`report.schema.json` beside this module is what this gives, for programs that do not run ours.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from typing import Any

from shedproxy.calibration.results import RESULTS_FORMAT, RESULTS_SCHEMA, Calibration

__all__ = ["SCHEMA_FILE", "results_json_schema"]

SCHEMA_FILE = "report.schema.json"

_PLAIN: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number"},
    str: {"type": "string"},
    type(None): {"type": "null"},
}


def results_json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12); fields that it does not name may be there (newer versions)."""
    definitions: dict[str, Any] = {}
    root = _of_dataclass(Calibration, definitions)
    root["properties"] = {
        "format": {"const": RESULTS_FORMAT},
        **root["properties"],
        "schema": {"type": "integer", "minimum": 1, "maximum": RESULTS_SCHEMA},
    }
    root["required"] = ["format", *root["required"], "schema"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "shedproxy calibration report",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _of_dataclass(cls: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    required = [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return {
        "description": " ".join((inspect.getdoc(cls) or "").split()),
        "type": "object",
        "properties": {
            field.name: _of(hints[field.name], definitions) for field in dataclasses.fields(cls)
        },
        "required": required,
    }


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hint = getattr(hint, "__supertype__", hint)
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return {"anyOf": [_of(argument, definitions) for argument in arguments]}
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return {"type": "array", "items": _of(arguments[0], definitions)}
        return {
            "type": "array",
            "prefixItems": [_of(argument, definitions) for argument in arguments],
            "minItems": len(arguments),
            "maxItems": len(arguments),
        }
    assert isinstance(hint, type), hint
    if hint.__name__ not in definitions:
        definitions[hint.__name__] = {}  # its place, should it contain itself
        definitions[hint.__name__] = (
            {"enum": [member.name.lower() for member in hint]}
            if issubclass(hint, enum.Enum)
            else _of_dataclass(hint, definitions)
        )
    return {"$ref": f"#/$defs/{hint.__name__}"}
