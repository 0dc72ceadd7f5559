"""What a point carries beside its vectors: fields that filters need, and the exact state as one text.

Engines keep a floating-point number only to its last digit but one, and each value costs them time. So the
state is one JSON text that comes back byte for byte, and everything that filters ask by equality is one text
too: its words are the labels of the point, each spelt in hexadecimal digits, which no tokenizer takes apart.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from soma_schemas.memories import EQUAL, FIELDS, MOMENTS, Content, content_of
from soma_schemas.moments import micros, of_micros
from soma_schemas.namespaces import ancestors
from soma_schemas.vectors.numbers import encoded
from soma_schemas.vectors.terms import filter_number, filterable

TENANT: Final = "tenant"
VERSION: Final = "version"
DELETED_AT: Final = "deleted_at"
LABELS: Final = "labels"
IMPORTANCE: Final = "importance"
OCCURRED_AT: Final = "occurred_at"
CREATED_AT: Final = "created_at"
UPDATED_AT: Final = "updated_at"
EXPIRES_AT: Final = "expires_at"
DIMENSIONS: Final = "coordinate_dimensions"
NUMBER_HIGHS: Final = "number_highs"
NUMBER_LOWS: Final = "number_lows"
DOCUMENT: Final = "document"
EMBEDDING: Final = "embedding"

# Of longer coordinates the rest lies with the numbers of the payload.
INDEXED_AXES: Final = 4

# Fields that a memory may lack, of which no number field of the point tells.
_OPTIONAL: Final = ("key", "subject", "source", "tags")

# What of the content lies in the document; the embedding has a field of its own.
_IN_DOCUMENT: Final = tuple(name for name in FIELDS if name != EMBEDDING)


class StoredMemory(NamedTuple):
    """What a point says of its memory.

    Attributes:
        recent_event_ids: The last events applied, newest first, as text.
        content: None for a tombstone.
    """

    memory_id: UUID
    recent_event_ids: Sequence[str]
    content: Content | None


def tenant_label(tenant: str) -> str:
    """Return the label of every living memory of a tenant."""
    return _label("in", tenant)


def prefix_label(tenant: str, namespace: str) -> str:
    """Return the label of every living memory in a namespace or below it."""
    return _label("in", f"{tenant}/{namespace}")


def namespace_label(tenant: str, namespace: str) -> str:
    """Return the label of every living memory in exactly this namespace."""
    return _label("in", f"{tenant}/{namespace}/")


def equal_label(name: str, value: str) -> str:
    """Return the label of memories that have this value in a field of `soma_schemas.memories.EQUAL`."""
    return _label(name, value)


def tag_label(tag: str) -> str:
    """Return the label of memories with this tag."""
    return _label("tag", tag)


def term_label(term: str) -> str:
    """Return the label of memories whose payload has this term."""
    return _label("payload", term)


def presence_label(name: str) -> str:
    """Return the label of memories that have something in a field which others lack."""
    return _label("has", name)


def axis_field(axis: int) -> str:
    """Return the field of one number of a coordinate, counted from 0, that has an index of its own."""
    return f"coordinate_{axis}"


def axis_name(axis: int) -> str:
    """Return the name among a point's numbers of a later one. No payload has a name with a NUL."""
    return f"\0coordinate_{axis}"


