"""As much of JSON Schema as our schemas use."""

from __future__ import annotations

from typing import Any

__all__ = ["violations"]

_TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
    "integer": int, "number": (int, float),
}  # fmt: skip


def violations(
    value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "$"
) -> list[str]:
    """Everything in `value` that the schema does not allow, with its place."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        found = [violations(value, each, root, at) for each in schema["anyOf"]]
        return [] if [] in found else [f"{at}: {value!r} is none of it"]
    if "const" in schema:
        return [] if value == schema["const"] else [f"{at}: {value!r}"]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{at}: {value!r}"]
    wanted = schema["type"]
    is_flag = isinstance(value, bool)
    if not isinstance(value, _TYPES[wanted]) or (is_flag and wanted != "boolean"):
        return [f"{at}: {value!r} is no {wanted}"]
    if wanted == "integer":
        is_within = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        return [] if is_within else [f"{at}: {value}"]
    if wanted == "object":
        missing = [f"{at}: no {key}" for key in schema["required"] if key not in value]
        return missing + [
            text
            for key, each in value.items()
            if key in schema["properties"]
            for text in violations(each, schema["properties"][key], root, f"{at}.{key}")
        ]
    if wanted == "array":
        return _of_items(value, schema, root, at)
    return []


def _of_items(value: list[Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> list[str]:
    if "prefixItems" in schema:
        if len(value) != len(schema["prefixItems"]):
            return [f"{at}: {len(value)} items"]
        pairs = zip(value, schema["prefixItems"], strict=True)
    else:
        pairs = zip(value, [schema["items"]] * len(value), strict=True)
    return [
        text
        for i, (each, part) in enumerate(pairs)
        for text in violations(each, part, root, f"{at}[{i}]")
    ]
