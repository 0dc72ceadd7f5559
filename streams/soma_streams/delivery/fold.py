"""Fold events onto the current state of their memories: pure, in order, the same for every sink."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any
from uuid import UUID

from soma_schemas.events import (
    MemoryAccessed,
    MemoryDeleted,
    MemoryEvent,
    MemoryExpired,
    MemoryLinked,
    MemoryPatched,
    MemoryStored,
    MemoryUnlinked,
    PatchField,
)
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.memories import FIELDS, SAID, Content, content_of
from soma_schemas.merge_patch import merge_patch
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_schemas.versions import NO_VERSION
from soma_streams.delivery.state import (
    REMEMBERED_EVENTS,
    EdgeName,
    Folded,
    LinkState,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
)
from soma_streams.errors import PoisonError

_SAID = attrgetter(*SAID)
_NO_LINKS: Mapping[EdgeName, LinkState] = {}


def fold(
    events: Sequence[LoggedEvent],
    current: Mapping[MemoryName, MemoryState],
    limits: Limits = DEFAULT_LIMITS,
    current_links: Mapping[EdgeName, LinkState] = _NO_LINKS,
) -> Folded:
    """Return what a batch makes of the current state.

    The law, held by properties: any batching of a log gives the same states, and any order of a replay
    gives the newest.

    Args:
        events: Of one sink's batch, in arrival order.
        current: What the store has of the memories concerned, tombstones included; absent means never seen.
        limits: How large a memory may become by patches.
        current_links: What the store has of the edges concerned, ended ones included.

    Raises:
        PoisonError: A patch would make a memory larger than it may be.
    """
    states: dict[MemoryName, MemoryState] = {}
    links: dict[EdgeName, LinkState] = {}
    settlements: list[Settlement] = []
    for logged in events:
        event = logged.event
        name = logged.name
        before = states.get(name) or current.get(name)
        if (edge := edge_of(event)) is not None:
            known = links.get(edge) or current_links.get(edge)
            refusal = _link_refusal(logged, known, _living(before))
            if refusal is not None:
                settlements.append(Settlement(logged, Outcome.SUPERSEDED, refusal))
                continue
            links[edge] = LinkState(
                name=edge,
                weight=event.weight if isinstance(event, MemoryLinked) else None,
                version=logged.version,
                recent_event_ids=_remembering(event, known),
            )
            settlements.append(Settlement(logged, Outcome.APPLIED))
            continue
        try:
            after = _apply(logged, before, limits)
        except PoisonError as error:
            error.memory = name
            raise
        if isinstance(after, SupersededReason):
            settlements.append(Settlement(logged, Outcome.SUPERSEDED, after))
            continue
        states[name] = after
        ends = after.content is None or _belongs_elsewhere(_living(before), event)
        last_state = before if ends and isinstance(event, MemoryExpired) and event.archive else None
        settlements.append(Settlement(logged, Outcome.APPLIED, ends_links=ends, last_state=last_state))
    return Folded(tuple(states.values()), tuple(links.values()), tuple(settlements))


def edge_of(event: MemoryEvent) -> EdgeName | None:
    """Return the edge that an event is about, or None when it is about the memory itself."""
    if not isinstance(event, MemoryLinked | MemoryUnlinked):
        return None
    return EdgeName(event.tenant, event.memory_id, event.link_type, event.to_memory_id)


def _living(before: MemoryState | None) -> Content | None:
    return before.content if before is not None else None


def _belongs_elsewhere(living: Content | None, event: MemoryEvent) -> bool:
    return living is not None and living.namespace != event.namespace


def _link_refusal(
    logged: LoggedEvent, known: LinkState | None, living: Content | None
) -> SupersededReason | None:
    if _belongs_elsewhere(living, logged.event):
        return SupersededReason.WRONG_NAMESPACE
    if known is not None and logged.event.event_id in known.recent_event_ids:
        return SupersededReason.DUPLICATE
    if known is not None and known.version >= logged.version:
        return SupersededReason.OLDER
    return None


def _remembering(event: MemoryEvent, before: MemoryState | LinkState | None) -> tuple[UUID, ...]:
    remembered = before.recent_event_ids if before is not None else ()
    return (event.event_id, *remembered)[:REMEMBERED_EVENTS]


def _apply(logged: LoggedEvent, before: MemoryState | None, limits: Limits) -> MemoryState | SupersededReason:
    event = logged.event
    if before is not None and event.event_id in before.recent_event_ids:
        return SupersededReason.DUPLICATE
    if before is not None and before.version >= logged.version:
        return SupersededReason.OLDER
    living = _living(before)
    if _belongs_elsewhere(living, event):
        # Whoever may write one namespace alone must not reach a memory of another by guessing its id.
        if not _gives_its_id(event):
            return SupersededReason.WRONG_NAMESPACE
        # The id follows from this very namespace, so what lives there was put under a foreign id: it counts
        # as not there, or else guessing the id of a key first would keep its owner out.
        living = None
    found = before.version if before is not None and living is not None else NO_VERSION
    expected = getattr(event, "expected_version", None)
    if expected is not None and expected != found:
        return SupersededReason.VERSION_MISMATCH
    content = _content_after(event, logged.logged_at, living, limits)
    if isinstance(content, SupersededReason):
        return content
    return MemoryState(
        name=logged.name,
        version=logged.version,
        content=content,
        recent_event_ids=_remembering(event, before),
    )


def _gives_its_id(event: MemoryEvent) -> bool:
    # Validation has compared the id with what tenant, namespace and name give.
    return isinstance(event, MemoryStored) and (event.key is not None or event.coordinate is not None)


def _content_after(
    event: MemoryEvent, logged_at: datetime, living: Content | None, limits: Limits
) -> Content | SupersededReason | None:
    match event:
        case MemoryStored():
            return _stored(event, logged_at, living)
        case MemoryDeleted():
            # A tombstone is kept even of what was never seen: an older event may still be on its way.
            return None
        case _ if living is None:
            return SupersededReason.NOT_FOUND
        case MemoryPatched():
            return _patched(event, logged_at, living, limits)
        case MemoryExpired():
            return None if _is_its_deadline(event, living) else SupersededReason.DEADLINE_MOVED
        case MemoryAccessed():
            latest = max(living.last_accessed_at or event.last_accessed_at, event.last_accessed_at)
            count = living.access_count + event.count
            return replace(living, access_count=count, last_accessed_at=latest)
        case _:
            raise TypeError(f"{type(event).__name__} is no event that changes a memory")


def _is_its_deadline(event: MemoryExpired, living: Content) -> bool:
    if event.updated_at is None:
        return living.expires_at == event.expires_at
    return living.expires_at in {None, event.expires_at} and living.updated_at == event.updated_at


def _stored(event: MemoryStored, logged_at: datetime, living: Content | None) -> Content:
    return content_of(
        [
            *_SAID(event),
            living.created_at if living is not None else logged_at,
            logged_at,
            living.access_count if living is not None else 0,
            living.last_accessed_at if living is not None else None,
        ]
    )


def _patched(event: MemoryPatched, logged_at: datetime, living: Content, limits: Limits) -> Content:
    named = set(event.fields)
    changes: dict[str, Any] = {"updated_at": logged_at, "actor": event.actor}
    if PatchField.TEXT in named:
        changes |= {"text": event.text, "embedding": None, "embedding_model": None}
    for field in named:
        match field:
            case PatchField.TEXT:
                pass
            case PatchField.PAYLOAD:
                merged = merge_patch(living.payload, event.payload or "{}")
                if _is_larger(merged, limits.payload_bytes):
                    raise PoisonError("the patched payload is larger than a payload may be")
                changes["payload"] = merged
            case PatchField.EMBEDDING:
                changes |= {"embedding": event.embedding, "embedding_model": event.embedding_model}
            case _:
                changes[field.value] = getattr(event, field.value)
    return content_of([changes.get(name, getattr(living, name)) for name in FIELDS])


def _is_larger(payload: str, most: int) -> bool:
    """Say whether a payload is too large with each number in its shortest form.

    A store gives numbers back in a form of its own, 1e300 as 301 digits; the verdict is the same for all.
    """
    if len(payload.encode()) <= most:
        return False
    return len(in_shortest_form(payload).encode()) > most


def in_shortest_form(payload: str) -> str:
    """Return a JSON object with each number in its shortest form, whatever a store has made of them."""
    value = json.loads(payload, parse_int=_shortest, parse_float=_shortest)
    return json.dumps(value, ensure_ascii=False)


def _shortest(literal: str) -> float:
    exact = Decimal(literal)
    same = [number for number in (int(exact), float(exact)) if Decimal(repr(number)) == exact]
    return min(same, key=lambda number: len(repr(number)), default=float(literal))
