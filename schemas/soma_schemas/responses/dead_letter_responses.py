"""Dead letters as the API answers them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.remedies import remedy_of


class DeadLetterStatus(StrEnum):
    """What was decided about a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


_A_DEAD_LETTER: JsonDict = {
    "id": "e1696596-6bd6-5d9b-980e-0e9cce1c7fd1",
    "status": "open",
    "status_changed_at": None,
    "first_failed_at": "2026-03-02T09:00:00.412000Z",
    "consumer_group": "soma-vectors",
    "stage": "write",
    "code": "embedding_dimensions",
    "message": "the embedding has 3 numbers, model `wordllama-256` has 256",
    "remedy": remedy_of("embedding_dimensions"),
    "attempts": 1,
    "application_version": "0.1.0",
    "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
    "position": "3:1042",
    "epoch": 1,
    "logged_at": "2026-03-02T09:00:00.123000Z",
}


class DeadLetterView(BaseModel):
    """A dead letter without its content; null where its headers do not say."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_DEAD_LETTER]})

    id: UUID = Field(description="Names the dead letter, also for `soma dlq`.")
    status: DeadLetterStatus = Field(description="Open, replayed or discarded.")
    status_changed_at: datetime | None = Field(description="When the status was changed.")
    first_failed_at: datetime | None
    consumer_group: str | None = Field(description="The sink that could not apply it.")
    stage: str | None = Field(description="`decode`, `validate` or `write`.")
    code: str = Field(description="The error, as a stable name.")
    message: str = Field(description="The error in words, without content of the memory.")
    remedy: str = Field(description="What to do about it.")
    attempts: int | None
    application_version: str | None = Field(description="Of the sink that gave up.")
    memory_id: UUID | None = Field(description="The memory that it is about.")
    position: str | None = Field(description="`partition:offset` of the event in the log.")
    epoch: int | None = Field(description="Of the log when the event lay there.")
    logged_at: datetime | None = Field(description="When the log received the event.")


class DeadLetterPage(BaseModel):
    """Some dead letters, newest first, and where the list goes on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dead_letters": [_A_DEAD_LETTER], "next_cursor": None}]}
    )

    dead_letters: list[DeadLetterView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")
