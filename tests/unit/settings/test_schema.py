"""The JSON Schema says the same as the settings."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from shedproxy.settings import commented_default_toml, settings_json_schema

SCHEMA = settings_json_schema()
TYPES = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None)}


def fits(value, schema):
    """As much of JSON Schema as ours uses."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        return any(fits(value, option) for option in schema["anyOf"])
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    kind = schema.get("type")
    if kind in {"integer", "number"}:
        allowed = int if kind == "integer" else (int, float)
        return (
            isinstance(value, allowed)
            and not isinstance(value, bool)
            and value >= schema.get("minimum", value)
            and value <= schema.get("maximum", value)
            and value > schema.get("exclusiveMinimum", value - 1)
        )
    if kind and not isinstance(value, TYPES[kind]):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(
            fits(item, schema.get("items", {})) for item in value
        )
    if isinstance(value, dict):
        rest = schema.get("additionalProperties", {})
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})

        def home(key):
            return known.get(key) or next(
                (patterns[p] for p in patterns if re.search(p, key)), rest
            )

        return all(
            home(key) is not False and fits(inner, home(key)) for key, inner in value.items()
        )
    return True


def test_it_is_json():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("minimal", [False, True])
def test_it_takes_the_file_that_init_writes(minimal):
    text = commented_default_toml(minimal=minimal)
    assert fits(tomllib.loads(text), SCHEMA)
    uncommented = re.sub(r"^#(?=[\w\[])", "", text.split("\n", 1)[1], flags=re.MULTILINE)
    assert fits(tomllib.loads(uncommented), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "cell.default.limit = 64",
        "cell.default.limit = { max = 64 }",
        "cell.default.transport.cancels = true",
        'server.listen = ":80"',
        'server.workers = "auto"',
        "server.head_size_max = 16384",
        'server.head_size_max = "16KiB"',
        '[[rule]]\nmatch = { path = "/a" }',
    ],
)
def test_it_takes_the_short_forms(text):
    assert fits(tomllib.loads(text), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "colour = 1",
        'mode = "on"',
        "version = 2",
        '[server]\nworkers = "4"',
        "[server]\nworkers = 0",
        '[server]\ntimeouts.connect = "5"',
        "[server]\ntimeouts.connect = 5",
        "[cell.a]\nlimt = 4",
        "[cell.Bad]\nlimit = 4",
        "[[rule]]\ncost = 0",
    ],
)
def test_it_refuses_what_is_wrong(text):
    assert not fits(tomllib.loads(text), SCHEMA)


def test_keys_are_described():
    assert "Processes" in SCHEMA["$defs"]["ServerSettings"]["properties"]["workers"]["description"]
