"""What a folded batch is as rows, and rows as state: pure, so that the sink only moves them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

import orjson

from soma_schemas.events import (
    MemoryEvent,
    MemoryPatched,
    MemoryStored,
    PatchField,
)
from soma_schemas.fields import Kind
from soma_schemas.outcomes import Outcome
from soma_streams.delivery.state import (
    Content,
    DeadLettered,
    EdgeName,
    Folded,
    LinkState,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
)
from soma_streams.sinks.postgres.row_types import HistoryRow, LinkRow, MemoryRow

# The fields of MemoryStored that the history keeps; the embedding is long and left out.
STORED_CONTENT = (
    "key",
    "coordinate",
    "kind",
    "text",
    "payload",
    "tags",
    "importance",
    "embedding_model",
    "subject",
    "expires_at",
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch changes, in the order of the keys.

    Attributes:
        ended: The memories that ended in the batch, even if they were stored again: their links end.
    """

    memories: Sequence[MemoryRow]
    links: Sequence[LinkRow]
    ended: Sequence[MemoryName]


def changes_of(folded: Folded) -> Changes:
    """Return the states and link changes of a batch as rows."""
    endings = _endings(folded.settlements)
    return Changes(
        memories=sorted(
            (_memory_row(state, endings.get(state.name)) for state in folded.states), key=_memory_order
        ),
        links=sorted(map(_link_row, folded.links), key=itemgetter(0, 1, 2, 3)),
        ended=tuple(endings),
    )


def history_rows(settlements: Iterable[Settlement], dead: Iterable[DeadLettered]) -> list[HistoryRow]:
    """Return what became of a batch, one row per place in the log.

    A place can come twice in one batch, when a dead letter was replayed twice: the first word that is not
    about a dead letter stays, as it does in the table.
    """
    words: dict[tuple[Any, ...], HistoryRow] = {}
    for row in chain(map(_settled_row, settlements), map(_dead_row, dead)):
        words.setdefault((row.partition, row.version, row.logged_at), row)
    return list(words.values())


def replayed_versions(settlements: Iterable[Settlement]) -> list[int]:
    """Return the versions of the events that are replayed dead letters."""
    return [each.logged.version for each in settlements if each.logged.is_replayed]


def history_months(events: Iterable[LoggedEvent | DeadLettered]) -> list[date]:
    """Return the months (UTC) in which the events of a batch were logged, each as its first day."""
    moments = {each.logged_at for each in events}
    return sorted({date(moment.year, moment.month, 1) for moment in moments})


def whole_state(row: Sequence[Any]) -> MemoryState:
    """Return the state that a row of `read_memories` holds."""
    tenant, memory_id, version, deleted, recent, *content = row
    return MemoryState(
        name=MemoryName(tenant, memory_id),
        version=version,
        content=None if deleted else _content(content),
        recent_event_ids=tuple(recent),
    )


def link_state(row: Sequence[Any]) -> LinkState:
    """Return the state that a row of `read_links` holds."""
    *edge, weight, version, recent = row
    return LinkState(EdgeName(*edge), weight, version, tuple(recent))


@dataclass(frozen=True, slots=True)
class _Ending:
    """The last end of a memory within a batch: its deletion, or that its id went back to its owner."""

    version: int
    logged_at: datetime


def _endings(settlements: Iterable[Settlement]) -> dict[MemoryName, _Ending]:
    # From the settlements, not from the states: a memory that was deleted and stored again in one batch is
    # alive in its state, and its links ended all the same.
    return {
        each.logged.name: _Ending(each.logged.version, each.logged.logged_at)
        for each in settlements
        if each.ends_links
    }


def _memory_order(row: MemoryRow) -> tuple[str, int]:
    # Ids are compared in Python, and numbers are not.
    return row.tenant, row.memory_id.int


