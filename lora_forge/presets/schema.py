"""The JSON Schema of a preset file, for editors."""

from __future__ import annotations

from typing import Any

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NULL = {"type": "null"}


def preset_schema() -> dict[str, object]:
    """Describe the YAML as written: ``extends`` allowed, nothing required, ``null`` everywhere.

    A single file need not be whole, since the file it extends may hold the rest;
    what is missing in the end is found when the layers are merged.
    """
    from lora_forge.presets.model import Preset

    schema = Preset.model_json_schema()
    for table in [schema, *schema.get("$defs", {}).values()]:
        _loosen(table)
    extends = {"type": "string", "description": "Name or path of the preset that this one builds on."}
    schema["properties"] = {"extends": {"anyOf": [extends, _NULL]}, **schema["properties"]}
    return {"$schema": _DIALECT, **schema}


def _loosen(table: dict[str, Any]) -> None:
    table.pop("required", None)
    for name, inner in table.get("properties", {}).items():
        if _NULL not in inner.get("anyOf", []):
            table["properties"][name] = {"anyOf": [inner, _NULL]}
