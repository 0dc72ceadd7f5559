"""A schema with a field for every column, records of it, and the rows that psycopg makes of them."""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.json import Jsonb

from soma_streams.transcoding import Column, ColumnType, Given

HEADER = b"\x00\x00\x00\x00\x07"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = ["EPISODIC", "SEMANTIC", "BOTH"]
_TYPES: dict[str, tuple[ColumnType, Any]] = {
    "text": (ColumnType.TEXT, "string"),
    "kind": (ColumnType.TEXT, {"type": "enum", "name": "Kind", "symbols": _KINDS}),
    "id": (ColumnType.UUID, {"type": "string", "logicalType": "uuid"}),
    "count": (ColumnType.BIGINT, "long"),
    "weight": (ColumnType.DOUBLE, "double"),
    "flag": (ColumnType.BOOLEAN, "boolean"),
    "at": (ColumnType.TIMESTAMPTZ, {"type": "long", "logicalType": "timestamp-micros"}),
    "payload": (ColumnType.JSONB, "string"),
    "tags": (ColumnType.TEXT_ARRAY, {"type": "array", "items": "string"}),
    "place": (ColumnType.DOUBLE_ARRAY, {"type": "array", "items": "double"}),
    "vector": (ColumnType.REAL_ARRAY, {"type": "array", "items": "float"}),
}
_IGNORED = {
    "secret": "bytes",
    "small": "int",
    "hash": {"type": "fixed", "name": "Hash", "size": 3},
    "f": "float",
}


def _optional(field: str, schema: Any) -> Any:
    # An enum cannot be defined twice, only named again.
    return ["null", "Kind" if field == "kind" else schema]


SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Everything",
        "fields": [
            *({"name": name, "type": schema} for name, (_, schema) in _TYPES.items()),
            *({"name": name, "type": schema} for name, schema in _IGNORED.items()),
            *({"name": f"maybe_{name}", "type": _optional(name, s)} for name, (_, s) in _TYPES.items()),
            {"name": "maybe_small", "type": ["int", "null"]},
        ],
    }
)
COLUMNS: tuple[Column | Given, ...] = (
    Given(),
    *(Column(f"maybe_{name}", type_) for name, (type_, _) in _TYPES.items()),
    *(Column(name, type_) for name, (type_, _) in reversed(_TYPES.items())),
)
_PARSED = fastavro.parse_schema(json.loads(SCHEMA))

_texts = st.text(max_size=300)
_json = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=80), max_size=3)
_finite = st.floats(allow_nan=False)
_values: dict[str, st.SearchStrategy[Any]] = {
    "text": _texts,
    "kind": st.sampled_from(_KINDS),
    "id": st.uuids(),
    "count": st.integers(-(2**63), 2**63 - 1),
    "weight": _finite,
    "flag": st.booleans(),
    "at": st.datetimes(timezones=st.just(UTC)),
    "payload": _json.map(lambda value: json.dumps(value, ensure_ascii=False)),
    "tags": st.lists(st.text(max_size=20), max_size=70),
    "place": st.lists(_finite, max_size=4),
    "vector": st.lists(st.floats(width=32, allow_nan=False), max_size=10),
}
RECORDS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        **_values,
        **{f"maybe_{name}": st.none() | values for name, values in _values.items()},
        "secret": st.binary(max_size=200),
        "small": st.integers(-(2**31), 2**31 - 1),
        "hash": st.binary(min_size=3, max_size=3),
        "f": st.floats(width=32),
        "maybe_small": st.none() | st.integers(-(2**31), 2**31 - 1),
    }
)


def encoded(record: Mapping[str, Any]) -> bytes:
    """The record as it lies in the log."""
    body = io.BytesIO()
    body.write(HEADER)
    fastavro.schemaless_writer(body, _PARSED, dict(record))
    return body.getvalue()


def expected_rows(records: Sequence[Mapping[str, Any]], given: Sequence[int]) -> bytes:
    """The rows that psycopg makes."""
    transformer = Transformer()
    transformer.set_dumper_types([_oid(column) for column in COLUMNS], Format.BINARY)
    rows = b""
    for record, number in zip(records, given, strict=True):
        values = [
            number if isinstance(column, Given) else _python(column, record[column.field])
            for column in COLUMNS
        ]
        rows += struct.pack(">h", len(values))
        for field in transformer.dump_sequence(values, []):
            rows += struct.pack(">i", -1) if field is None else struct.pack(">i", len(field)) + bytes(field)
    return rows


def micros(moment: datetime) -> int:
    """The number that Avro has for a time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _oid(column: Column | Given) -> int:
    name = "bigint" if isinstance(column, Given) else column.type.value
    info = types[name.removesuffix("[]")]
    return info.array_oid if name.endswith("[]") else info.oid


def _python(column: Column, value: Any) -> Any:
    if column.type is ColumnType.JSONB and value is not None:
        return Jsonb(value, dumps=str)
    return value
