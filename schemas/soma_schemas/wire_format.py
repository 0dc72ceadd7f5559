"""Confluent's wire format: a value begins with a zero and the id of the schema it was written with."""

import struct

_MAGIC = 0
_HEADER = struct.Struct(">BI")

HEADER_BYTES = _HEADER.size


def wire_header(schema_id: int) -> bytes:
    """Return what values begin with that are written under a schema."""
    return _HEADER.pack(_MAGIC, schema_id)


def schema_id_of(value: bytes) -> int | None:
    """Return the schema id that a value begins with, or None when it is not in wire format."""
    if len(value) < HEADER_BYTES or value[0] != _MAGIC:
        return None
    schema_id: int = _HEADER.unpack_from(value)[1]
    return schema_id
