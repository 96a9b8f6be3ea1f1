"""The JSON Schema of the file, for editors."""

from __future__ import annotations

from typing import Any

from shedproxy.settings.models import Settings

__all__ = ["SCHEMA_FILE", "settings_json_schema"]

SCHEMA_FILE = "shedproxy.schema.json"
"""Name under which the file that `shedproxy init` writes looks for it, in its own folder."""


def settings_json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a settings file, descriptions and defaults included."""
    schema = Settings.model_json_schema(mode="validation")
    for definition in (schema, *schema["$defs"].values()):
        for entry in definition["properties"].values():
            # Titles repeat the key, and defaults of whole tables repeat what stands in them.
            entry.pop("title", None)
            if isinstance(entry.get("default"), dict):
                del entry["default"]
            if "patternProperties" in entry:
                entry["additionalProperties"] = False
            if "description" in entry:
                entry["description"] = " ".join(entry["description"].split())
    schema["title"] = "shedproxy settings"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
