"""Erasures over HTTP: ask for one, and see how far it is."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from soma_api import headers
from soma_api.dependencies import ErasureAdmin, ErasureRequests, Erasures, PageCursors
from soma_api.json_body import JsonBody
from soma_api.models.erasure_views import ErasureQuery, RequestErasure, erasure_view
from soma_api.models.responses import json_response
from soma_api.openapi import answers
from soma_api.problems import (
    BodyTooLargeError,
    ErasureConflictError,
    ErasureNotFoundError,
    InvalidCursorError,
    InvalidHeaderError,
    InvalidInputError,
    LogUnavailableError,
    NamespaceForbiddenError,
    NotJsonError,
    NotYetVisibleError,
    StoreUnavailableError,
    TenantMismatchError,
    UnsupportedMediaTypeError,
)
from soma_schemas.responses.erasure_responses import ErasurePage, ErasureView

router = APIRouter(tags=["erasure"])

_Id = Annotated[UUID, Path(description="`request_id` of the erasure.")]

_Body = Annotated[RequestErasure, Depends(JsonBody(RequestErasure))]


@router.post(
    "/v1/erasures",
    operation_id="request_erasure",
    status_code=202,
    response_model=ErasureView,
    responses=answers(
        ErasureView,
        {},
        NotJsonError,
        UnsupportedMediaTypeError,
        BodyTooLargeError,
        InvalidInputError,
        InvalidHeaderError,
        TenantMismatchError,
        NamespaceForbiddenError,
        ErasureConflictError,
        LogUnavailableError,
        NotYetVisibleError,
        StoreUnavailableError,
    ),
)
async def request_erasure(
    *,
    principal: ErasureAdmin,
    requests: ErasureRequests,
    body: _Body,
    idempotency_key: headers.IdempotencyKey = None,
) -> Response:
    """Have everything about a person, a memory, a namespace or the whole tenant erased, with proof.

    The response means that the request is accepted: from now on no read and no search returns what it
    selects. What the log received before is deleted everywhere; what is stored from now on is new, and stays.
    """
    accepted = await requests.accept(principal, body, idempotency_key)
    return json_response(erasure_view(accepted), 202, {"Location": f"/v1/erasures/{accepted.request_id}"})


@router.get(
    "/v1/erasures",
    operation_id="list_erasures",
    response_model=ErasurePage,
    responses=answers(
        ErasurePage,
        {},
        InvalidInputError,
        InvalidCursorError,
        NamespaceForbiddenError,
        StoreUnavailableError,
    ),
)
async def list_erasures(
    *,
    principal: ErasureAdmin,
    erasures: Erasures,
    cursors: PageCursors,
    query: Annotated[ErasureQuery, Query()],
) -> Response:
    """List erasures, newest first, in pages."""
    # Another kind of list than the others, whose cursors are signed with the same secret.
    belongs_to = {"erasures": True}
    begin = None
    if query.cursor is not None:
        requested_at, request_id = cursors.read(query.cursor, principal.tenant, belongs_to)
        begin = requested_at, UUID(request_id)
    found = await erasures.page(principal.tenant, after=begin, limit=query.limit + 1)
    page = found[: query.limit]
    next_cursor = None
    if len(found) > query.limit:
        last = page[-1]
        next_cursor = cursors.make(
            principal.tenant, belongs_to, (last.requested_at.isoformat(), str(last.request_id))
        )
    return json_response({"erasures": [erasure_view(each) for each in page], "next_cursor": next_cursor})


@router.get(
    "/v1/erasures/{request_id}",
    operation_id="read_erasure",
    response_model=ErasureView,
    responses=answers(
        ErasureView,
        {},
        InvalidInputError,
        ErasureNotFoundError,
        NamespaceForbiddenError,
        StoreUnavailableError,
    ),
)
async def read_erasure(*, principal: ErasureAdmin, erasures: Erasures, request_id: _Id) -> Response:
    """Read how far an erasure is, and its receipt once it is complete."""
    erasure = await erasures.get(principal.tenant, request_id)
    if erasure is None:
        raise ErasureNotFoundError("there is no erasure with this id")
    return json_response(erasure_view(erasure))
