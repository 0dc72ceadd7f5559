"""Folds the history of a memory into its revisions: what it was after each event, and what had changed. Pure.

The history tells what an applied event said. A memory that is stored is what the event said; a patch changes
what it names, and merges the payload (RFC 7396), as the sinks do.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from soma_api.queries.history_queries import HistoryEvent
from soma_schemas.merge_patch import merge_patch
from soma_schemas.outcomes import Outcome

# Fields of a revision by name, the payload as text; None where the memory was not there.
State = Mapping[str, Any] | None

_ENDS = {"MemoryDeleted", "MemoryExpired"}
_PAYLOAD = "payload"


class Unknown:
    """What a memory was before its history begins."""


UNKNOWN = Unknown()


class Change(NamedTuple):
    """A field that an event changed."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Revision:
    """A memory after an event.

    Attributes:
        event: The event.
        state: What the memory was after it; `UNKNOWN` where the history does not reach back far enough.
        changes: What it changed; None where that is not known.
    """

    event: HistoryEvent
    state: State | Unknown
    changes: tuple[Change, ...] | None


def revision_after(events: Iterable[HistoryEvent]) -> State | Unknown:
    """Return what a memory is after events that begin with one that stored it whole."""
    state: State | Unknown = UNKNOWN
    for event in events:
        state = _after(event, state)
    return state


def revisions(events: Iterable[HistoryEvent], before: State | Unknown) -> Iterator[Revision]:
    """Yield the revisions that events made.

    Args:
        events: Of one memory, in the order of their versions.
        before: What the memory was before the first.
    """
    for event in events:
        after = _after(event, before)
        yield Revision(event, after, _changes(before, after))
        before = after


def _after(event: HistoryEvent, before: State | Unknown) -> State | Unknown:
    if event.outcome is not Outcome.APPLIED:
        return before
    if event.event_type in _ENDS:
        return None
    if event.content is None:
        return before
    said: dict[str, Any] = json.loads(event.content)
    if event.event_type == "MemoryStored":
        payload = json.dumps(said[_PAYLOAD], ensure_ascii=False)
        return {"namespace": event.namespace, **said, _PAYLOAD: payload, "occurred_at": event.occurred_at}
    if before is None or isinstance(before, Unknown):
        # What was patched was there: the history has lost it.
        return UNKNOWN
    if _PAYLOAD in said:
        said[_PAYLOAD] = merge_patch(before[_PAYLOAD], json.dumps(said[_PAYLOAD], ensure_ascii=False))
    if "text" in said:
        # Its embedding went with the text.
        said = {"embedding_model": None} | said
    return {**before, **said}


def _changes(before: State | Unknown, after: State | Unknown) -> tuple[Change, ...] | None:
    if isinstance(before, Unknown) or isinstance(after, Unknown):
        return None
    first, second = before or {}, after or {}
    return tuple(
        Change(name, first.get(name), second.get(name))
        for name in dict.fromkeys([*second, *first])
        if not _same(name, first.get(name), second.get(name))
    )


def _same(name: str, before: Any, after: Any) -> bool:
    if name == _PAYLOAD and before is not None and after is not None:
        return _canonical(before) == _canonical(after)
    return bool(before == after)


def _canonical(payload: str) -> str:
    # As values, Python takes true for 1.
    return json.dumps(json.loads(payload), sort_keys=True)
