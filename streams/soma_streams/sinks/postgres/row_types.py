"""The rows that a batch becomes, with the type of each field in the database."""

from typing import NamedTuple

from soma_streams.sinks.sessions import (
    Boolean,
    Double,
    DoubleArray,
    Integer,
    Json,
    Moment,
    RealArray,
    Text,
    TextArray,
    Uuid,
    UuidArray,
)


class MemoryRow(NamedTuple):
    """A memory's new state; see table memories."""

    tenant: Text
    memory_id: Uuid
    version: Integer
    deleted: Boolean
    deleted_version: Integer
    updated_at: Moment
    recent_event_ids: UuidArray
    created_at: Moment | None = None
    occurred_at: Moment | None = None
    expires_at: Moment | None = None
    last_accessed_at: Moment | None = None
    access_count: Integer | None = None
    importance: Double | None = None
    namespace: Text | None = None
    key: Text | None = None
    coordinate: DoubleArray | None = None
    kind: Text | None = None
    text: Text | None = None
    payload: Json | None = None
    tags: TextArray | None = None
    embedding: RealArray | None = None
    embedding_model: Text | None = None
    subject: Text | None = None
    actor: Text | None = None


class LinkRow(NamedTuple):
    """The last word on an edge; see table memory_links."""

    tenant: Text
    from_memory_id: Uuid
    link_type: Text
    to_memory_id: Uuid
    weight: Double | None
    version: Integer
    deleted: Boolean
    recent_event_ids: UuidArray


class HistoryRow(NamedTuple):
    """What became of an event; see table memory_history."""

    partition: Integer
    version: Integer
    logged_at: Moment
    outcome: Text
    tenant: Text | None
    memory_id: Uuid | None
    reason: Text | None = None
    error_code: Text | None = None
    occurred_at: Moment | None = None
    event_id: Uuid | None = None
    event_type: Text | None = None
    namespace: Text | None = None
    actor: Text | None = None
    content: Json | None = None
