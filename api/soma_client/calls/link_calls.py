"""Calls about links, and what is walked along them."""

from collections.abc import Sequence
from uuid import UUID

from soma_client.call import Call, MemoryId, asked, memory_path, said, segment, write_headers
from soma_client.request_types import CostName, DirectionName
from soma_schemas.responses.link_responses import LinkPage, NeighborsView, PathView
from soma_schemas.responses.write_responses import WriteView


def put_link(
    memory_id: MemoryId,
    to_memory_id: MemoryId,
    *,
    link_type: str,
    weight: float | None = None,
    namespace: str | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
) -> Call[WriteView]:
    """Link a memory to another; linking again with the same type replaces the weight.

    Args:
        memory_id: Where the link begins.
        to_memory_id: Where it ends.
        link_type: What it says.
        weight: 0 or more; 1 unless given.
        namespace: Of the memory where it begins; spares a read where that is known.
        event_id: Names the event; one with the same id changes nothing. None makes one.
        wait_seconds: How long to wait until reads see it; 0 does not.
    """
    return Call(
        "PUT",
        memory_path(memory_id, f"/links/{segment(to_memory_id)}"),
        WriteView,
        body=said(type=link_type, weight=weight, namespace=namespace),
        headers=write_headers(event_id, wait_seconds),
        keyed=True,
        sees_writes=True,
        wait_seconds=wait_seconds,
    )


def delete_link(
    memory_id: MemoryId,
    to_memory_id: MemoryId,
    *,
    link_type: str,
    namespace: str | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
) -> Call[WriteView]:
    """Delete the link of this type between two memories.

    Args:
        memory_id: Where the link begins.
        to_memory_id: Where it ends.
        link_type: What it says.
        namespace: Of the memory where it begins; spares a read where that is known.
        event_id: Names the event; one with the same id changes nothing. None makes one.
        wait_seconds: How long to wait until it is gone from reads; 0 does not.
    """
    return Call(
        "DELETE",
        memory_path(memory_id, f"/links/{segment(to_memory_id)}"),
        WriteView,
        query=asked(type=link_type, namespace=namespace),
        headers=write_headers(event_id, wait_seconds),
        keyed=True,
        sees_writes=True,
        wait_seconds=wait_seconds,
    )


def list_links(
    memory_id: MemoryId,
    *,
    types: Sequence[str] | None = None,
    direction: DirectionName | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[LinkPage]:
    """List the links of a memory: one page; `iter_links_of` goes through all.

    Those that begin there come first, then those that end there.

    Args:
        memory_id: Of which memory.
        types: Of these types; None is all.
        direction: Those that begin there (out), that end there (in), or both.
        limit: Links that a page looks at, 1 to 1000; 500 unless given.
        cursor: `next_cursor` of the page before.
    """
    return Call(
        "GET",
        memory_path(memory_id, "/links"),
        LinkPage,
        query=asked(type=types, direction=direction, limit=limit, cursor=cursor),
        sees_writes=True,
        bounds_staleness=True,
    )


def list_neighbors(
    memory_id: MemoryId,
    *,
    direction: DirectionName | None = None,
    depth: int | None = None,
    limit: int | None = None,
    types: Sequence[str] | None = None,
    min_weight: float | None = None,
) -> Call[NeighborsView]:
    """List the memories near a memory, the nearest first, each with the links that lead to it.

    Args:
        memory_id: Near which memory.
        direction: Walk links as they point (out), against that (in), or both ways; both unless given.
        depth: At most so many links away; 1 unless given.
        limit: At most so many memories; 50 unless given.
        types: Along links of these types; None is all.
        min_weight: Along links at least so heavy.
    """
    return Call(
        "GET",
        memory_path(memory_id, "/neighbors"),
        NeighborsView,
        query=asked(direction=direction, depth=depth, limit=limit, type=types, min_weight=min_weight),
        sees_writes=True,
        bounds_staleness=True,
    )


def find_path(
    from_memory_id: MemoryId,
    to_memory_id: MemoryId,
    *,
    direction: DirectionName | None = None,
    cost: CostName | None = None,
    types: Sequence[str] | None = None,
    min_weight: float | None = None,
) -> Call[PathView]:
    """Find the shortest path between two memories.

    Args:
        from_memory_id: Where it begins.
        to_memory_id: Where it ends.
        direction: Walk links as they point (out), against that (in), or both ways; out unless given.
        cost: How long a link is: its weight unless given.
        types: Along links of these types; None is all.
        min_weight: Along links at least so heavy.
    """
    ends = {"from": str(from_memory_id), "to": str(to_memory_id)}
    return Call(
        "GET",
        "/v1/paths",
        PathView,
        query=ends | asked(direction=direction, cost=cost, type=types, min_weight=min_weight),
        sees_writes=True,
        bounds_staleness=True,
    )


def list_all_links(
    *,
    namespace_prefix: str | None = None,
    types: Sequence[str] | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[LinkPage]:
    """List all links whose both ends the key covers: one page; `iter_links` goes through all.

    Args:
        namespace_prefix: Between memories in this namespace and below it.
        types: Of these types; None is all.
        limit: Links that a page looks at, 1 to 1000; 500 unless given.
        cursor: `next_cursor` of the page before.
    """
    return Call(
        "GET",
        "/v1/links",
        LinkPage,
        query=asked(namespace_prefix=namespace_prefix, type=types, limit=limit, cursor=cursor),
        sees_writes=True,
        bounds_staleness=True,
    )
