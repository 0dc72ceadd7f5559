"""The stream of what is applied, over HTTP: an application follows along without the log."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse

from soma_api.change_feed import Batch, Beginning, ChangeFeed, Place
from soma_api.dependencies import ChangesApplied, CheckedAgain, Memories, Policies, Reader, Settings
from soma_api.middleware import is_head, request_id_of
from soma_api.models.change_views import change_message, end_message, place_message
from soma_api.models.filter_language import BOUNDS
from soma_api.models.list_query import A_FILTER, FilterText, term_of, visible_below
from soma_api.models.memory_filter import ONE_PLACE
from soma_api.openapi import answers
from soma_api.policies_in_force import PoliciesInForce
from soma_api.principals import Principal
from soma_api.problems import (
    ApiError,
    InvalidHeaderError,
    InvalidInputError,
    NamespaceForbiddenError,
    StoreUnavailableError,
)
from soma_api.queries.filter_terms import EVERYTHING, Term
from soma_api.queries.memory_queries import Memory, MemoryQueries
from soma_schemas.fields import Namespace
from soma_schemas.namespaces import contains
from soma_schemas.responses.change_responses import A_STREAM, AppliedChangeView

router = APIRouter(tags=["changes"])

# Proxies close what is silent for a minute; a key that was revoked is noticed within this.
_QUIET_SECONDS = 15.0
# How long a browser waits before it asks again.
_RETRY_MESSAGE = b"retry: 1000\n\n"
_MAX_ID = 16_384


class _EventStream(StreamingResponse):
    media_type = "text/event-stream"


@dataclass(frozen=True)
class _Follower:
    """Somebody who follows, and what they are told of."""

    feed: ChangeFeed
    memories: MemoryQueries
    policies: PoliciesInForce
    principal: Principal
    namespace: str | None
    prefix: str | None
    where: Term
    for_ever: bool

    async def messages(self, place: Place, check: CheckedAgain, request_id: str) -> AsyncIterator[bytes]:
        """Yield the messages behind a place, until the process stops or somebody may not follow any more."""
        with self.feed.follower():
            yield _RETRY_MESSAGE + place_message(place)
            try:
                seconds = _QUIET_SECONDS if self.for_ever else 0.0
                while not self.feed.closed:
                    batch = await self.feed.next(self.principal.tenant, place, seconds)
                    await check()
                    place = batch.place
                    yield b"".join([*await self._told(batch), place_message(place)])
                    if batch.at_end and not self.for_ever:
                        return
            except ApiError as error:
                yield end_message(error, request_id)

    async def _told(self, batch: Batch) -> list[bytes]:
        covered = [each for each in batch.changes if self._covers(each.namespace)]
        living, unwanted = await self._living({each.memory_id for each in covered})
        changes = [each for each in covered if each.memory_id not in unwanted]
        if not changes:
            return []
        last = {each.memory_id: each for each in changes}
        policies = await self.policies.of(self.principal.tenant)
        return [
            change_message(
                each, living.get(each.memory_id) if last[each.memory_id] is each else None, policies
            )
            for each in changes
        ]

    async def _living(self, memory_ids: Collection[UUID]) -> tuple[dict[UUID, Memory], set[UUID]]:
        """Return the memories that are there and covered, and which of them the filter leaves out.

        Of one that lies out of reach nothing is said, not even what the filter makes of it.
        """
        if not memory_ids:
            return {}, set()
        if self.where == EVERYTHING:
            some = await self.memories.some(self.principal.tenant, memory_ids)
            found = {memory_id: (memory, True) for memory_id, memory in some.items()}
        else:
            found = await self.memories.matched(self.principal.tenant, memory_ids, self.where)
        covered = {
            memory_id: (memory, met)
            for memory_id, (memory, met) in found.items()
            if self._covers(memory.content.namespace)
        }
        return (
            {memory_id: memory for memory_id, (memory, _) in covered.items()},
            {memory_id for memory_id, (_, met) in covered.items() if not met},
        )

    def _covers(self, namespace: str | None) -> bool:
        """Say whether something of a namespace may be told, and was asked for."""
        if namespace is None:
            return self.principal.namespaces is None and self.namespace is None and self.prefix is None
        return (
            self.principal.may_access(namespace)
            and (self.namespace is None or namespace == self.namespace)
            and (self.prefix is None or contains(self.prefix, namespace))
        )


@router.get(
    "/v1/changes",
    operation_id="follow_changes",
    response_class=_EventStream,
    response_model=AppliedChangeView,
    response_description="Server-sent events without an end: `change` with an `AppliedChangeView` as its "
    "data, `end` with a problem. A message with an `id` alone says how far everything was told.",
    responses=answers(
        AppliedChangeView,
        {},
        InvalidHeaderError,
        InvalidInputError,
        NamespaceForbiddenError,
        StoreUnavailableError,
    )
    | {200: {"content": {_EventStream.media_type: {"example": A_STREAM}}}},
)
async def follow_changes(
    *,
    request: Request,
    principal: Reader,
    check: CheckedAgain,
    feed: ChangesApplied,
    memories: Memories,
    policies: Policies,
    settings: Settings,
    since: Annotated[
        str,
        Query(
            max_length=_MAX_ID,
            pattern="^(now|beginning|[0-9:,]*)$",
            description="`now`, `beginning`, or the `id` of a message: what came after it is told.",
        ),
    ] = Beginning.NOW.value,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            max_length=_MAX_ID,
            description="As browsers send it when they connect again; counts instead of `since`.",
        ),
    ] = None,
    follow: Annotated[
        bool, Query(description="Go on for ever; false ends the stream when all that is settled was told.")
    ] = True,
    namespace: Annotated[Namespace | None, Query(description="Of exactly this namespace.")] = None,
    namespace_prefix: Annotated[
        Namespace | None, Query(description="Of this namespace and all below it.")
    ] = None,
    where: Annotated[
        FilterText | None,
        Query(
            alias="filter",
            description="What is true of the memories now, in the filter language, as JSON. Changes of "
            f"memories that are gone are told whatever it says. {BOUNDS}",
            examples=[A_FILTER],
        ),
    ] = None,
) -> StreamingResponse:
    """Follow what is applied to memories and links, as server-sent events.

    Each change is told at least once, and in order for each memory. It says what kind of event it was;
    `memory` is what the memory is now, so a state in between may not be seen. After a break go on with the
    last `id`.
    """
    if namespace is not None and namespace_prefix is not None:
        raise InvalidInputError(ONE_PLACE)
    visible_below(principal, namespace, namespace_prefix)
    term = term_of(where, settings.limits)
    begin = last_event_id or since
    place = await feed.begin(Beginning(begin)) if begin in set(Beginning) else Place.parse(begin)
    follower = _Follower(
        feed, memories, policies, principal, namespace, namespace_prefix, term, for_ever=follow
    )
    feed.require_room()
    headers = {"Cache-Control": "no-store"}
    if is_head(request.scope):
        return _EventStream((), headers=headers)
    messages = follower.messages(place, check, request_id_of(request.scope))
    return _EventStream(messages, headers=headers)
