"""Histories as the API answers them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.fields import Kind
from soma_schemas.memories import A_MEMORY
from soma_schemas.outcomes import Outcome

_AN_EVENT: JsonDict = {
    "version": 1099511628818,
    "event_id": "019cae6b-6600-7fa0-8f68-19c5e504777e",
    "event_type": "MemoryPatched",
    "outcome": "applied",
    "reason": None,
    "error_code": None,
    "actor": "key:fb3686b0e4e9e8ba",
    "occurred_at": "2026-03-02T09:00:00Z",
    "logged_at": "2026-03-02T09:00:00.123000Z",
    "changes": [{"field": "importance", "before": 0.5, "after": 0.7}],
}


class ChangeView(BaseModel):
    """A field that an event changed; null is a field that was, or is, not there."""

    field: str
    before: Any
    after: Any


class HistoryEventView(BaseModel):
    """An event about a memory, and what became of it."""

    version: int = Field(description="Of the memory from this event on, if it was applied.")
    event_id: UUID | None
    event_type: str | None = Field(description="null of what could not be read.")
    outcome: Outcome
    reason: str | None = Field(description="Why it was superseded.")
    error_code: str | None = Field(description="Why it was dead-lettered.")
    actor: str | None = Field(description="Who or what caused it.")
    occurred_at: datetime | None = Field(description="When it happened, by the producer's word.")
    logged_at: datetime = Field(description="When the log received it.")
    changes: list[ChangeView] | None = Field(
        description="What it changed; null where the history does not reach back to what was before."
    )


class HistoryPage(BaseModel):
    """Events about a memory, the newest first, and where the list goes on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": [_AN_EVENT], "next_cursor": None}]})

    events: list[HistoryEventView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")


class RevisionMemory(BaseModel):
    """What a memory said at a time."""

    namespace: str
    key: str | None
    coordinate: list[float] | None
    kind: Kind
    text: str
    payload: dict[str, Any]
    tags: list[str]
    importance: float
    embedding_model: str | None = Field(
        description="Set when the embedding came with the memory; the history does not keep the vector."
    )
    subject: str | None
    source: str | None
    expires_at: datetime | None
    occurred_at: datetime


class RevisionView(BaseModel):
    """A memory as it was from an event on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
                    "version": 1099511628818,
                    "logged_at": "2026-03-02T09:00:00.123000Z",
                    "actor": "key:fb3686b0e4e9e8ba",
                    "memory": {name: A_MEMORY[name] for name in RevisionMemory.model_fields},
                }
            ]
        }
    )

    memory_id: UUID
    version: int
    logged_at: datetime = Field(description="When the log received the event.")
    actor: str | None = Field(description="Who or what caused it.")
    memory: RevisionMemory
