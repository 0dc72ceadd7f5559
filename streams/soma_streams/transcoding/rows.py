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
from .finder import FieldFinder, Found, Schema, kind_of
from .walk import Numbers, Walk

COPY_BEGIN = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_END = b"\xff\xff"


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
        self._finder = FieldFinder(record, skip=skip)
        self._columns = tuple(columns)
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
        walk, found = self._finder.find(values)
        if walk.sound.all():
            blocks = self._blocks(walk, found, given)
            if walk.sound.all():
                return Rows(fields.joined(blocks, len(values)), ())
        return self._without_broken(walk, values, given)

    def _blocks(self, walk: Walk, found: Mapping[str, Found], given: Sequence[Sequence[int]]) -> list[Block]:
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


def _writer(types: Mapping[str, Schema], column: Column) -> Callable[[Walk, Any], list[Block]]:
    """Return what writes a field into its column."""
    if column.field not in types:
        raise UnsupportedSchemaError(f"the schema has no field {column.field}")
    schema = types[column.field]
    if isinstance(schema, list):
        schema = next(branch for branch in schema if branch != "null")
    kind = kind_of(schema)
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    items = kind_of(schema["items"]) if kind == "array" else None
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
