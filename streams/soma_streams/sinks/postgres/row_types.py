"""The rows that a batch becomes, with the type of each field in the database."""

from typing import Annotated, Any, NamedTuple

from soma_schemas.memories import FIELDS
from soma_streams.sinks.sessions import (
    Boolean,
    Double,
    Integer,
    Json,
    Moment,
    Text,
    Uuid,
    UuidArray,
)

Row = tuple[Any, ...]

# What a tombstone has not.
CONTENT = tuple(name for name in FIELDS if name != "updated_at")

# A memory's new state; see table memories.
MemoryRow: type[Row] = type(
    "MemoryRow",
    (tuple,),
    {
        "__annotations__": {
            "tenant": Text,
            "memory_id": Uuid,
            "version": Integer,
            "deleted": Boolean,
            "deleted_version": Integer,
            "updated_at": Moment,
            "recent_event_ids": UuidArray,
            **{name: Annotated[Any, FIELDS[name].column] | None for name in CONTENT},
        }
    },
)


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


class OutboxRow(NamedTuple):
    """The last state of a memory that expired; see table outbox."""

    tenant: Text
    memory_id: Uuid
    event_id: Uuid
    content: Json


class ReplayRow(NamedTuple):
    """Where an event was applied as a replayed dead letter; see table memory_replays."""

    at_partition: Integer
    at_version: Integer
    tenant: Text
    partition: Integer
    version: Integer
    logged_at: Moment


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
