"""Memories over HTTP: store, read, change, end, and list them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from soma_api import headers
from soma_api.dependencies import (
    AccessesCounted,
    ConditionalWrite,
    Memories,
    NamespaceQuery,
    PageCursors,
    Policies,
    Reader,
    ReadsRecords,
    Settings,
    UnconditionalWrite,
    WaitsForPosition,
)
from soma_api.json_body import JsonBody
from soma_api.models.list_query import ListQuery, after, sort_key
from soma_api.models.memory_name import MemoryName
from soma_api.models.query_parameters import MemoryId
from soma_api.models.requests import MemoryState, PatchMemory, StoreBatch, StoreMemory
from soma_api.models.responses import json_response, memory_view
from soma_api.openapi import answers
from soma_api.problems import (
    BodyTooLargeError,
    ConditionUnsupportedError,
    DeadLetteredError,
    EncryptionUnavailableError,
    InvalidCursorError,
    InvalidHeaderError,
    InvalidInputError,
    ListTooCostlyError,
    LogUnavailableError,
    MemoryNotFoundError,
    NamespaceForbiddenError,
    NamespaceMismatchError,
    NamespaceUnknownError,
    NotJsonError,
    NotYetVisibleError,
    PreconditionFailedError,
    StoreUnavailableError,
    SupersededError,
    TenantMismatchError,
    TooStaleError,
    UnsupportedMediaTypeError,
)
from soma_api.write_responses import Creates
from soma_schemas.memories import MemoryView
from soma_schemas.responses.memory_responses import MemoryPage
from soma_schemas.responses.write_responses import BatchView, WriteView

router = APIRouter(tags=["memories"])


class _IdConvertor(StringConvertor):
    """A segment without a colon: what follows a colon is another route's, whose methods are its own."""

    regex = "[^/:]+"


register_url_convertor("id", _IdConvertor())
_ONE = "/v1/memories/{memory_id:id}"

_Memory = Annotated[StoreMemory, Depends(JsonBody(StoreMemory))]
_State = Annotated[MemoryState, Depends(JsonBody(MemoryState))]
_Batch = Annotated[StoreBatch, Depends(JsonBody(StoreBatch))]
_Patch = Annotated[PatchMemory, Depends(JsonBody(PatchMemory, "application/merge-patch+json"))]

_BODY = (NotJsonError, UnsupportedMediaTypeError, BodyTooLargeError, InvalidInputError, TenantMismatchError)
_PUBLISH = (
    InvalidHeaderError,
    NamespaceForbiddenError,
    PreconditionFailedError,
    SupersededError,
    DeadLetteredError,
    LogUnavailableError,
    EncryptionUnavailableError,
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
)
async def store_memory(*, write: ConditionalWrite, memory: _Memory) -> Response:
    """Store a memory.

    The response means that the event is in the log. Reads and searches see it moments later, or before the
    response with `Prefer: wait=SECONDS`. Storing again at the same key or coordinate replaces the memory.

    With `Prefer: wait` the response has the outcome: 201 if the write was applied, 200 if the same event was
    applied before, and otherwise a problem: 412 if the memory does not have the version in `If-Match`, 409 if
    it has a higher version, 404 if there is nothing to change, 422 if the event can never be applied. Without
    it, `/v1/writes/{position}` returns the outcome.
    """
    event = write.events.store(memory)
    await write.access.check_replaced([event])
    (event,) = await write.access.over_expired([event])
    return await write.responder.one(event, creates=Creates.ALWAYS)


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
        ConditionUnsupportedError,
    ),
)
async def store_memories(*, write: UnconditionalWrite, batch: _Batch) -> Response:
    """Store many memories, in order.

    If one item is invalid, none is published. With `Prefer: wait` each item has its own outcome.
    """
    stored = write.events.store_all(batch.memories)
    await write.access.check_replaced(stored)
    stored = await write.access.over_expired(stored)
    return await write.responder.many(stored, write.events.event_id)


@router.get(
    "/v1/memories",
    operation_id="list_memories",
    response_model=MemoryPage,
    responses=answers(
        MemoryPage,
        {},
        *_READ,
        InvalidInputError,
        InvalidCursorError,
        NamespaceForbiddenError,
        ListTooCostlyError,
    ),
)
async def list_memories(
    *,
    principal: Reader,
    consistency: ReadsRecords,
    memories: Memories,
    policies: Policies,
    cursors: PageCursors,
    settings: Settings,
    query: Annotated[ListQuery, Query()],
) -> Response:
    """List memories that match every filter, in pages.

    A memory that changes between two pages may move in the order; every other one is listed exactly once.
    """
    wanted, near = query.selection(principal, settings.limits), query.nearest_to(settings.limits)
    belongs_to = {"query": query.signature(), "namespaces": principal.namespaces}
    begin = None
    if query.cursor is not None:
        begin = after(cursors.read(query.cursor, principal.tenant, belongs_to))
    answered = await consistency.ensure()
    found = await memories.page(
        principal.tenant,
        wanted,
        query.sort,
        near=near,
        after=begin,
        limit=query.limit + 1,
        embeddings=query.embeddings,
    )
    page = found[: query.limit]
    more = len(found) > query.limit
    next_cursor = cursors.make(principal.tenant, belongs_to, sort_key(page[-1])) if more else None
    in_force = await policies.of(principal.tenant)
    views = [memory_view(each.memory, in_force, embeddings=query.embeddings) for each in page]
    return json_response({"memories": views, "next_cursor": next_cursor}, 200, answered)


