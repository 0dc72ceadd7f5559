"""What a sink knows of a memory, and what becomes of an event: the words that fold and the sinks share."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from soma_schemas.events import MemoryEvent
from soma_schemas.memories import Content
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_schemas.versions import Position

REMEMBERED_EVENTS = 16


class DecodedBy(StrEnum):
    """What read an event."""

    NATIVE = "native"  # the extension
    REFERENCE = "reference"  # fastavro and the model


class MemoryName(NamedTuple):
    """The primary key of a memory in every store."""

    tenant: str
    memory_id: UUID


class EdgeName(NamedTuple):
    """The primary key of a link."""

    tenant: str
    from_memory_id: UUID
    link_type: str
    to_memory_id: UUID


# The values below are made for every event. Nobody changes one, though nothing prevents it: a frozen one
# takes five times as long to make, which for all of them together was a tenth of what an event costs.


@dataclass(slots=True)
class LoggedEvent:
    """A decoded, valid event with its place in the log.

    Attributes:
        event: The event itself.
        position: Where it lies now: what is acknowledged.
        origin: Where it lay first; differs from `position` for a replayed dead letter only.
        version: Made of the epoch and the origin's offset.
        logged_at: When the broker appended it (the original one for a replay), UTC.
    """

    event: MemoryEvent
    position: Position
    origin: Position
    version: int
    logged_at: datetime
    _name: MemoryName | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def name(self) -> MemoryName:
        """Return which memory it is about."""
        name = self._name
        if name is None:
            name = self._name = MemoryName(self.event.tenant, self.event.memory_id)
        return name

    @property
    def is_replayed(self) -> bool:
        """Whether it is a dead letter that was published again."""
        return self.position != self.origin


@dataclass(slots=True)
class MemoryState:
    """A memory as a store has it, or its tombstone.

    Attributes:
        version: Of the last event applied.
        content: None for a tombstone.
        recent_event_ids: The last events applied, newest first, at most `REMEMBERED_EVENTS`.
    """

    name: MemoryName
    version: int
    content: Content | None
    recent_event_ids: tuple[UUID, ...]


@dataclass(slots=True)
class LinkState:
    """An edge as a store has it.

    Attributes:
        weight: None when the edge has ended.
        version: Of the last event applied.
        recent_event_ids: The last events applied, newest first, at most `REMEMBERED_EVENTS`.
    """

    name: EdgeName
    weight: float | None
    version: int
    recent_event_ids: tuple[UUID, ...]


@dataclass(slots=True)
class Settlement:
    """What became of one event.

    Attributes:
        logged: The event.
        outcome: What became of it.
        reason: Why it was superseded.
        ends_links: Whether the memory that was there ended with it, and so did its links.
        last_state: What the memory was, where an expiry that asks for an archive ended it.
    """

    logged: LoggedEvent
    outcome: Outcome
    reason: SupersededReason | None = None
    ends_links: bool = False
    last_state: MemoryState | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """A batch folded onto the current state: what is to be written.

    Attributes:
        states: One new state per changed memory.
        links: One new state per changed edge.
        settlements: One per event, in arrival order; applied here means applied unless the store's own
            version guard refuses the state.
    """

    states: tuple[MemoryState, ...] = ()
    links: tuple[LinkState, ...] = ()
    settlements: tuple[Settlement, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """An event that is in the dead-letter topic, as far as it could be read.

    Attributes:
        position: Where it lies.
        version: Made of the epoch and its own offset.
        logged_at: When the broker appended it, UTC.
        tenant: From its key; None when the key is not ours.
        memory_id: From its key; None when the key is not ours.
        code: Why it can never be applied.
    """

    position: Position
    version: int
    logged_at: datetime
    tenant: str | None
    memory_id: UUID | None
    code: str


@dataclass(frozen=True, slots=True)
class Erased:
    """An event whose key was destroyed: nobody can read it, and it changes nothing.

    Attributes:
        position: Where it lies.
        version: Made of the epoch and its offset, or of its first one.
        logged_at: When the broker appended it (the original one for a replay), UTC.
        is_replayed: Whether it is a dead letter that was published again.
    """

    position: Position
    version: int
    logged_at: datetime
    tenant: str
    memory_id: UUID
    event_id: UUID
    is_replayed: bool


# What of a batch a sink does not apply, and notes.
Unapplied = DeadLettered | Erased


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a sink has come: every event of the partition below `next_offset` is settled."""

    group: str
    topic: str
    partition: int
    epoch: int
    next_offset: int
