"""The models of queries and responses about dead letters."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_api.models.query_parameters import DEFAULT_PAGE_SIZE, PageSize
from soma_api.queries.dead_letter_queries import DeadLetter, DeadLetterFilters
from soma_schemas.dead_letters import Stage
from soma_schemas.fields import Moment, StorableString
from soma_schemas.remedies import remedy_of
from soma_schemas.versions import Position


class DeadLetterStatus(StrEnum):
    """What was decided about a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class ListedStatus(StrEnum):
    """Which letters a list holds, by what was decided about them."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    ALL = "all"


class DeadLetterQuery(BaseModel):
    """Filters and page of a list of dead letters. Omitted fields do not filter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: ListedStatus = Field(ListedStatus.OPEN, description="Open, decided about, or all.")
    consumer_group: Annotated[StorableString, Field(min_length=1)] | None = Field(
        None, description="Of this consumer group.", examples=["soma-vectors"]
    )
    stage: Stage | None = Field(None, description="Failed at this stage.")
    code: Annotated[StorableString, Field(min_length=1)] | None = Field(
        None, description="Failed with this code.", examples=["too_long"]
    )
    memory_id: UUID | None = Field(None, description="About this memory.")
    failed_from: Moment | None = Field(None, description="First failed at this time or later.")
    failed_before: Moment | None = Field(None, description="First failed before this time.")
    limit: PageSize = Field(DEFAULT_PAGE_SIZE, description="Dead letters on a page.")
    cursor: str | None = Field(
        None, max_length=1024, description="`next_cursor` of the page before, with the same filters."
    )

    def filters(self) -> DeadLetterFilters:
        """Return what to ask the database."""
        wanted = list(DeadLetterStatus) if self.status is ListedStatus.ALL else [self.status]
        return DeadLetterFilters(
            statuses=[status.value for status in wanted],
            consumer_group=self.consumer_group,
            stage=None if self.stage is None else self.stage.value,
            code=self.code,
            memory_id=self.memory_id,
            failed_from=self.failed_from,
            failed_before=self.failed_before,
        )

    def signature(self) -> dict[str, Any]:
        """Return what a cursor of this list belongs to: everything but the page."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)


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


def dead_letter_view(dead_letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter as `DeadLetterView` describes it."""
    view = dead_letter._asdict()
    partition, offset = view.pop("partition"), view.pop("log_offset")
    epoch = dead_letter.epoch
    return view | {
        "remedy": remedy_of(dead_letter.code),
        "position": None
        if partition is None or offset is None or epoch is None
        else str(Position(partition, offset, epoch)),
    }
