"""Builders of states and points that say only what matters."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.points import Point
from soma_schemas.vectors.text import indexed_text
from soma_streams.delivery.state import MemoryName, MemoryState
from soma_streams.sinks.vectors.states import living_point, tombstone

A_MOMENT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
A_COLLECTION = Collection("memories", "test-model", 4)
AN_AXIS = (1.0, 0.0, 0.0, 0.0)

_BM25 = Bm25Encoder()
_ids = count(1)


def a_memory_id() -> UUID:
    """A fresh id; a counter, so that a failure comes back."""
    return UUID(int=0x7000_8000_0000_0000_0000 + next(_ids))


def a_content(**fields: Any) -> Content:
    """What a memory holds."""
    values: dict[str, Any] = {
        "namespace": "team/notes",
        "key": None,
        "coordinate": None,
        "kind": Kind.EPISODIC,
        "text": "tea at four",
        "payload": "{}",
        "tags": (),
        "importance": 0.5,
        "embedding": None,
        "embedding_model": None,
        "subject": None,
        "source": None,
        "expires_at": None,
        "occurred_at": A_MOMENT,
        "actor": "tester",
        "created_at": A_MOMENT + timedelta(days=1),
        "updated_at": A_MOMENT + timedelta(days=2),
    }
    return Content(**values | fields)


def a_state(
    *, tenant: str = "acme", memory_id: UUID | None = None, version: int = 100, **content: Any
) -> MemoryState:
    """A living memory."""
    name = MemoryName(tenant, memory_id or a_memory_id())
    return MemoryState(name, version, a_content(**content), (UUID(int=version),))


def a_point(
    *,
    tenant: str = "acme",
    memory_id: UUID | None = None,
    version: int = 100,
    dense: tuple[float, ...] | None = AN_AXIS,
    bm25: Bm25Encoder = _BM25,
    **content: Any,
) -> Point:
    """The point of a living memory; its words are those of its text."""
    state = a_state(tenant=tenant, memory_id=memory_id, version=version, **content)
    held = state.content
    assert held is not None
    text = indexed_text(held.text, held.occurred_at, held.key, held.tags)
    return living_point(state, held, dense, bm25.document(text))


def a_tombstone(*, tenant: str = "acme", memory_id: UUID | None = None, version: int = 100) -> Point:
    """The point of a deleted memory."""
    name = MemoryName(tenant, memory_id or a_memory_id())
    return tombstone(MemoryState(name, version, None, (UUID(int=version),)), A_MOMENT)
