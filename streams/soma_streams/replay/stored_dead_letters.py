"""What is known of dead letters, which of them are meant, and what is done about them: values alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID


class Status(StrEnum):
    """What was decided about a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter as the index has it; None where its headers do not say.

    Attributes:
        topic: Where the original lay, like the three below and `logged_at`, when the log received it.
        dlq_partition: Where the dead letter lies in the dead-letter topic.
        message: Why it failed, without content.
    """

    id: UUID
    tenant: str | None
    memory_id: UUID | None
    consumer_group: str | None
    topic: str | None
    partition: int | None
    log_offset: int | None
    epoch: int | None
    logged_at: datetime | None
    dlq_partition: int
    dlq_offset: int
    stage: str | None
    error_class: str | None
    code: str
    message: str
    attempts: int | None
    first_failed_at: datetime | None
    application_version: str | None
    status: Status
    status_changed_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))


class Place(NamedTuple):
    """Where an event lay first: what dead letters of several groups about one event have in common."""

    epoch: int
    partition: int
    log_offset: int


@dataclass(frozen=True, slots=True)
class Original:
    """An event that became dead letters: one for each group that gave up on it.

    Attributes:
        dead_letters: At least one, oldest first.
    """

    place: Place
    dead_letters: tuple[StoredDeadLetter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which dead letters; None asks nothing.

    Attributes:
        groups: The consumer groups that gave up.
        since: First failed at this time or later.
        until: First failed before this time.
    """

    ids: Sequence[UUID] | None = None
    groups: Sequence[str] | None = None
    stages: Sequence[str] | None = None
    codes: Sequence[str] | None = None
    tenant: str | None = None
    memory_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    statuses: Sequence[Status] = (Status.OPEN,)

    @property
    def narrow(self) -> bool:
        """Say whether they ask anything besides the status."""
        asked = (self.groups, self.stages, self.codes, self.tenant, self.memory_id, self.since, self.until)
        return self.ids is not None or any(each is not None for each in asked)

    def of_ids(self, ids: Sequence[UUID]) -> "Filters":
        """Return these filters, held to some ids."""
        return replace(self, ids=ids)

    def parameters(self) -> dict[str, Any]:
        """Return them as the statements below name them."""
        return {
            "ids": _list(self.ids),
            "groups": _list(self.groups),
            "stages": _list(self.stages),
            "codes": _list(self.codes),
            "tenant": self.tenant,
            "memory_id": self.memory_id,
            "since": self.since,
            "until": self.until,
            "statuses": [status.value for status in self.statuses],
        }


class Tally(NamedTuple):
    """How many dead letters failed alike.

    Attributes:
        replayable: Those of them whose original has a place in the log.
        trimmed: Those whose original the dead-letter topic no longer keeps.
    """

    code: str
    group: str | None
    stage: str | None
    dead_letters: int
    replayable: int
    trimmed: int


class Plan(NamedTuple):
    """What a replay would do.

    Attributes:
        events: It would publish, those that are trimmed included.
        dead_letters: It would mark: also those of other groups about the same events.
        trimmed: Of the events, those that are gone.
    """

    events: int
    dead_letters: int
    trimmed: int


class Action(StrEnum):
    """What the audit log says was done."""

    REPLAY = "dead_letter.replay"
    EDIT = "dead_letter.edit"
    DISCARD = "dead_letter.discard"
    EXPORT = "dead_letter.export"
    SHOW = "dead_letter.show"


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody does about dead letters.

    Attributes:
        run: Names everything that one command does.
        actor: Who.
        reason: Why, in their words.
    """

    action: Action
    run: UUID
    actor: str
    at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedDeed:
    """A command that was run, or what it did about one dead letter.

    Attributes:
        dead_letters: How many it was about.
        details: Of the one dead letter; empty when it is about several.
    """

    run: UUID | None
    at: datetime
    actor: str
    action: str
    reason: str | None
    dead_letters: int
    details: dict[str, Any]


def place_of(dead_letter: StoredDeadLetter) -> Place:
    """Return where a dead letter's event lay first.

    Raises:
        ValueError: Its headers do not say.
    """
    if dead_letter.epoch is None or dead_letter.partition is None or dead_letter.log_offset is None:
        raise ValueError("the dead letter does not say where its event lay")
    return Place(dead_letter.epoch, dead_letter.partition, dead_letter.log_offset)


def _list(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)
