"""The models of the stream of changes, and the functions that write its messages."""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from soma_api.change_feed import Place
from soma_api.models.responses import memory_view
from soma_api.problems import ApiError, problem_of
from soma_api.queries.change_queries import AppliedChange
from soma_api.queries.memory_queries import Memory
from soma_schemas.memories import MemoryView
from soma_schemas.retention import TenantPolicies


class AppliedChangeView(BaseModel):
    """An event that was applied: the `data` of a message of the stream."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_type": "MemoryDeleted",
                    "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
                    "namespace": "team/notes",
                    "version": 1099511628818,
                    "position": "3:1042",
                    "event_id": "019cae6b-6600-7fa0-8f68-19c5e504777e",
                    "actor": "key:k3x9",
                    "logged_at": "2026-03-02T09:00:00Z",
                    "memory": None,
                }
            ]
        }
    )

    event_type: str = Field(description="As the log names it, e.g. `MemoryStored`.")
    memory_id: UUID = Field(description="About which memory; of a link, where it begins.")
    namespace: str | None
    version: int = Field(description="Of the memory, or of the link, from this event on.")
    position: str = Field(description="Where in the log it was applied.")
    event_id: UUID
    actor: str = Field(description="Who or what caused it.")
    logged_at: datetime = Field(description="When the log received the event.")
    memory: MemoryView | None = Field(
        description="What the memory is now, which can be newer than this change. null when it is gone, and "
        "when a later change of the same message block has it."
    )


def change_message(change: AppliedChange, memory: Memory | None, policies: TenantPolicies) -> bytes:
    """Return a change as a message of `text/event-stream`, with `AppliedChangeView` as its data.

    The format is that of the HTML standard, section 9.2.5, "Parsing an event stream".

    Args:
        change: The change.
        memory: What is shown of the memory, if anything.
        policies: In force for its tenant.
    """
    data = {
        "event_type": change.event_type,
        "memory_id": change.memory_id,
        "namespace": change.namespace,
        "version": change.version,
        "position": str(change.position),
        "event_id": change.event_id,
        "actor": change.actor,
        "logged_at": change.logged_at,
        "memory": None if memory is None else memory_view(memory, policies),
    }
    return b"event: change\ndata: " + _json(data) + b"\n\n"


def place_message(place: Place) -> bytes:
    """Return the message that has clients remember a place, and tells them nothing."""
    return f"id: {place}\n\n".encode()


def end_message(error: ApiError, request_id: str) -> bytes:
    """Return the last message of a stream that cannot go on: the problem that a request would get."""
    return b"event: end\ndata: " + _json(problem_of(error, request_id)) + b"\n\n"


def _json(data: Any) -> bytes:
    # JSON has no line break outside of strings, and escapes those in them.
    return orjson.dumps(data, option=orjson.OPT_UTC_Z)
