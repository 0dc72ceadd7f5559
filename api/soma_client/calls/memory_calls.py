"""Calls about memories: store, read, change, end and list them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Unpack
from uuid import UUID

from soma_client.call import (
    Call,
    MemoryId,
    Moment,
    asked,
    memory_path,
    numbers,
    plain,
    said,
    write_headers,
)
from soma_client.request_types import KindName, MemoryChanges, MemoryFields, MemoryState, OrderName
from soma_schemas.memories import MemoryView
from soma_schemas.responses.memory_responses import MemoryPage
from soma_schemas.responses.write_responses import BatchView, WriteView


def store_memory(
    text: str,
    *,
    namespace: str,
    key: str | None = None,
    coordinate: Sequence[float] | None = None,
    memory_id: MemoryId | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
    **state: Unpack[MemoryState],
) -> Call[WriteView]:
    """Store a memory. Storing again at the same key or coordinate replaces it.

    Args:
        text: What is remembered, in words.
        namespace: Path: 1 to 16 segments joined by `/`.
        key: Names the memory in its namespace.
        coordinate: Names the memory by a place, instead of a key.
        memory_id: Only for a memory with neither key nor coordinate; None makes one.
        event_id: Names the event; one with the same id changes nothing. None makes one.
        wait_seconds: How long to wait until reads and searches see it; 0 does not.
        **state: What else it holds: see `MemoryState`.
    """
    named = said(namespace=namespace, key=key, coordinate=coordinate, memory_id=memory_id)
    return Call(
        "POST",
        "/v1/memories",
        WriteView,
        body=named | said(text=text, **state),
        headers=write_headers(event_id, wait_seconds),
        keyed=True,
        wait_seconds=wait_seconds,
    )


def store_memories(
    memories: Sequence[MemoryFields], *, event_id: UUID | None = None, wait_seconds: int = 0
) -> Call[BatchView]:
    """Store memories in order: all are sent, or, when one is wrong, none.

    Args:
        memories: Fields of each.
        event_id: Names the events; the same one again changes nothing. None makes one.
        wait_seconds: How long to wait until reads and searches see all; 0 does not.
    """
    return Call(
        "POST",
        "/v1/memories:batch",
        BatchView,
        body={"memories": [said(**each) for each in memories]},
        headers=write_headers(event_id, wait_seconds),
        keyed=True,
        wait_seconds=wait_seconds,
    )


def put_named_memory(
    text: str,
    *,
    namespace: str,
    key: str | None = None,
    coordinate: Sequence[float] | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
    **state: Unpack[MemoryState],
) -> Call[WriteView]:
    """Store the whole state of the memory with this key or coordinate, whether it is there or not.

    Args:
        text: What is remembered, in words.
        namespace: Where it lies.
        key: Names the memory in its namespace.
        coordinate: Names the memory by a place, instead of a key.
        event_id: Names the event; one with the same id changes nothing. None makes one.
        wait_seconds: How long to wait until reads and searches see it; 0 does not.
        **state: What else it holds: see `MemoryState`.
    """
    return Call(
        "PUT",
        "/v1/memories",
        WriteView,
        query=asked(namespace=namespace, key=key, coordinate=numbers(coordinate)),
        body=said(text=text, **state),
        headers=write_headers(event_id, wait_seconds),
        keyed=True,
        wait_seconds=wait_seconds,
    )


def put_memory(
    memory_id: MemoryId,
    text: str,
    *,
    namespace: str,
    key: str | None = None,
    coordinate: Sequence[float] | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
    **state: Unpack[MemoryState],
) -> Call[WriteView]:
    """Store the whole state of the memory with this id.

    Args:
        memory_id: Which; with a key or a coordinate, the id that it gives.
        text: What is remembered, in words.
        namespace: Where it lies.
        key: Names the memory in its namespace.
        coordinate: Names the memory by a place, instead of a key.
        event_id: Names the event; one with the same id changes nothing. None makes one.
        wait_seconds: How long to wait until reads and searches see it; 0 does not.
        **state: What else it holds: see `MemoryState`.
    """
    named = said(namespace=namespace, key=key, coordinate=coordinate)
    return Call(
        "PUT",
        memory_path(memory_id),
        WriteView,
        body=named | said(text=text, **state),
        headers=write_headers(event_id, wait_seconds),
        keyed=True,
        wait_seconds=wait_seconds,
    )


def read_memory(memory_id: MemoryId, *, embeddings: bool | None = None) -> Call[MemoryView]:
    """Read one memory.

    Args:
        memory_id: Which.
        embeddings: Also return the vector that came with it.
    """
    return Call(
        "GET",
        memory_path(memory_id),
        MemoryView,
        query=asked(embeddings=embeddings),
        sees_writes=True,
        bounds_staleness=True,
    )


def patch_memory(
    memory_id: MemoryId,
    changes: MemoryChanges,
    *,
    namespace: str | None = None,
    expected_version: int | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
) -> Call[WriteView]:
    """Change some fields of a memory; the others keep their values.

    Args:
        memory_id: Which.
        changes: Fields by name.
        namespace: Where it lies; spares a read where that is known.
        expected_version: Only this version; None changes any.
        event_id: Names the event; one with the same id changes nothing. None makes one.
        wait_seconds: How long to wait until reads and searches see it; 0 does not.
    """
    return Call(
        "PATCH",
        memory_path(memory_id),
        WriteView,
        query=asked(namespace=namespace),
        body=plain(changes),
        headers=write_headers(event_id, wait_seconds, expected_version),
        keyed=True,
        sees_writes=True,
        wait_seconds=wait_seconds,
    )


def delete_memory(
    memory_id: MemoryId,
    *,
    namespace: str | None = None,
    expected_version: int | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
) -> Call[WriteView]:
    """Delete a memory.

    Args:
        memory_id: Which.
        namespace: Where it lies; spares a read where that is known.
        expected_version: Only this version; None deletes any.
        event_id: Names the event; one with the same id changes nothing. None makes one.
        wait_seconds: How long to wait until it is gone from reads and searches; 0 does not.
    """
    return Call(
        "DELETE",
        memory_path(memory_id),
        WriteView,
        query=asked(namespace=namespace),
        headers=write_headers(event_id, wait_seconds, expected_version),
        keyed=True,
        sees_writes=True,
        wait_seconds=wait_seconds,
    )


def list_memories(
    *,
    namespace: str | None = None,
    namespace_prefix: str | None = None,
    kind: KindName | None = None,
    subject: str | None = None,
    source: str | None = None,
    occurred_from: Moment | None = None,
    occurred_before: Moment | None = None,
    created_from: Moment | None = None,
    created_before: Moment | None = None,
    updated_from: Moment | None = None,
    updated_before: Moment | None = None,
    key: str | None = None,
    coordinate: Sequence[float] | None = None,
    coordinate_min: Sequence[float] | None = None,
    coordinate_max: Sequence[float] | None = None,
    tags: Sequence[str] | None = None,
    importance_min: float | None = None,
    importance_max: float | None = None,
    payload: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
    embeddings: bool | None = None,
    sort: OrderName | None = None,
    near: Sequence[float] | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[MemoryPage]:
    """List memories that match every filter: one page; `iter_memories` goes through all.

    Args:
        namespace: Exactly this namespace.
        namespace_prefix: This namespace and all below it.
        kind: Of this kind.
        subject: About this person.
        source: From exactly this source.
        occurred_from: Happened at this time or later.
        occurred_before: Happened before this time.
        created_from: First stored at this time or later.
        created_before: First stored before this time.
        updated_from: Last changed at this time or later.
        updated_before: Last changed before this time.
        key: The memory with this key, in a `namespace`.
        coordinate: The memory at this coordinate, in a `namespace`.
        coordinate_min: Low corner of a box of coordinates.
        coordinate_max: High corner of the box.
        tags: Having all of these tags.
        importance_min: At least this important.
        importance_max: At most this important.
        payload: Fields that the payload has.
        where: What else is true of them, in the filter language (docs/guides/search.md).
        embeddings: Also return the vectors that came with memories.
        sort: A minus puts the newest or greatest first; the last changed come first unless given.
        near: For the order by distance, from which coordinate.
        limit: Memories on a page, 1 to 1000; 50 unless given.
        cursor: `next_cursor` of the page before, with the same filters and sort.
    """
    query = asked(
        namespace=namespace,
        namespace_prefix=namespace_prefix,
        kind=kind,
        subject=subject,
        source=source,
        occurred_from=occurred_from,
        occurred_before=occurred_before,
        created_from=created_from,
        created_before=created_before,
        updated_from=updated_from,
        updated_before=updated_before,
        key=key,
        coordinate=numbers(coordinate),
        coordinate_min=numbers(coordinate_min),
        coordinate_max=numbers(coordinate_max),
        tags=tags,
        importance_min=importance_min,
        importance_max=importance_max,
        payload=None if payload is None else json.dumps(payload),
        filter=None if where is None else json.dumps(plain(where)),
        embeddings=embeddings,
        sort=sort,
        near=numbers(near),
        limit=limit,
        cursor=cursor,
    )
    return Call("GET", "/v1/memories", MemoryPage, query=query, sees_writes=True, bounds_staleness=True)
