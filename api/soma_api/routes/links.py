"""Edges between memories over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from soma_api.dependencies import (
    Links,
    Memories,
    NamespaceQuery,
    Reader,
    ReadsRecords,
    UnconditionalWrite,
    WaitsForPosition,
)
from soma_api.json_body import JsonBody
from soma_api.models.query_parameters import LinkedMemoryId, LinkTypes, MemoryId
from soma_api.models.requests import PutLink
from soma_api.models.responses import json_response, link_view
from soma_api.namespace_access import require_readable
from soma_api.openapi import answers
from soma_api.problems import (
    BodyTooLargeError,
    ConditionUnsupportedError,
    DeadLetteredError,
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
from soma_api.queries.link_queries import Direction
from soma_api.write_responses import Creates
from soma_schemas.fields import StorableString
from soma_schemas.responses.link_responses import LinksView
from soma_schemas.responses.write_responses import WriteView

router = APIRouter(tags=["links"])

_MOST_LINKS = 1000

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
    response_model=LinksView,
    responses=answers(
        LinksView,
        {},
        InvalidHeaderError,
        InvalidInputError,
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
    memory_id: MemoryId,
    types: LinkTypes = None,
    direction: Annotated[
        Direction, Query(description="Links that begin here, that end here, or both.")
    ] = Direction.BOTH,
) -> Response:
    """List the links of a memory, those that begin there and those that end there."""
    answered = await consistency.ensure()
    await require_readable(memories, principal, [memory_id])
    found = await links.of(
        principal.tenant, [memory_id], most=_MOST_LINKS + 1, direction=direction, types=types
    )
    shown = [link_view(each.link) for each in found[:_MOST_LINKS] if principal.may_access(each.namespace)]
    return json_response({"links": shown, "truncated": len(found) > _MOST_LINKS}, 200, answered)


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
