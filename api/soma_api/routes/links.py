"""Edges between memories over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from soma_api.answers import Creates, write_one
from soma_api.dependencies import JsonBody, Writer, command_of, services_of, wait_for_positions
from soma_api.models.inputs import PutLink
from soma_api.models.outputs import WriteView
from soma_api.openapi import POSITION, WRITING, NamespaceQuery, answers, extra
from soma_api.places import check_target, namespace_of
from soma_api.problems import (
    BodyTooLargeError,
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
    UnsupportedMediaTypeError,
)
from soma_api.waiting import READABLE
from soma_schemas.fields import StorableString

router = APIRouter(tags=["links"])

LINK_BODY = JsonBody(PutLink)

_ERRORS = (
    InvalidHeaderError,
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


@router.put(
    "/v1/memories/{memory_id}/links/{to_memory_id}",
    operation_id="put_link",
    status_code=202,
    response_model=WriteView,
    responses=answers(WriteView, _DONE, *_BODY, *_ERRORS),
    openapi_extra=extra(*WRITING[:2], *POSITION, body=LINK_BODY),
)
async def put_link(
    request: Request,
    principal: Writer,
    memory_id: UUID,
    to_memory_id: UUID,
    link: Annotated[PutLink, Depends(LINK_BODY)],
) -> Response:
    """Link a memory to another; linking again with the same type replaces the weight."""
    command = command_of(request, principal)
    command.check_tenant(link.tenant)
    await wait_for_positions(request, READABLE)
    memories = services_of(request).memories
    namespace = await namespace_of(memories, principal, memory_id, link.namespace)
    await check_target(memories, principal, to_memory_id)
    event = command.link(link, memory_id, to_memory_id, namespace)
    return await write_one(request, command, event, creates=Creates.NEVER)


@router.delete(
    "/v1/memories/{memory_id}/links/{to_memory_id}",
    operation_id="delete_link",
    status_code=202,
    response_model=WriteView,
    responses=answers(WriteView, _DONE, *_ERRORS),
    openapi_extra=extra(*WRITING[:2], *POSITION),
)
async def delete_link(  # noqa: PLR0917  # FastAPI passes by name
    request: Request,
    principal: Writer,
    memory_id: UUID,
    to_memory_id: UUID,
    link_type: Annotated[StorableString, Query(alias="type", min_length=1, description="Of the edge.")],
    namespace: NamespaceQuery = None,
) -> Response:
    """End the edge of this type from a memory to another."""
    command = command_of(request, principal)
    await wait_for_positions(request, READABLE)
    memories = services_of(request).memories
    lies_in = await namespace_of(memories, principal, memory_id, namespace)
    event = command.unlink(link_type, memory_id, to_memory_id, lies_in)
    return await write_one(request, command, event, creates=Creates.NEVER)
