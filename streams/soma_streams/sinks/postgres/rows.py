"""What a folded batch is as rows, and rows as state: pure, so that the sink only moves them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Any

import orjson

from soma_schemas.events import (
    ExpiredMemory,
    MemoryEvent,
    MemoryPatched,
    MemoryStored,
    PatchField,
)
from soma_schemas.memories import FIELDS, IN_HISTORY, content_of
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_streams.delivery.fold import in_shortest_form
from soma_streams.delivery.state import (
    DeadLettered,
    EdgeName,
    Erased,
    Folded,
    LinkState,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
    Unapplied,
)
from soma_streams.sinks.postgres.row_types import CONTENT, HistoryRow, LinkRow, OutboxRow, ReplayRow, Row

_CONTENT = attrgetter(*CONTENT)
# What ExpiredMemory says of the memory's last content, and what of its end.
_ARCHIVED = tuple(name for name in FIELDS if name in ExpiredMemory.model_fields)
_OF_THE_EXPIRY = ("event_id", "tenant", "memory_id", "occurred_at", "actor", "expires_at")
_NO_CONTENT = (None,) * len(CONTENT)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch changes, in the order of the keys.

    Attributes:
        ended: The memories that ended in the batch, even if they were stored again: their links end.
    """

    memories: Sequence[Row]
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


def history_rows(settlements: Iterable[Settlement], unapplied: Iterable[Unapplied]) -> list[HistoryRow]:
    """Return what became of a batch, one row per place in the log.

    A place can come twice in one batch, when a dead letter was replayed twice: the first word that is not
    about a dead letter stays, as it does in the table.
    """
    words: dict[tuple[Any, ...], HistoryRow] = {}
    for row in chain(map(_settled_row, settlements), map(_unapplied_row, unapplied)):
        words.setdefault((row.partition, row.version, row.logged_at), row)
    return list(words.values())


def replayed_versions(settlements: Iterable[Settlement], unapplied: Iterable[Unapplied]) -> list[int]:
    """Return the versions of the events that are replayed dead letters."""
    replayed = [each.logged.version for each in settlements if each.logged.is_replayed]
    return replayed + [each.version for each in unapplied if isinstance(each, Erased) and each.is_replayed]


def replay_rows(settlements: Iterable[Settlement]) -> list[ReplayRow]:
    """Return where replayed dead letters were applied."""
    return [
        ReplayRow(
            at_partition=logged.position.partition,
            at_version=logged.position.version,
            tenant=logged.event.tenant,
            partition=logged.origin.partition,
            version=logged.version,
            logged_at=logged.logged_at,
        )
        for each in settlements
        if each.outcome is Outcome.APPLIED and (logged := each.logged).is_replayed
    ]


def outbox_rows(settlements: Iterable[Settlement]) -> list[OutboxRow]:
    """Return the last states that go to the archive, in the order in which the memories ended."""
    return [
        _outbox_row(each.logged.event, last) for each in settlements if (last := each.last_state) is not None
    ]


def history_months(events: Iterable[LoggedEvent | Unapplied]) -> list[date]:
    """Return the months (UTC) in which the events of a batch were logged, each as its first day."""
    moments = {each.logged_at for each in events}
    return sorted({date(moment.year, moment.month, 1) for moment in moments})


def whole_state(row: Sequence[Any]) -> MemoryState:
    """Return the state that a row of `read_memories` holds."""
    tenant, memory_id, version, deleted, recent, *content = row
    return MemoryState(
        name=MemoryName(tenant, memory_id),
        version=version,
        content=None if deleted else content_of(content),
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


def _memory_order(row: Row) -> tuple[str, int]:
    # Ids are compared in Python, and numbers are not.
    tenant, memory_id, *_ = row
    return tenant, memory_id.int


def _memory_row(state: MemoryState, ending: _Ending | None) -> Row:
    content = state.content
    deleted_version = ending.version if ending is not None else 0
    key_and_state = *state.name, state.version, content is None, deleted_version
    if content is not None:
        return *key_and_state, content.updated_at, state.recent_event_ids, *_CONTENT(content)
    if ending is None:
        raise ValueError("a state without content comes with the settlement of its deletion")
    return *key_and_state, ending.logged_at, state.recent_event_ids, *_NO_CONTENT


def _outbox_row(expiry: MemoryEvent, last: MemoryState) -> OutboxRow:
    content = last.content
    said = {name: getattr(content, name) for name in _ARCHIVED}
    said |= {name: getattr(expiry, name) for name in _OF_THE_EXPIRY}
    said |= {"payload": in_shortest_form(said["payload"]), "version": last.version}
    return OutboxRow(expiry.tenant, expiry.memory_id, expiry.event_id, orjson.dumps(said))


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


def _unapplied_row(item: Unapplied) -> HistoryRow:
    if isinstance(item, Erased):
        return HistoryRow(
            partition=item.position.partition,
            version=item.version,
            logged_at=item.logged_at,
            outcome=Outcome.SUPERSEDED.value,
            tenant=item.tenant,
            memory_id=item.memory_id,
            reason=SupersededReason.ERASED,
            event_id=item.event_id,
        )
    return _dead_row(item)


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
            fields = {name: getattr(event, name) for name in IN_HISTORY}
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
