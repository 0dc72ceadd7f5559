"""States as points and back: pure, and exact in both directions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from qdrant_edge import SparseVector

from soma_schemas.memories import Content
from soma_schemas.vectors.payload import (
    TENANT,
    VERSION,
    living_payload,
    memory_of,
    tombstone_payload,
)
from soma_schemas.vectors.points import Point, point_id
from soma_streams.delivery.state import MemoryName, MemoryState


def id_of(name: MemoryName) -> UUID:
    """Return the id of a memory's point."""
    return point_id(name.tenant, name.memory_id)


def living_point(
    state: MemoryState, content: Content, dense: Sequence[float] | None, sparse: SparseVector | None
) -> Point:
    """Return the point of a living memory.

    Raises:
        UnfitVectorError: The dense vector is not finite or not of length one.
    """
    payload = living_payload(
        tenant=state.name.tenant,
        memory_id=state.name.memory_id,
        version=state.version,
        recent_event_ids=state.recent_event_ids,
        content=content,
    )
    return Point(id_of(state.name), state.version, payload, dense, sparse)


def tombstone(state: MemoryState, deleted_at: datetime) -> Point:
    """Return the point of a deleted memory: no vectors, no content, but a version to guard with."""
    payload = tombstone_payload(
        tenant=state.name.tenant,
        memory_id=state.name.memory_id,
        version=state.version,
        recent_event_ids=state.recent_event_ids,
        deleted_at=deleted_at,
    )
    return Point(id_of(state.name), state.version, payload, dense=None, sparse=None)


def state_of(payload: Mapping[str, Any]) -> MemoryState:
    """Return the state that a point's payload carries."""
    memory_id, recent_event_ids, content = memory_of(payload)
    return MemoryState(
        name=MemoryName(payload[TENANT], memory_id),
        version=payload[VERSION],
        content=content,
        recent_event_ids=tuple(map(UUID, recent_event_ids)),
    )
