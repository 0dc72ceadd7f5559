"""Writes as the API answers them."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.outcomes import Outcome

_A_WRITE: JsonDict = {
    "event_id": "019cae6b-6600-7fa0-8f68-19c5e504777e",
    "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
    "position": "3:1042",
    "version": 1099511628818,
    "outcome": None,
    "reason": None,
    "status_url": "/v1/writes/3:1042",
}


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


class BatchView(BaseModel):
    """Writes in the order of the request."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"writes": [_A_WRITE]}]})

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
