"""Queries about dead letters, and the function that shows them."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from soma_api.models.query_parameters import DEFAULT_PAGE_SIZE, PageSize
from soma_api.queries.dead_letter_queries import DeadLetter, DeadLetterFilters
from soma_schemas.dead_letters import Stage
from soma_schemas.fields import Moment, StorableString
from soma_schemas.remedies import remedy_of
from soma_schemas.responses.dead_letter_responses import DeadLetterStatus
from soma_schemas.versions import Position


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
