"""Edges between memories over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from soma_api.dependencies import (
    Links,
    Memories,
    NamespaceQuery,
    PageCursors,
    Reader,
    ReadsRecords,
    UnconditionalWrite,
    WaitsForPosition,
)
from soma_api.json_body import JsonBody
from soma_api.models.query_parameters import (
    DEFAULT_LINK_PAGE_SIZE,
    LinkedMemoryId,
    LinkPageSize,
    LinkTypes,
    MemoryId,
    PageCursor,
)
from soma_api.models.requests import PutLink
from soma_api.models.responses import json_response, link_view
from soma_api.namespace_access import require_readable
from soma_api.openapi import answers
from soma_api.problems import (
    BodyTooLargeError,
    ConditionUnsupportedError,
    DeadLetteredError,
    InvalidCursorError,
    InvalidHeaderError,
    InvalidInputError,
    LogUnavailableError,
    MemoryNotFoundError,
    NamespaceForbiddenError,
    NamespaceMismatchError,
    NamespaceUnknownError,
    NotJsonError,
    NotYetVisibleError,
    StoreUnavailableError,
    SupersededError,
    TenantMismatchError,
    TooStaleError,
    UnsupportedMediaTypeError,
)
from soma_api.queries.link_queries import FIRST_PLACE, Direction, LinkPlace
from soma_api.write_responses import Creates
from soma_schemas.fields import StorableString
from soma_schemas.responses.link_responses import LinkPage
from soma_schemas.responses.write_responses import WriteView

router = APIRouter(tags=["links"])

_Body = Annotated[PutLink, Depends(JsonBody(PutLink))]

_ERRORS = (
    InvalidHeaderError,
    ConditionUnsupportedError,
    InvalidInputError,
    MemoryNotFoundError,
    NamespaceUnknownError,
    NamespaceForbiddenError,
    NamespaceMismatchError,
    NotYetVisibleError,
    SupersededError,
    DeadLetteredError,
    LogUnavailableError,
    StoreUnavailableError,
)
_BODY = (NotJsonError, UnsupportedMediaTypeError, BodyTooLargeError, TenantMismatchError)
_DONE = {200: "Done; only with `Prefer: wait`."}


@router.get(
    "/v1/memories/{memory_id}/links",
    operation_id="list_links",
    response_model=LinkPage,
    responses=answers(
        LinkPage,
        {},
        InvalidHeaderError,
        InvalidInputError,
        InvalidCursorError,
        NotYetVisibleError,
        TooStaleError,
        MemoryNotFoundError,
        StoreUnavailableError,
    ),
)
async def list_links(
    *,
    principal: Reader,
    consistency: ReadsRecords,
    memories: Memories,
    links: Links,
    cursors: PageCursors,
    memory_id: MemoryId,
    types: LinkTypes = None,
    direction: Annotated[
        Direction, Query(description="Links that begin here, that end here, or both.")
    ] = Direction.BOTH,
    limit: LinkPageSize = DEFAULT_LINK_PAGE_SIZE,
    cursor: PageCursor = None,
) -> Response:
    """List the links of a memory, page by page: those that begin there, then those that end there.

    A page may hold fewer links than `limit`, or none, and not be the last: go on while there is a
    `next_cursor`.
    """
    asked = {"list": "links of one", "memory_id": str(memory_id), "types": types, "direction": direction}
    after = FIRST_PLACE
    if cursor is not None:
        incoming, of_type, other = cursors.read(cursor, principal.tenant, asked)
        after = LinkPlace(incoming, of_type, UUID(other))
    answered = await consistency.ensure()
    await require_readable(memories, principal, [memory_id])
    found = await links.of_one(principal.tenant, memory_id, after, limit, direction=direction, types=types)
    next_cursor = None
    if len(found) == limit:
        last = found[-1].place
        next_cursor = cursors.make(principal.tenant, asked, [last.incoming, last.type, str(last.other)])
    shown = [
        link_view(each.link)
        for each in found
        if each.namespace is not None and principal.may_access(each.namespace)
    ]
    return json_response({"links": shown, "next_cursor": next_cursor}, 200, answered)


@router.put(
    "/v1/memories/{memory_id}/links/{to_memory_id}",
    operation_id="put_link",
    status_code=202,
    response_model=WriteView,
    responses=answers(WriteView, _DONE, *_BODY, *_ERRORS),
)
async def put_link(
    *,
    write: UnconditionalWrite,
    position: WaitsForPosition,
    memory_id: MemoryId,
    to_memory_id: LinkedMemoryId,
    link: _Body,
) -> Response:
    """Link a memory to another; linking again with the same type replaces the weight."""
    write.events.check_tenant(link.tenant)
    await position.wait()
    namespace = await write.access.namespace_of(memory_id, link.namespace)
    await write.access.check_target(to_memory_id)
    event = write.events.link(link, memory_id, to_memory_id, namespace)
    return await write.responder.one(event, creates=Creates.NEVER)


@router.delete(
    "/v1/memories/{memory_id}/links/{to_memory_id}",
    operation_id="delete_link",
    status_code=202,
    response_model=WriteView,
    responses=answers(WriteView, _DONE, *_ERRORS),
)
async def delete_link(
    *,
    write: UnconditionalWrite,
    position: WaitsForPosition,
    memory_id: MemoryId,
    to_memory_id: LinkedMemoryId,
    link_type: Annotated[StorableString, Query(alias="type", min_length=1, description="Type of the link.")],
    namespace: NamespaceQuery = None,
) -> Response:
    """Delete the link of this type between two memories."""
    await position.wait()
    lies_in = await write.access.namespace_of(memory_id, namespace)
    event = write.events.unlink(link_type, memory_id, to_memory_id, lies_in)
    return await write.responder.one(event, creates=Creates.NEVER)
