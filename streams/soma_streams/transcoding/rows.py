"""Many records to the bytes that COPY takes."""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from fastavro.schema import expand_schema

from . import fields
from .columns import AnyColumn, Column, ColumnType, Given, UnsupportedSchemaError
from .fields import Block
from .walk import Numbers, Spans, Walk

# An Avro schema as JSON.
Schema = Any
_Found = Numbers | Spans

COPY_BEGIN = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_END = b"\xff\xff"

_FIXED_SIZES = {"float": 4, "double": 8, "boolean": 1}


@dataclass(frozen=True, slots=True)
class Rows:
    """What became of some records.

    Attributes:
        data: Their rows in PostgreSQL's binary COPY format. Before the first of a COPY goes `COPY_BEGIN`,
            after the last `COPY_END`.
        refused: The places of the records that are not of their schema, or have a value that no column takes;
            they have no row.
    """

    data: bytes
    refused: tuple[int, ...]


class RowTranscoder:
    """Turns records of one schema into rows.

    It checks that a record is of its schema from the first byte to the last. Text goes through as it is: that
    it is UTF-8 and without a zero, or that it is JSON, is left to PostgreSQL, which refuses the whole COPY.

    Args:
        schema: The schema that the records were written with, as JSON text.
        columns: The columns of a row, in their order.
        skip: Bytes before the record in each value, which are not looked at.

    Raises:
        UnsupportedSchemaError: The columns cannot be made of this schema.
    """

    def __init__(self, schema: str, columns: Sequence[AnyColumn], *, skip: int = 0) -> None:
        record: Schema = expand_schema(json.loads(schema))
        if _kind(record) != "record":
            raise UnsupportedSchemaError("the schema is of no record")
        self._skip = skip
        self._columns = tuple(columns)
        self._steps = [(field["name"], _step(field["type"])) for field in record["fields"]]
        types = {field["name"]: field["type"] for field in record["fields"]}
        self._writers = {
            column.field: _writer(types, column) for column in columns if isinstance(column, Column)
        }

    def rows(self, values: Sequence[bytes], *given: Sequence[int]) -> Rows:
        """Return the rows of these records, in their order.

        Args:
            values: The records.
            given: For each `Given` column, in their order, a number for each record.

        Raises:
            ValueError: There are not as many numbers as records and `Given` columns.
        """
        if not values:
            return Rows(b"", ())
        walk = Walk(values, self._skip)
        found = {name: step(walk) for name, step in self._steps}
        walk.end()
        if walk.sound.all():
            blocks = self._blocks(walk, found, given)
            if walk.sound.all():
                return Rows(fields.joined(blocks, len(values)), ())
        return self._without_broken(walk, values, given)

    def _blocks(self, walk: Walk, found: Mapping[str, _Found], given: Sequence[Sequence[int]]) -> list[Block]:
        rows = len(walk.sound)
        blocks: list[Block] = [fields.same(struct.pack(">h", len(self._columns)), rows)]
        numbers = iter(given)
        for column in self._columns:
            if isinstance(column, Given):
                place = np.array(next(numbers), np.int64)
                if len(place) != rows:
                    raise ValueError("every record wants a number for every given column")
                blocks += fields.integers(Numbers(place))
                continue
            field = found[column.field]
            if field.null is not None and field.null.all():
                blocks.append(fields.same(fields.NULL, rows))
            else:
                blocks += self._writers[column.field](walk, field)
        return blocks

    def _without_broken(self, walk: Walk, values: Sequence[bytes], given: Sequence[Sequence[int]]) -> Rows:
        kept = np.flatnonzero(walk.sound).tolist()
        rest = self.rows([values[at] for at in kept], *[[each[at] for at in kept] for each in given])
        broken = np.flatnonzero(~walk.sound).tolist()
        return Rows(rest.data, tuple(sorted([*broken, *(kept[at] for at in rest.refused)])))