@router.put(
    "/v1/memories",
    operation_id="put_named_memory",
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
)
async def put_named_memory(
    *,
    write: ConditionalWrite,
    settings: Settings,
    name: Annotated[MemoryName, Query()],
    state: _State,
) -> Response:
    """Store the whole state of the memory with this key or coordinate, whether it is there or not.

    The same request again leaves the same state. `If-None-Match: *` makes the memory and replaces none;
    `If-Match` replaces the version that was read.
    """
    event = write.events.store(name.of(state, settings.limits))
    (event,) = await write.access.over_expired([event])
    return await write.responder.one(event, creates=Creates.IF_NEW)


@router.get(
    _ONE,
    operation_id="read_memory",
    response_model=MemoryView,
    responses=answers(MemoryView, {}, *_READ, InvalidInputError, MemoryNotFoundError)
    | {304: {"description": "Unchanged."}},
)
async def read_memory(
    *,
    principal: Reader,
    consistency: ReadsRecords,
    memories: Memories,
    policies: Policies,
    accesses: AccessesCounted,
    memory_id: MemoryId,
    if_none_match: headers.IfNoneMatch = None,
    embeddings: Annotated[
        bool, Query(description="Also return the vector that came with the memory.")
    ] = False,
) -> Response:
    """Read one memory."""
    answered = await consistency.ensure()
    memory = await memories.get(principal.tenant, memory_id, embeddings=embeddings)
    # A memory outside of what the key covers is not there, rather than forbidden: ids can be guessed.
    if memory is None or not principal.may_access(memory.content.namespace):
        raise MemoryNotFoundError("there is no such memory")
    accesses.note(principal, [memory])
    answered["ETag"] = headers.entity_tag(memory.version)
    if headers.is_unchanged(if_none_match, memory.version):
        return Response(status_code=304, headers=answered)
    view = memory_view(memory, await policies.of(principal.tenant), embeddings=embeddings)
    return json_response(view, 200, answered)


@router.put(
    _ONE,
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
)
async def put_memory(
    *,
    write: ConditionalWrite,
    memory_id: MemoryId,
    memory: _Memory,
) -> Response:
    """Store the whole state of the memory with this id.

    When the body has a key or a coordinate, the id must be the one that it gives.
    """
    event = write.events.store(memory, memory_id)
    await write.access.check_replaced([event])
    (event,) = await write.access.over_expired([event])
    return await write.responder.one(event, creates=Creates.IF_NEW)


@router.patch(
    _ONE,
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
)
async def patch_memory(
    *,
    write: ConditionalWrite,
    position: WaitsForPosition,
    memory_id: MemoryId,
    change: _Patch,
    namespace: NamespaceQuery = None,
) -> Response:
    """Change some fields of a memory. Fields that are not in the body keep their values.

    A memory that was just stored may not be visible yet. Then send its `namespace`, or its position as
    `Soma-Position`.
    """
    write.events.check_tenant(change.tenant)
    await position.wait()
    lies_in = await write.access.namespace_of(memory_id, _one(change.namespace, namespace))
    return await write.responder.one(write.events.patch(change, memory_id, lies_in), creates=Creates.NEVER)


@router.delete(
    _ONE,
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
)
async def delete_memory(
    *,
    write: ConditionalWrite,
    position: WaitsForPosition,
    memory_id: MemoryId,
    namespace: NamespaceQuery = None,
) -> Response:
    """Delete a memory.

    A memory that was just stored may not be visible yet. Then send its `namespace`, or its position as
    `Soma-Position`.
    """
    await position.wait()
    lies_in = await write.access.namespace_of(memory_id, namespace)
    return await write.responder.one(write.events.delete(memory_id, lies_in), creates=Creates.NEVER)


def _one(in_body: str | None, in_query: str | None) -> str | None:
    if in_body is not None and in_query is not None and in_body != in_query:
        raise NamespaceMismatchError("body and query name different namespaces")
    return in_body if in_query is None else in_query
