"""Writes what the Helm chart takes from the code."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema

from chart.settings_schema import references_schema, settings_schema
from chart.topics_and_processes import kafka_rights, processes, topics
from chart.values import Values
from chart.values_page import values_page

CHART = Path(__file__).parents[1] / "helm" / "somafractalmemory"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "helm-values.md"
COMMAND = "python -m chart"


_NAME = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"}
_REFERENCE = {
    "type": "object",
    "description": "Where a value is: a key of a Secret or of a ConfigMap, which is there already.",
    "additionalProperties": False,
    "required": ["key"],
    "oneOf": [{"required": ["secret"]}, {"required": ["configMap"]}],
    "properties": {
        "secret": {**_NAME, "description": "Name of a Secret."},
        "configMap": {**_NAME, "description": "Name of a ConfigMap; for certificates of CAs."},
        "key": {"type": "string", "minLength": 1, "description": "Key in it."},
    },
}
_DEFINITIONS = "#/$defs/"


def values_schema() -> dict[str, Any]:
    """Return the JSON Schema of the values."""
    made = _finished(Values.model_json_schema())
    made["$defs"] |= {
        "Reference": _REFERENCE,
        "Settings": settings_schema(),
        "SecretSettings": references_schema(f"{_DEFINITIONS}Reference"),
    }
    return {"$schema": GenerateJsonSchema.schema_dialect, **made}


def _finished(schema: Any) -> Any:
    match schema:
        case {"made": str() as name, **rest}:
            return {"$ref": _DEFINITIONS + name, **_finished(rest)}
        case dict():
            return {
                key: _finished(value)
                for key, value in schema.items()
                if key != "title" or not isinstance(value, str)
            }
        case list():
            return [_finished(each) for each in schema]
        case _:
            return schema


def written() -> dict[Path, str]:
    """Return what each file has to hold."""
    made = {
        "values.schema.json": values_schema(),
        "files/topics.json": topics(),
        "files/kafka-rights.json": kafka_rights(),
        "files/processes.json": processes(),
    }
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return {
        **{
            CHART / name: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            for name, content in made.items()
        },
        PAGE: values_page(defaults),
    }


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
