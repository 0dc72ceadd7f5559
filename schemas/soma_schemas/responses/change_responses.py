"""The data of messages of the stream of changes."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from soma_schemas.memories import MemoryView


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
