"""Shows what a dead letter holds: its event, read with the schema that it was written with, or its bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from soma_schemas.wire_format import schema_id_of
from soma_streams.delivery.decode import UndecodableError, read_body
from soma_streams.delivery.writer_schemas import WriterSchema

_BYTES_A_LINE = 16
_MOST_READS = 1_000_000


@dataclass(frozen=True, slots=True)
class Content:
    """What the value of a dead letter says.

    Attributes:
        schema_id: That the value names; None when it is not in wire format.
        record: The name of the writer's schema; None when it is not known.
        schema_version: The released version of the schema; None when it is none of ours.
        fields: The event, JSON-ready, its payload as an object where it is one; None when it cannot be read.
        fault: Why it cannot be read.
    """

    schema_id: int | None = None
    record: str | None = None
    schema_version: int | None = None
    fields: dict[str, Any] | None = None
    fault: str | None = None


def content_of(value: bytes | None, schemas: Mapping[int, WriterSchema]) -> Content:
    """Return what a value says, as far as it can be read. Never raises for what it holds.

    Args:
        value: Of the original.
        schemas: The writer schemas that the registry knows.
    """
    if value is None:
        return Content(fault="there is no value")
    schema_id = schema_id_of(value)
    if schema_id is None:
        fields = _as_json(value)
        fault = "not in wire format" if fields is None else "not in wire format, but JSON"
        return Content(fields=fields, fault=fault)
    schema = schemas.get(schema_id)
    if schema is None:
        return Content(schema_id, fault=f"the registry has no schema under id {schema_id}")
    if schema.fault is not None:
        return Content(schema_id, schema.record or None, fault=f"the schema is not read with: {schema.fault}")
    try:
        read, left = read_body(value, schema, _MOST_READS)
    except UndecodableError as error:
        return Content(schema_id, schema.record, schema.version, fault=str(error))
    if not isinstance(read, dict):
        return Content(schema_id, schema.record, schema.version, fault="the body is no record")
    excess = f"{left} bytes follow the event" if left else None
    return Content(schema_id, schema.record, schema.version, readable(read), excess)


def readable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event JSON-ready, its payload as an object where it is one."""
    shown: dict[str, Any] = json.loads(json.dumps(dict(fields), default=_plain))
    payload = shown.get("payload")
    if isinstance(payload, str) and (parsed := _as_json(payload.encode(errors="surrogatepass"))) is not None:
        shown["payload"] = parsed
    return shown


def hexdump(value: bytes, most: int) -> str:
    """Return the first bytes as lines of offset, hexadecimal and printable characters."""
    shown = value[:most]
    starts = range(0, len(shown), _BYTES_A_LINE)
    lines = [_line(start, shown[start : start + _BYTES_A_LINE]) for start in starts]
    if len(value) > most:
        lines.append(f"... and {len(value) - most:,} bytes more")
    return "\n".join(lines)


def _line(start: int, part: bytes) -> str:
    digits = part.hex(" ").ljust(_BYTES_A_LINE * 3 - 1)
    text = "".join(chr(byte) if chr(byte).isprintable() and byte < 0x7F else "." for byte in part)  # noqa: PLR2004  # the end of ASCII
    return f"{start:08x}  {digits}  {text}"


def _as_json(value: bytes) -> dict[str, Any] | None:
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _plain(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case bytes():
            return value.hex()
        case _:
            raise TypeError(f"{type(value).__name__} is no value of an event")
