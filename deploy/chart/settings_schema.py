"""The settings of the processes as JSON Schema, for the values of the chart."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from soma_cli.settings import PROCESSES, Process

# What each process is called in the chart. The embedded index is the local stack's alone.
WORKLOADS = {
    "api": Process.API,
    "worker-postgres": Process.POSTGRES_WORKER,
    "worker-vectors": Process.VECTOR_WORKER,
    "worker-retention": Process.RETENTION_WORKER,
    "lag": Process.LAG_COLLECTOR,
    "operator": Process.OPERATOR,
}

# Not values for a chart: where a process listens in its pod, and where the collector of the same release is.
SET_BY_THE_CHART = frozenset(
    {
        ("api", "host"),
        ("api", "port"),
        ("worker", "host"),
        ("worker", "port"),
        ("lag", "host"),
        ("lag", "port"),
    }
    | {("collector", "url")}
)

# Keywords of no draft: what pydantic says of bounds of durations.
_LEFT_OUT = frozenset({"title", "default", "$defs", "gt", "ge", "lt", "le"})


class _OfValues(GenerateJsonSchema):
    """Durations are seconds in the chart."""

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        del schema
        return {"type": "number"}


def parts_of(process: Process) -> dict[str, type[BaseModel]]:
    """Return the parts of a process's settings by name."""
    return {name: type(field.default) for name, field in PROCESSES[process].model_fields.items()}


def all_parts() -> dict[str, type[BaseModel]]:
    """Return the parts of all processes of the chart; several that read a part read the same fields."""
    return {name: part for process in WORKLOADS.values() for name, part in parts_of(process).items()}


def is_reference(field: dict[str, Any]) -> bool:
    """Say whether a value stands in a Secret or a ConfigMap, and not in the values of the chart."""
    kinds = field.get("anyOf", [field])
    return any(kind.get("format") in {"password", "path", "file-path"} for kind in kinds)


def settings_schema() -> dict[str, Any]:
    """Return the schema of `settings`: part, field, value. Secrets and files have no place there."""
    return _of_parts(lambda field: None if is_reference(field) else field)


def references_schema(reference: str) -> dict[str, Any]:
    """Return the schema of `secretSettings`: part, field, where the value is.

    Args:
        reference: The schema of such a place, as `$ref` names it.
    """

    def place(field: dict[str, Any]) -> dict[str, Any] | None:
        described = {"description": field["description"]} if "description" in field else {}
        return {"$ref": reference, **described} if is_reference(field) else None

    return _of_parts(place)


def _of_parts(choose: Any) -> dict[str, Any]:
    parts = {}
    for name, part in sorted(all_parts().items()):
        fields = {
            key: chosen
            for key, field in _fields(part).items()
            if (name, key) not in SET_BY_THE_CHART and (chosen := choose(field)) is not None
        }
        if fields:
            parts[name] = _object(fields)
    return _object(parts)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _fields(part: type[BaseModel]) -> dict[str, dict[str, Any]]:
    made = part.model_json_schema(schema_generator=_OfValues)
    named = made.get("$defs", {})
    return {name: _inlined(field, named) for name, field in made["properties"].items()}


def _inlined(schema: Any, named: dict[str, Any]) -> Any:
    match schema:
        case {"$ref": str() as reference, **rest}:
            return _inlined({**named[reference.rpartition("/")[2]], **rest}, named)
        case dict():
            # A field may be called like a keyword only below `properties`, and none of ours nests any.
            return {key: _inlined(value, named) for key, value in schema.items() if key not in _LEFT_OUT}
        case list():
            return [_inlined(each, named) for each in schema]
        case _:
            return schema
