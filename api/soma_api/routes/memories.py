"""Memories over HTTP: store, read, change, end, and list them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from soma_api import headers
from soma_api.answers import Creates, write_many, write_one
from soma_api.dependencies import (
    JsonBody,
    Reader,
    Writer,
    command_of,
    read_headers,
    services_of,
    wait_for_positions,
)
from soma_api.models.inputs import PatchMemory, StoreBatch, StoreMemory
from soma_api.models.listing import ListQuery, after, sort_key
from soma_api.models.outputs import BatchView, MemoryPage, MemoryView, WriteView, json_response, memory_view
from soma_api.openapi import CONDITIONAL, POSITION, READING, WRITING, NamespaceQuery, answers, extra
from soma_api.places import check_replaced, namespace_of
from soma_api.problems import (
    BodyTooLargeError,
    DeadLetteredError,
    Fault,
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
    PreconditionFailedError,
    Source,
    StoreUnavailableError,
    SupersededError,
    TenantMismatchError,
    TooStaleError,
    UnsupportedMediaTypeError,
)
from soma_api.waiting import READABLE
from soma_schemas.groups import SinkGroup
from soma_schemas.violations import ViolationCode

router = APIRouter(tags=["memories"])

STORE_BODY = JsonBody(StoreMemory)
BATCH_BODY = JsonBody(StoreBatch)
PATCH_BODY = JsonBody(PatchMemory, "application/merge-patch+json")

_BODY = (NotJsonError, UnsupportedMediaTypeError, BodyTooLargeError, InvalidInputError, TenantMismatchError)
_PUBLISH = (
    InvalidHeaderError,
    NamespaceForbiddenError,
    PreconditionFailedError,
    SupersededError,
    DeadLetteredError,
    LogUnavailableError,
    StoreUnavailableError,
)
_READ = (InvalidHeaderError, NotYetVisibleError, TooStaleError, StoreUnavailableError)
_CHANGE = (MemoryNotFoundError, NamespaceUnknownError, NamespaceMismatchError, NotYetVisibleError)


@router.post(
    "/v1/memories",
    operation_id="store_memory",
    status_code=202,
    response_model=WriteView,
    responses=answers(
        WriteView,
        {
            201: "Readable and searchable; only with `Prefer: wait`.",
            200: "The same event was applied before; only with `Prefer: wait`.",
        },
        *_BODY,
        *_PUBLISH,
    ),
    openapi_extra=extra(*WRITING, body=STORE_BODY),
)
async def store_memory(
    request: Request, principal: Writer, memory: Annotated[StoreMemory, Depends(STORE_BODY)]
) -> Response:
    """Store a memory.

    The log has it when this answers; reads and searches see it moments later, or before the answer with
    `Prefer: wait=SECONDS`. Storing again at the same key or coordinate replaces the whole memory.

    A write that waited tells what became of it. Applied is 201. The same event once more changes nothing and
    is 200. What was refused is a problem: 412 when the memory has another version than `If-Match` expects,
    409 when it is newer than the write, 404 when there is nothing to change, 422 when no sink can ever apply
    it. Whoever does not wait finds the same at `/v1/writes/{position}`.
    """
    command = command_of(request, principal)
    event = command.store(memory)
    await check_replaced(services_of(request).memories, principal, [event])
    return await write_one(request, command, event, creates=Creates.ALWAYS)


@router.post(
    "/v1/memories:batch",
    operation_id="store_memories",
    status_code=202,
    response_model=BatchView,
    responses=answers(
        BatchView,
        {
            201: "All are readable and searchable; only with `Prefer: wait`.",
            200: "All are settled, and some changed nothing; only with `Prefer: wait`.",
        },
        *_BODY,
        *_PUBLISH,
    ),
    openapi_extra=extra(*WRITING[:2], body=BATCH_BODY),
)
async def store_memories(
    request: Request, principal: Writer, batch: Annotated[StoreBatch, Depends(BATCH_BODY)]
) -> Response:
    """Store many memories, in order.

    One that is wrong refuses them all, and nothing is sent. With `Prefer: wait` each item tells its own
    outcome.
    """
    command = command_of(request, principal)
    events = command.store_all(batch.memories)
    await check_replaced(services_of(request).memories, principal, events)
    return await write_many(request, command, events)


@router.get(
    "/v1/memories",
    operation_id="list_memories",
    response_model=MemoryPage,
    responses=answers(MemoryPage, {}, *_READ, InvalidInputError, InvalidCursorError, NamespaceForbiddenError),
    openapi_extra=extra(*READING),
)
async def list_memories(
    request: Request, principal: Reader, query: Annotated[ListQuery, Query()]
) -> Response:
    """List memories that match every filter, page by page.

    Memories that change while a list is read may move within it; one that stays is listed exactly once.
    """
    services = services_of(request)
    limit = query.limit or services.settings.api.page_size
    if limit > services.settings.api.page_size_max:
        raise _limit_too_large(services.settings.api.page_size_max)
    filters = query.filters(principal, services.settings.limits)
    belongs_to = {"query": query.signature(), "namespaces": principal.namespaces}
    begin = None
    if query.cursor is not None:
        begin = after(services.cursors.read(query.cursor, principal.tenant, belongs_to))
    answered = await read_headers(request, SinkGroup.POSTGRES)
    memories = await services.memories.page(
        principal.tenant, filters, query.sort, after=begin, limit=limit + 1, embeddings=query.embeddings
    )
    page = memories[:limit]
    more = len(memories) > limit
    next_cursor = (
        services.cursors.make(principal.tenant, belongs_to, sort_key(page[-1], query.sort)) if more else None
    )
    views = [memory_view(memory, embeddings=query.embeddings) for memory in page]
    return json_response({"memories": views, "next_cursor": next_cursor}, 200, answered)


@router.get(
    "/v1/memories/{memory_id}",
    operation_id="read_memory",
    response_model=MemoryView,
    responses=answers(MemoryView, {}, *_READ, InvalidInputError, MemoryNotFoundError)
    | {304: {"description": "Unchanged."}},
    openapi_extra=extra(*READING, *CONDITIONAL),
)
async def read_memory(
    request: Request,
    principal: Reader,
    memory_id: UUID,
    embeddings: Annotated[  # noqa: FBT002  # FastAPI passes by name
        bool, Query(description="Also return the vector that came with the memory.")
    ] = False,
) -> Response:
    """Read one memory."""
    answered = await read_headers(request, SinkGroup.POSTGRES)
    memory = await services_of(request).memories.get(principal.tenant, memory_id, embeddings=embeddings)
    # A memory outside of what the key covers is not there, rather than forbidden: ids can be guessed.
    if memory is None or not principal.may_enter(memory.namespace):
        raise MemoryNotFoundError("there is no such memory")
    answered["ETag"] = headers.entity_tag(memory.version)
    if headers.is_unchanged(request.headers.get("if-none-match"), memory.version):
        return Response(status_code=304, headers=answered)
    return json_response(memory_view(memory, embeddings=embeddings), 200, answered)


@router.put(
    "/v1/memories/{memory_id}",
    operation_id="put_memory",
    status_code=202,
    response_model=WriteView,
    responses=answers(
        WriteView,
        {
            201: "Made, readable and searchable; only with `Prefer: wait`.",
            200: "Replaced, readable and searchable; only with `Prefer: wait`.",
        },
        *_BODY,
        *_PUBLISH,
    ),
    openapi_extra=extra(*WRITING, body=STORE_BODY),
)
async def put_memory(
    request: Request, principal: Writer, memory_id: UUID, memory: Annotated[StoreMemory, Depends(STORE_BODY)]
) -> Response:
    """Store the whole state of the memory with this id.

    When the body has a key or a coordinate, the id must be the one that it gives.
    """
    command = command_of(request, principal)
    event = command.store(memory, memory_id)
    await check_replaced(services_of(request).memories, principal, [event])
    return await write_one(request, command, event, creates=Creates.IF_NEW)


@router.patch(
    "/v1/memories/{memory_id}",
    operation_id="patch_memory",
    status_code=202,
    response_model=WriteView,
    responses=answers(
        WriteView,
        {200: "Changed, readable and searchable; only with `Prefer: wait`."},
        *_BODY,
        *_PUBLISH,
        *_CHANGE,
    ),
    openapi_extra=extra(*WRITING, *POSITION, body=PATCH_BODY),
)
async def patch_memory(
    request: Request,
    principal: Writer,
    memory_id: UUID,
    change: Annotated[PatchMemory, Depends(PATCH_BODY)],
    namespace: NamespaceQuery = None,
) -> Response:
    """Change some fields of a memory; what the body leaves out stays.

    A memory that was stored a moment ago may not be visible yet: then send its `namespace`, or its position
    as `Soma-Position`.
    """
    command = command_of(request, principal)
    command.check_tenant(change.tenant)
    await wait_for_positions(request, READABLE)
    lies_in = await namespace_of(
        services_of(request).memories, principal, memory_id, _one(change.namespace, namespace)
    )
    return await write_one(request, command, command.patch(change, memory_id, lies_in), creates=Creates.NEVER)


@router.delete(
    "/v1/memories/{memory_id}",
    operation_id="delete_memory",
    status_code=202,
    response_model=WriteView,
    responses=answers(
        WriteView,
        {200: "Gone from reads and searches; only with `Prefer: wait`."},
        InvalidInputError,
        *_PUBLISH,
        *_CHANGE,
    ),
    openapi_extra=extra(*WRITING, *POSITION),
)
async def delete_memory(
    request: Request, principal: Writer, memory_id: UUID, namespace: NamespaceQuery = None
) -> Response:
    """End a memory.

    A memory that was stored a moment ago may not be visible yet: then send its `namespace`, or its position
    as `Soma-Position`.
    """
    command = command_of(request, principal)
    await wait_for_positions(request, READABLE)
    lies_in = await namespace_of(services_of(request).memories, principal, memory_id, namespace)
    return await write_one(request, command, command.delete(memory_id, lies_in), creates=Creates.NEVER)


def _one(in_body: str | None, in_query: str | None) -> str | None:
    if in_body is not None and in_query is not None and in_body != in_query:
        raise NamespaceMismatchError("body and query name different namespaces")
    return in_body if in_query is None else in_query


def _limit_too_large(most: int) -> InvalidInputError:
    fault = Fault(
        source=Source.QUERY, path="/limit", code=ViolationCode.OUT_OF_RANGE, message=f"is at most {most}"
    )
    return InvalidInputError("the query breaks the contract", faults=[fault])