def _memory_row(state: MemoryState, ending: _Ending | None) -> MemoryRow:
    name, content = state.name, state.content
    deleted_version = ending.version if ending is not None else 0
    recent = state.recent_event_ids
    if content is None:
        if ending is None:
            raise ValueError("a state without content comes with the settlement of its deletion")
        return MemoryRow(
            tenant=name.tenant,
            memory_id=name.memory_id,
            version=state.version,
            deleted=True,
            deleted_version=deleted_version,
            updated_at=ending.logged_at,
            recent_event_ids=recent,
        )
    # In the order of the fields: naming two dozen takes as long as packing half of them.
    return MemoryRow(
        name.tenant,
        name.memory_id,
        state.version,
        False,
        deleted_version,
        content.updated_at,
        recent,
        content.created_at,
        content.occurred_at,
        content.expires_at,
        content.last_accessed_at,
        content.access_count,
        content.importance,
        content.namespace,
        content.key,
        content.coordinate,
        content.kind,
        content.text,
        content.payload,
        content.tags,
        content.embedding,
        content.embedding_model,
        content.subject,
        content.actor,
    )


def _link_row(link: LinkState) -> LinkRow:
    return LinkRow(
        *link.name,
        weight=link.weight,
        version=link.version,
        deleted=link.weight is None,
        recent_event_ids=link.recent_event_ids,
    )


def _settled_row(settlement: Settlement) -> HistoryRow:
    logged = settlement.logged
    event = logged.event
    return HistoryRow(
        partition=logged.origin.partition,
        version=logged.version,
        logged_at=logged.logged_at,
        outcome=settlement.outcome,
        tenant=event.tenant,
        memory_id=event.memory_id,
        reason=settlement.reason,
        occurred_at=event.occurred_at,
        event_id=event.event_id,
        event_type=type(event).__name__,
        namespace=event.namespace,
        actor=event.actor,
        content=_said(event) if settlement.outcome is Outcome.APPLIED else None,
    )


def _dead_row(dead: DeadLettered) -> HistoryRow:
    return HistoryRow(
        partition=dead.position.partition,
        version=dead.version,
        logged_at=dead.logged_at,
        outcome=Outcome.DEAD_LETTERED.value,
        tenant=dead.tenant,
        memory_id=dead.memory_id,
        error_code=dead.code,
    )


def _said(event: MemoryEvent) -> bytes | None:
    """Return as JSON what an event said of a memory's content."""
    match event:
        case MemoryStored():
            fields = {name: getattr(event, name) for name in STORED_CONTENT}
            return orjson.dumps(fields | {"payload": orjson.Fragment(event.payload)})
        case MemoryPatched():
            return orjson.dumps(dict(map(_change, repeat(event), event.fields)))
        case _:
            return None


def _change(event: MemoryPatched, field: PatchField) -> tuple[str, object]:
    match field:
        case PatchField.PAYLOAD if event.payload is not None:
            return field.value, orjson.Fragment(event.payload)
        case PatchField.EMBEDDING:
            return "embedding_model", event.embedding_model
        case _:
            return field.value, getattr(event, field.value)


def _content(columns: Sequence[Any]) -> Content:
    (
        namespace, key, coordinate, kind, text, payload, tags, importance, embedding, embedding_model,
        subject, expires_at, occurred_at, actor, created_at, updated_at, access_count, last_accessed_at,
    ) = columns  # fmt: skip
    return Content(
        namespace=namespace,
        key=key,
        coordinate=tuple(coordinate) if coordinate is not None else None,
        kind=Kind(kind),
        text=text,
        payload=payload,
        tags=tuple(tags),
        importance=importance,
        embedding=tuple(embedding) if embedding is not None else None,
        embedding_model=embedding_model,
        subject=subject,
        expires_at=expires_at,
        occurred_at=occurred_at,
        actor=actor,
        created_at=created_at,
        updated_at=updated_at,
        access_count=access_count,
        last_accessed_at=last_accessed_at,
    )
