"""The history of memories over HTTP: what changed, what a memory was, and going back to it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from soma_api.dependencies import (
    ConditionalWrite,
    ErasuresInProgress,
    Histories,
    Memories,
    Now,
    PageCursors,
    Reader,
    ReadsRecords,
    Settings,
    WaitsForPosition,
)
from soma_api.json_body import JsonBody, parsed
from soma_api.models.history_views import RevertMemory, event_view, revision_view
from soma_api.models.query_parameters import (
    DEFAULT_PAGE_SIZE,
    MemoryId,
    PageCursor,
    PageSize,
    QueryVersion,
)
from soma_api.models.requests import StoreMemory
from soma_api.models.responses import json_response
from soma_api.openapi import answers
from soma_api.principals import Principal
from soma_api.problems import (
    BodyTooLargeError,
    DeadLetteredError,
    EncryptionUnavailableError,
    InvalidCursorError,
    InvalidHeaderError,
    InvalidInputError,
    LogUnavailableError,
    MemoryNotFoundError,
    NamespaceForbiddenError,
    NotJsonError,
    NotYetVisibleError,
    PreconditionFailedError,
    RevisionNotFoundError,
    StoreUnavailableError,
    SupersededError,
    TenantMismatchError,
    TooStaleError,
    UnsupportedMediaTypeError,
)
from soma_api.queries.history_queries import MOST_EVENTS, HistoryEvent, HistoryQueries
from soma_api.queries.memory_queries import Whereabouts
from soma_api.revisions import UNKNOWN, State, Unknown, revision_after, revisions
from soma_api.write_responses import Creates
from soma_schemas.fields import Moment
from soma_schemas.responses.history_responses import HistoryPage, RevisionView
from soma_schemas.responses.write_responses import WriteView
from soma_schemas.versions import NO_VERSION

router = APIRouter(tags=["history"])

_READ = (InvalidHeaderError, InvalidInputError, NotYetVisibleError, TooStaleError, StoreUnavailableError)
_Revert = Annotated[RevertMemory, Depends(JsonBody(RevertMemory))]


@dataclass(frozen=True)
class _History:
    """The history of memories, as far as a principal may see it: a dependency."""

    principal: Reader
    memories: Memories
    histories: Histories
    erasures: ErasuresInProgress

    async def whereabouts(self, memory_id: UUID) -> Whereabouts:
        """Return where the memory lies, or lay.

        Raises:
            MemoryNotFoundError: It was never seen, has expired, or lies where the key does not reach.
        """
        principal = self.principal
        found = (await self.memories.whereabouts(principal.tenant, [memory_id])).get(memory_id)
        if found is None or found.expired or not await self._within_reach(memory_id, found):
            raise MemoryNotFoundError("there is no such memory")
        return found

    async def _within_reach(self, memory_id: UUID, found: Whereabouts) -> bool:
        principal = self.principal
        if principal.namespaces is None:
            return True
        namespace = found.namespace
        if namespace is None:
            # Where a deleted memory lay is in its history alone: what deleted it says so.
            last = await self.histories.page(principal.tenant, memory_id, found.version + 1, 1)
            namespace = last[0].namespace if last else None
        return namespace is not None and principal.may_access(namespace)

    async def revision(self, memory_id: UUID, version: int | None) -> tuple[HistoryEvent, dict[str, Any]]:
        """Return the event that made a version of a memory, and what the memory was then.

        Raises:
            RevisionNotFoundError: The memory was not there, its history does not tell, or may not be told.
        """
        tenant = self.principal.tenant
        events = (
            [] if version is None else await self.histories.since_stored(tenant, memory_id, until=version)
        )
        if not events or len(events) > MOST_EVENTS:
            raise RevisionNotFoundError("the history does not say what the memory was")
        state = revision_after(events)
        if not await self.may_tell(memory_id, state) or not isinstance(state, dict):
            raise RevisionNotFoundError("the history does not say what the memory was")
        return events[-1], state

    async def may_tell(self, memory_id: UUID, *states: State | Unknown) -> bool:
        """Say whether these states of a memory may be told: all within reach, none selected by an erasure."""
        selections = await self.erasures.of(self.principal.tenant)
        return all(
            isinstance(state, Unknown)
            or state is None
            or (
                self.principal.may_access(state["namespace"])
                and not any(
                    each.selects(memory_id, state["namespace"], state["subject"]) for each in selections
                )
            )
            for state in states
        )


_Histories = Annotated[_History, Depends()]


@router.get(
    "/v1/memories/{memory_id}/history",
    operation_id="list_history",
    response_model=HistoryPage,
    responses=answers(HistoryPage, {}, *_READ, InvalidCursorError, MemoryNotFoundError),
)
async def list_history(
    *,
    history: _Histories,
    consistency: ReadsRecords,
    cursors: PageCursors,
    memory_id: MemoryId,
    limit: Annotated[PageSize, Query(description="Events on a page.")] = DEFAULT_PAGE_SIZE,
    cursor: PageCursor = None,
) -> Response:
    """List what happened to a memory, the newest first: who changed what and when, and what was refused.

    A deleted memory has a history until retention or an erasure takes it out. What was before a memory
    expired is not told.
    """
    principal = history.principal
    belongs_to = {"list": "history", "memory_id": str(memory_id), "namespaces": principal.namespaces}
    before = 2**63 - 1
    if cursor is not None:
        (before,) = cursors.read(cursor, principal.tenant, belongs_to)
    answered = await consistency.ensure()
    await history.whereabouts(memory_id)
    found = await history.histories.page(principal.tenant, memory_id, before, limit + 1)
    page = found[:limit]
    earlier = (
        []
        if not page
        else await history.histories.since_stored(principal.tenant, memory_id, until=page[-1].version - 1)
    )
    state = _state_before(found[limit:], earlier)
    shown = []
    for revision in revisions(reversed(page), state):
        namespace = revision.event.namespace
        reachable = principal.namespaces is None if namespace is None else principal.may_access(namespace)
        if reachable:
            told = await history.may_tell(memory_id, state, revision.state)
            shown.append(event_view(revision, told=told))
        state = revision.state
    shown.reverse()
    if not shown and cursor is None:
        raise MemoryNotFoundError("there is no such memory")
    next_cursor = cursors.make(principal.tenant, belongs_to, [page[-1].version]) if found[limit:] else None
    return json_response({"events": shown, "next_cursor": next_cursor}, 200, answered)


def _state_before(older: Sequence[HistoryEvent], earlier: Sequence[HistoryEvent]) -> State | Unknown:
    """Return what a memory was before a page of its history.

    Args:
        older: What the history has before the page: nothing where the page is its beginning.
        earlier: What was applied before, from the last time that the memory was stored.
    """
    if not older:
        return None
    return UNKNOWN if len(earlier) > MOST_EVENTS else revision_after(earlier)


@router.get(
    "/v1/memories/{memory_id}/revision",
    operation_id="read_revision",
    response_model=RevisionView,
    responses=answers(RevisionView, {}, *_READ, MemoryNotFoundError, RevisionNotFoundError),
)
async def read_revision(
    *,
    history: _Histories,
    consistency: ReadsRecords,
    memory_id: MemoryId,
    at: Annotated[Moment | None, Query(description="As the log had it at this time.")] = None,
    version: Annotated[QueryVersion | None, Query(description="Or: at this version.")] = None,
) -> Response:
    """Read a memory as it was at a time or a version."""
    answered = await consistency.ensure()
    await history.whereabouts(memory_id)
    asked = await _asked_version(history.histories, history.principal, memory_id, at, version)
    event, state = await history.revision(memory_id, asked)
    return json_response(revision_view(memory_id, event, state), 200, answered)


async def _asked_version(
    histories: HistoryQueries,
    principal: Principal,
    memory_id: MemoryId,
    at: datetime | None,
    version: int | None,
) -> int | None:
    if (at is None) == (version is None):
        raise InvalidInputError("the query has either `at` or `version`")
    if at is None:
        return version
    return await histories.version_at(principal.tenant, memory_id, at)


@router.post(
    "/v1/memories/{memory_id}:revert",
    operation_id="revert_memory",
    status_code=202,
    response_model=WriteView,
    responses=answers(
        WriteView,
        {200: "Done, readable and searchable; only with `Prefer: wait`."},
        NotJsonError,
        UnsupportedMediaTypeError,
        BodyTooLargeError,
        InvalidInputError,
        TenantMismatchError,
        InvalidHeaderError,
        NamespaceForbiddenError,
        MemoryNotFoundError,
        RevisionNotFoundError,
        NotYetVisibleError,
        PreconditionFailedError,
        SupersededError,
        DeadLetteredError,
        LogUnavailableError,
        EncryptionUnavailableError,
        StoreUnavailableError,
    ),
)
async def revert_memory(
    *,
    write: ConditionalWrite,
    history: _Histories,
    position: WaitsForPosition,
    settings: Settings,
    now: Now,
    memory_id: MemoryId,
    body: _Revert,
) -> Response:
    """Store a memory as it was at a version; a deleted memory comes back.

    Without `If-Match` it applies to the version that the memory has now. The text is embedded anew, and a
    deadline that has passed is left out.
    """
    await position.wait()
    found = await history.whereabouts(memory_id)
    _, state = await history.revision(memory_id, body.version)
    wanted = _body_of(state, memory_id, now)
    memory = parsed(StoreMemory, json.dumps(wanted).encode(), {"limits": settings.limits})
    if write.events.expected is None:
        write = write.expecting(NO_VERSION if found.namespace is None else found.version)
    event = write.events.store(memory, memory_id)
    await write.access.check_replaced([event])
    return await write.responder.one(event, creates=Creates.IF_NEW)


def _body_of(state: dict[str, Any], memory_id: UUID, now: datetime) -> dict[str, Any]:
    kept = {name: value for name, value in state.items() if name in StoreMemory.model_fields}
    del kept["embedding_model"]
    ends = kept["expires_at"]
    named = kept["key"] is not None or kept["coordinate"] is not None
    return kept | {
        "payload": json.loads(state["payload"]),
        "occurred_at": None if kept["occurred_at"] is None else kept["occurred_at"].isoformat(),
        "expires_at": None if ends is None or datetime.fromisoformat(ends) <= now else ends,
        "memory_id": None if named else str(memory_id),
    }
