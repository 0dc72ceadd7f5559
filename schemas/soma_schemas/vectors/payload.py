"""What a point carries beside its vectors: filter fields for the engine, and the exact state as one text.

Engines keep a floating-point number only to its last digit but one, and each value costs them time. So the
state is one JSON text that comes back byte for byte, and beside it stand only the fields that filters need.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict, cast
from uuid import UUID

import orjson

from soma_schemas.fields import Kind
from soma_schemas.moments import micros, of_micros
from soma_schemas.namespaces import ancestors
from soma_schemas.vectors.numbers import encoded
from soma_schemas.vectors.terms import filter_number, filterable

TENANT: Final = "tenant"
MEMORY_ID: Final = "memory_id"
VERSION: Final = "version"
RECENT_EVENT_IDS: Final = "recent_event_ids"
DELETED_AT: Final = "deleted_at"
WITHIN: Final = "within"
KEY: Final = "key"
KIND: Final = "kind"
TAGS: Final = "tags"
SUBJECT: Final = "subject"
IMPORTANCE: Final = "importance"
OCCURRED_AT: Final = "occurred_at"
CREATED_AT: Final = "created_at"
UPDATED_AT: Final = "updated_at"
DIMENSIONS: Final = "coordinate_dimensions"
TERMS: Final = "payload_terms"
NUMBER_HIGHS: Final = "number_highs"
NUMBER_LOWS: Final = "number_lows"
CONTENT: Final = "content"
EMBEDDING: Final = "embedding"

# Of longer coordinates the rest lies with the numbers of the payload.
INDEXED_AXES: Final = 4

_MOMENTS = ("expires_at", "occurred_at", "created_at", "updated_at", "last_accessed_at")


class StoredContent(TypedDict):
    """What a living memory holds, as `soma_streams.delivery.state.Content` names it."""

    namespace: str
    key: str | None
    coordinate: tuple[float, ...] | None
    kind: Kind
    text: str
    payload: str
    tags: tuple[str, ...]
    importance: float
    embedding: tuple[float, ...] | None
    embedding_model: str | None
    subject: str | None
    expires_at: datetime | None
    occurred_at: datetime
    actor: str
    created_at: datetime
    updated_at: datetime
    access_count: int
    last_accessed_at: datetime | None


def tenant_scope(tenant: str) -> str:
    """Return what `within` holds for every living memory of a tenant."""
    return tenant


def prefix_scope(tenant: str, namespace: str) -> str:
    """Return what `within` holds for every living memory in a namespace or below it."""
    return f"{tenant}/{namespace}"


def namespace_scope(tenant: str, namespace: str) -> str:
    """Return what `within` holds for every living memory in exactly this namespace."""
    return f"{tenant}/{namespace}/"


def axis_field(axis: int) -> str:
    """Return the field of one number of a coordinate, counted from 0, that has an index of its own."""
    return f"coordinate_{axis}"


def axis_name(axis: int) -> str:
    """Return the name among a point's numbers of a later one. No payload has a name with a NUL."""
    return f"\0coordinate_{axis}"


def living_payload(
    *, tenant: str, memory_id: UUID, version: int, recent_event_ids: Sequence[UUID], content: StoredContent
) -> dict[str, Any]:
    """Return the payload of a living memory's point.

    `within` holds tenant and namespace in one: the tenant, every ancestor and the namespace below it, and the
    exact namespace with a slash after it. No tenant has a slash and no segment is empty, so none can be taken
    for another; and a tombstone has no `within`, so no reader can meet one.
    """
    namespace = content["namespace"]
    terms, numbers = filterable(content["payload"])
    payload: dict[str, Any] = _identity(tenant, memory_id, version, recent_event_ids) | {
        WITHIN: [
            tenant_scope(tenant),
            *(prefix_scope(tenant, prefix) for prefix in ancestors(namespace)),
            namespace_scope(tenant, namespace),
        ],
        KIND: content["kind"].value,
        IMPORTANCE: filter_number(content["importance"]),
        OCCURRED_AT: micros(content["occurred_at"]),
        CREATED_AT: micros(content["created_at"]),
        UPDATED_AT: micros(content["updated_at"]),
        CONTENT: _encoded(content),
    }
    if content["key"] is not None:
        payload[KEY] = content["key"]
    if content["tags"]:
        payload[TAGS] = list(content["tags"])
    if content["subject"] is not None:
        payload[SUBJECT] = content["subject"]
    if content["coordinate"] is not None:
        payload[DIMENSIONS] = len(content["coordinate"])
        for axis, at in enumerate(content["coordinate"]):
            if axis < INDEXED_AXES:
                payload[axis_field(axis)] = filter_number(at)
            else:
                numbers[axis_name(axis)] = at
    if numbers:
        of_numbers = encoded(numbers)
        terms += of_numbers.marks
        payload |= {NUMBER_HIGHS: of_numbers.highs, NUMBER_LOWS: of_numbers.lows}
    if terms:
        payload[TERMS] = terms
    if content["embedding"] is not None:
        payload[EMBEDDING] = _packed(content["embedding"])
    return payload


def tombstone_payload(
    *, tenant: str, memory_id: UUID, version: int, recent_event_ids: Sequence[UUID], deleted_at: datetime
) -> dict[str, Any]:
    """Return the payload of a deleted memory's point: ids and version, no content.

    `deleted_at` is when the log received the memory's end: it decides when the tombstone itself may go.
    """
    return _identity(tenant, memory_id, version, recent_event_ids) | {DELETED_AT: micros(deleted_at)}


def content_of(payload: Mapping[str, Any]) -> StoredContent | None:
    """Return what a point's memory holds, or None for a tombstone.

    Where `embedding` was not read along with `content`, it is None.
    """
    text = payload.get(CONTENT)
    if text is None:
        return None
    fields: dict[str, Any] = orjson.loads(text)
    for name in _MOMENTS:
        if fields[name] is not None:
            fields[name] = of_micros(fields[name])
    coordinate, packed = fields["coordinate"], payload.get(EMBEDDING)
    fields |= {
        "kind": Kind(fields["kind"]),
        "tags": tuple(fields["tags"]),
        "coordinate": tuple(coordinate) if coordinate is not None else None,
        "embedding": _unpacked(packed) if packed is not None else None,
    }
    # JSON has no types; a property holds the round trip.
    return cast("StoredContent", fields)


def recent_event_ids_of(payload: Mapping[str, Any]) -> tuple[UUID, ...]:
    """Return the last events applied, newest first."""
    return tuple(UUID(text) for text in payload[RECENT_EVENT_IDS].split())


def _identity(tenant: str, memory_id: UUID, version: int, recent_event_ids: Sequence[UUID]) -> dict[str, Any]:
    return {
        TENANT: tenant,
        MEMORY_ID: str(memory_id),
        VERSION: version,
        # One text: sixteen of them cost the embedded engine as much as all other fields together.
        RECENT_EVENT_IDS: " ".join(map(str, recent_event_ids)),
    }


def _encoded(content: StoredContent) -> str:
    fields: dict[str, Any] = {**content}
    del fields["embedding"]
    for name in _MOMENTS:
        if fields[name] is not None:
            fields[name] = micros(fields[name])
    return orjson.dumps(fields).decode()


def _packed(numbers: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}d", *numbers)).decode()


def _unpacked(text: str) -> tuple[float, ...]:
    data = base64.b64decode(text)
    return struct.unpack(f"<{len(data) // 8}d", data)