def _step(schema: Schema) -> Callable[[Walk], _Found]:
    """Return what finds a field."""
    if not isinstance(schema, list):
        return _value_step(schema)
    if len(schema) != 2 or "null" not in schema:  # noqa: PLR2004  # null and one other
        raise UnsupportedSchemaError("a union is of null and one type")
    null_branch = schema.index("null")
    return partial(_nullable, null_branch, _value_step(schema[1 - null_branch]))


def _nullable(null_branch: int, step: Callable[[Walk], _Found], walk: Walk) -> _Found:
    null = walk.nulls(null_branch)
    before = walk.at
    if null.all():
        return Spans(before, np.zeros_like(before), null)
    found = step(walk)
    walk.pass_over(null, before)
    if isinstance(found, Numbers):
        return Numbers(found.values, null)
    return Spans(found.begin, np.where(null, 0, found.size), null, found.items)


def _value_step(schema: Schema) -> Callable[[Walk], _Found]:
    match _kind(schema):
        case "int" | "long" | "enum":
            return Walk.numbers
        case "string" | "bytes":
            return Walk.strings
        case "fixed":
            return partial(_fixed, schema["size"])
        case "boolean" | "float" | "double" as kind:
            return partial(_fixed, _FIXED_SIZES[kind])
        case "array" if (kind := _kind(schema["items"])) in {"string", "float", "double"}:
            return partial(_array, _FIXED_SIZES.get(kind))
        case kind:
            raise UnsupportedSchemaError(f"no program for fields of type {kind}")


def _fixed(size: int, walk: Walk) -> Spans:
    return walk.fixed(size)


def _array(width: int | None, walk: Walk) -> Spans:
    return walk.arrays(width)


def _writer(types: Mapping[str, Schema], column: Column) -> Callable[[Walk, Any], list[Block]]:
    """Return what writes a field into its column."""
    if column.field not in types:
        raise UnsupportedSchemaError(f"the schema has no field {column.field}")
    schema = types[column.field]
    if isinstance(schema, list):
        schema = next(branch for branch in schema if branch != "null")
    kind = _kind(schema)
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    items = _kind(schema["items"]) if kind == "array" else None
    match column.type, kind, logical or items:
        case ColumnType.TEXT, "enum", _:
            return partial(fields.symbols, names=schema["symbols"])
        case ColumnType.BIGINT, "int" | "long", None:
            return lambda _walk, numbers: fields.integers(numbers)
        case known if known in _WRITERS:
            return _WRITERS[known]
        case type_, _, detail:
            raise UnsupportedSchemaError(
                f"field {column.field} is {kind} ({detail or 'plain'}), which cannot become {type_}"
            )


# By column type, Avro type, and what is said of that: its logical type or its items.
_WRITERS: Mapping[tuple[ColumnType, str, str | None], Callable[[Walk, Any], list[Block]]] = {
    (ColumnType.TEXT, "string", None): fields.texts,
    (ColumnType.TEXT, "string", "uuid"): fields.texts,
    (ColumnType.JSONB, "string", None): partial(fields.texts, before=b"\x01"),
    (ColumnType.UUID, "string", None): fields.uuids,
    (ColumnType.UUID, "string", "uuid"): fields.uuids,
    (ColumnType.TIMESTAMPTZ, "long", "timestamp-micros"): fields.timestamps,
    (ColumnType.DOUBLE, "double", None): fields.doubles,
    (ColumnType.BOOLEAN, "boolean", None): fields.booleans,
    (ColumnType.TEXT_ARRAY, "array", "string"): fields.text_arrays,
    (ColumnType.DOUBLE_ARRAY, "array", "double"): partial(fields.number_arrays, width=8),
    (ColumnType.REAL_ARRAY, "array", "float"): partial(fields.number_arrays, width=4),
}


def _kind(schema: Schema) -> str:
    kind = schema["type"] if isinstance(schema, dict) else schema
    # `{"type": {"type": "string"}}` is legal, and means what is inside.
    return kind if isinstance(kind, str) else _kind(kind) if isinstance(kind, dict) else "union"
