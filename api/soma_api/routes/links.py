"""Edges between memories over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from soma_api.dependencies import NamespaceQuery, UnconditionalWrite, WaitsForPosition
from soma_api.json_body import JsonBody
from soma_api.models.requests import PutLink
from soma_api.models.responses import WriteView
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
    UnsupportedMediaTypeError,
)
from soma_api.write_responses import Creates
from soma_schemas.fields import StorableString

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
    memory_id: UUID,
    to_memory_id: UUID,
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
    memory_id: UUID,
    to_memory_id: UUID,
    link_type: Annotated[StorableString, Query(alias="type", min_length=1, description="Type of the link.")],
    namespace: NamespaceQuery = None,
) -> Response:
    """Delete the link of this type between two memories."""
    await position.wait()
    lies_in = await write.access.namespace_of(memory_id, namespace)
    event = write.events.unlink(link_type, memory_id, to_memory_id, lies_in)
    return await write.responder.one(event, creates=Creates.NEVER)
