"""The models of responses in /openapi.json, and the functions that write them."""

from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from soma_api.models.json_numbers import with_one_spelling
from soma_api.queries.link_queries import Link
from soma_api.queries.memory_queries import Memory
from soma_schemas.memories import FIELDS, MemoryView
from soma_schemas.outcomes import Outcome
from soma_schemas.retention import TenantPolicies

_OPTIONS = orjson.OPT_UTC_Z
_SHOWN = tuple(name for name in MemoryView.model_fields if name in FIELDS)

_A_WRITE: JsonDict = {
    "event_id": "019cae6b-6600-7fa0-8f68-19c5e504777e",
    "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
    "position": "3:1042",
    "version": 1099511628818,
    "outcome": None,
    "reason": None,
    "status_url": "/v1/writes/3:1042",
}


class MemoryPage(BaseModel):
    """Some memories, and where the list goes on."""

    memories: list[MemoryView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")


class WriteView(BaseModel):
    """An accepted write."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_WRITE]})

    event_id: UUID = Field(description="Names the event; as `Idempotency-Key` it makes a retry harmless.")
    memory_id: UUID = Field(description="The memory that it is about.")
    position: str = Field(description="`partition:offset` in the log; readers can wait for it.")
    version: int = Field(description="What the memory's version is when this write is applied.")
    outcome: Outcome | None = Field(description="null until it is known.")
    reason: str | None = Field(description="Why the write changed nothing.")
    status_url: str = Field(description="Path that returns the outcome of the write.")


class LinkView(BaseModel):
    """An edge between two memories."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "from_memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
                    "to_memory_id": "0f5b2c1e-8a49-5d7f-9c3a-7e1d2b4c6a80",
                    "type": "about",
                    "weight": 0.8,
                }
            ]
        }
    )

    from_memory_id: UUID
    to_memory_id: UUID
    type: str
    weight: float


class LinksView(BaseModel):
    """Edges of a memory whose other end is there and covered by the key."""

    links: list[LinkView]
    truncated: bool = Field(description="There may be more than these.")


class LinkPage(BaseModel):
    """Some links, and where the list goes on."""

    links: list[LinkView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")


class NeighborView(BaseModel):
    """A memory near another, and how it was reached."""

    depth: int = Field(description="How many links away it is.")
    way: list[LinkView] = Field(description="The links that lead there, the first one first.")
    memory: MemoryView


class NeighborsView(BaseModel):
    """Memories near another, the nearest first; of equally near ones that with the heavier link."""

    neighbors: list[NeighborView]
    truncated: bool = Field(description="There may be more than these.")


class PathView(BaseModel):
    """The shortest way between two memories."""

    cost: float = Field(description="The sum over its links.")
    links: list[LinkView] = Field(description="In the order in which they are walked.")
    memories: list[MemoryView] = Field(description="Those that it passes, from one end to the other.")


class BatchView(BaseModel):
    """Writes in the order of the request."""

    writes: list[WriteView]


class WriteState(BaseModel):
    """The state of a write."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "position": "3:1042",
                    "state": "superseded",
                    "readable": True,
                    "searchable": True,
                    "reason": "version_mismatch",
                    "error_code": None,
                    "dead_letters": {},
                    "event_id": "019cae6b-6600-7fa0-8f68-19c5e504777e",
                    "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
                    "event_type": "MemoryStored",
                }
            ]
        }
    )

    readable: bool = Field(description="Reads see the outcome of the write.")
    searchable: bool = Field(description="Searches see the outcome of the write.")
    position: str
    state: str = Field(
        description="`pending`, `applied`, `superseded` or `dead_lettered`.",
        pattern="^(pending|applied|superseded|dead_lettered)$",
    )
    reason: str | None = Field(description="Why the write changed nothing.")
    error_code: str | None = Field(description="Why it was dead-lettered.")
    dead_letters: dict[str, str] = Field(description="The code of its dead letter, by consumer group.")
    event_id: UUID | None = Field(description="null while it is pending.")
    memory_id: UUID | None = Field(description="null while it is pending.")
    event_type: str | None = Field(description="null while it is pending.")


class NamespaceNode(BaseModel):
    """A namespace, and how many memories it holds with all below it."""

    namespace: str
    memories: int


class NamespaceTree(BaseModel):
    """Namespaces that hold memories, parents before children."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "namespaces": [
                        {"namespace": "assistant", "memories": 42},
                        {"namespace": "assistant/ada", "memories": 40},
                    ],
                    "truncated": False,
                }
            ]
        }
    )

    namespaces: list[NamespaceNode]
    truncated: bool = Field(description="There are more; use a prefix or a lower depth.")


class StatsView(BaseModel):
    """How much there is, as far as the key sees it."""

    memories: int
    memories_by_kind: dict[str, int]
    namespaces: int
    links: int | None = Field(description="null for a key that covers only some namespaces.")
    dead_letters: int | None = Field(description="Open ones; null likewise.")
    staleness_seconds: dict[str, float | None] = Field(
        description="Maximum age of the data, by sink; null if unknown."
    )


class IndexView(BaseModel):
    """How complete the vector index is. It is incomplete while it is being rebuilt."""

    complete: bool = Field(
        description="Whether it contains every settled event. While it does not, searches miss "
        "memories, and their staleness is unknown."
    )
    filled: float | None = Field(
        description="The share of events that it contains, from 0 to 1; null if unknown."
    )


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer in JSON."""
    body = orjson.dumps(content, option=_OPTIONS)
    return Response(body, status, headers=headers, media_type="application/json")


def link_view(link: Link) -> dict[str, Any]:
    """Return a link as `LinkView` describes it."""
    return link._asdict()


def memory_view(memory: Memory, policies: TenantPolicies, *, embeddings: bool = False) -> dict[str, Any]:
    """Return a memory as `MemoryView` describes it. The payload goes through as text.

    Args:
        memory: The memory.
        policies: In force for its tenant.
        embeddings: Whether to show its own embedding.
    """
    view = {"memory_id": memory.memory_id, "version": memory.version} | {
        name: getattr(memory.content, name) for name in _SHOWN
    }
    deadline = policies.deadline_of(memory.content)
    view["ends_at"] = None if deadline is None else deadline.at
    view["payload"] = orjson.Fragment(with_one_spelling(memory.content.payload))
    if not embeddings:
        del view["embedding"]
    return view
