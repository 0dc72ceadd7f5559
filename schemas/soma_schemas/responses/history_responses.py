"""Histories as the API answers them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from soma_schemas.fields import Kind
from soma_schemas.outcomes import Outcome


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

    memory_id: UUID
    version: int
    logged_at: datetime = Field(description="When the log received the event.")
    actor: str | None = Field(description="Who or what caused it.")
    memory: RevisionMemory
