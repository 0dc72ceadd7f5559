"""Find the fields of all records of a schema that come together: the walk that a schema asks for."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .columns import UnsupportedSchemaError
from .walk import Numbers, Spans, Walk

# An Avro schema as JSON has it.
Schema = Any
Found = Numbers | Spans

_FIXED_SIZES = {"float": 4, "double": 8, "boolean": 1}


class FieldFinder:
    """Finds the fields of records of one schema.

    Args:
        record: The schema that the records were written with, its names expanded.
        skip: Bytes before the record in each value, which are not looked at.

    Raises:
        UnsupportedSchemaError: It has a field of a type that nobody walks over.
    """

    def __init__(self, record: Schema, *, skip: int = 0) -> None:
        if kind_of(record) != "record":
            raise UnsupportedSchemaError("the schema is of no record")
        self._skip = skip
        self._steps = [(field["name"], _step(field["type"])) for field in record["fields"]]

    def find(self, values: Sequence[bytes]) -> tuple[Walk, Mapping[str, Found]]:
        """Return the walk, which knows what records are not of the schema, and where each field is.

        A field that is null in every record is `Spans`, whatever its type.
        """
        walk = Walk(values, self._skip)
        found = {name: step(walk) for name, step in self._steps}
        walk.end()
        return walk, found


def _step(schema: Schema) -> Callable[[Walk], Found]:
    """Return what finds a field."""
    if not isinstance(schema, list):
        return _value_step(schema)
    if len(schema) != 2 or "null" not in schema:  # noqa: PLR2004  # null and one other
        raise UnsupportedSchemaError("a union is of null and one type")
    null_branch = schema.index("null")
    return partial(_nullable, null_branch, _value_step(schema[1 - null_branch]))


def _nullable(null_branch: int, step: Callable[[Walk], Found], walk: Walk) -> Found:
    null = walk.nulls(null_branch)
    before = walk.at
    if null.all():
        return Spans(before, np.zeros_like(before), null)
    found = step(walk)
    walk.pass_over(null, before)
    if isinstance(found, Numbers):
        return Numbers(found.values, null)
    return Spans(found.begin, np.where(null, 0, found.size), null, found.items)


def _value_step(schema: Schema) -> Callable[[Walk], Found]:
    match kind_of(schema):
        case "int" | "long" | "enum":
            return Walk.numbers
        case "string" | "bytes":
            return Walk.strings
        case "fixed":
            return partial(_fixed, schema["size"])
        case "boolean" | "float" | "double" as kind:
            return partial(_fixed, _FIXED_SIZES[kind])
        case "array" if (kind := kind_of(schema["items"])) in {"string", "float", "double"}:
            return partial(_array, _FIXED_SIZES.get(kind))
        case kind:
            raise UnsupportedSchemaError(f"no program for fields of type {kind}")


def _fixed(size: int, walk: Walk) -> Spans:
    return walk.fixed(size)


def _array(width: int | None, walk: Walk) -> Spans:
    return walk.arrays(width)


def kind_of(schema: Schema) -> str:
    """Return the name of a type."""
    kind = schema["type"] if isinstance(schema, dict) else schema
    # `{"type": {"type": "string"}}` is legal, and means what is inside.
    return kind if isinstance(kind, str) else kind_of(kind) if isinstance(kind, dict) else "union"