def living_payload(
    *, tenant: str, memory_id: UUID, version: int, recent_event_ids: Sequence[UUID], content: Content
) -> dict[str, Any]:
    """Return the payload of a living memory's point.

    Labels of places hold tenant and namespace in one: the tenant, every ancestor and the namespace below it,
    and the exact namespace with a slash after it. No tenant has a slash and no segment is empty, so none can
    be taken for another; and a tombstone has no labels, so no reader can meet one.
    """
    namespace = content.namespace
    terms, numbers = filterable(content.payload)
    payload: dict[str, Any] = {
        TENANT: tenant,
        VERSION: version,
        IMPORTANCE: filter_number(content.importance),
        OCCURRED_AT: micros(content.occurred_at),
        CREATED_AT: micros(content.created_at),
        UPDATED_AT: micros(content.updated_at),
        DOCUMENT: _document(memory_id, recent_event_ids, content),
    }
    labels = [
        *_places(tenant, namespace),
        *(equal_label(name, value) for name in EQUAL if (value := getattr(content, name)) is not None),
        *map(tag_label, content.tags),
        *(presence_label(name) for name in _OPTIONAL if getattr(content, name)),
    ]
    # Its own deadline; most memories have none, and an index that they are in would cost them.
    if content.expires_at is not None:
        payload[EXPIRES_AT] = micros(content.expires_at)
    if content.coordinate is not None:
        payload[DIMENSIONS] = len(content.coordinate)
        for axis, at in enumerate(content.coordinate):
            if axis < INDEXED_AXES:
                payload[axis_field(axis)] = filter_number(at)
            else:
                numbers.append((axis_name(axis), filter_number(at)))
    if numbers:
        of_numbers = encoded(numbers)
        terms += of_numbers.marks
        payload |= {NUMBER_HIGHS: of_numbers.highs, NUMBER_LOWS: of_numbers.lows}
    labels += map(term_label, terms)
    payload[LABELS] = " ".join(labels)
    if content.embedding is not None:
        payload[EMBEDDING] = _packed(content.embedding)
    return payload


def tombstone_payload(
    *, tenant: str, memory_id: UUID, version: int, recent_event_ids: Sequence[UUID], deleted_at: datetime
) -> dict[str, Any]:
    """Return the payload of a deleted memory's point: ids and version, no content.

    `deleted_at` is when the log received the memory's end: it decides when the tombstone itself may go.
    """
    return {
        TENANT: tenant,
        VERSION: version,
        DELETED_AT: micros(deleted_at),
        DOCUMENT: _document(memory_id, recent_event_ids, None),
    }


def memory_of(payload: Mapping[str, Any]) -> StoredMemory:
    """Return what a point says of its memory.

    Where `embedding` was not read along with `document`, it is None.
    """
    document: dict[str, Any] = orjson.loads(payload[DOCUMENT])
    fields = document["content"]
    content = None
    if fields is not None:
        for name in MOMENTS:
            if fields.get(name) is not None:
                fields[name] = of_micros(fields[name])
        packed = payload.get(EMBEDDING)
        fields[EMBEDDING] = _unpacked(packed) if packed is not None else None
        # What another version wrote may lack a field, and may have more.
        content = content_of([fields.get(name) for name in FIELDS])
    # JSON has no types; a property holds the round trip.
    return StoredMemory(UUID(document["memory_id"]), document["recent_event_ids"], content)


# A process meets the same namespaces again and again.
@lru_cache(256)
def _places(tenant: str, namespace: str) -> Sequence[str]:
    prefixes = [prefix_label(tenant, prefix) for prefix in ancestors(namespace)]
    return tenant_label(tenant), *prefixes, namespace_label(tenant, namespace)


def _label(kind: str, value: str) -> str:
    return f"{kind}:{value}".encode().hex()


def _document(memory_id: UUID, recent_event_ids: Sequence[UUID], content: Content | None) -> str:
    fields: dict[str, Any] | None = None
    if content is not None:
        fields = {name: getattr(content, name) for name in _IN_DOCUMENT}
        for name in MOMENTS:
            if fields[name] is not None:
                fields[name] = micros(fields[name])
    document = {"memory_id": memory_id, "recent_event_ids": recent_event_ids, "content": fields}
    return orjson.dumps(document).decode()


def _packed(numbers: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}d", *numbers)).decode()


def _unpacked(text: str) -> tuple[float, ...]:
    data = base64.b64decode(text)
    return struct.unpack(f"<{len(data) // 8}d", data)
