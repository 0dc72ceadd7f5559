"""The graph that memories and their links make, over HTTP."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from soma_api.dependencies import Links, Memories, PageCursors, Policies, Reader, ReadsRecords
from soma_api.link_walks import Cost, LinksRead, neighbourhood, shortest_path
from soma_api.models.list_query import visible_below
from soma_api.models.query_parameters import (
    DEFAULT_LINK_PAGE_SIZE,
    DEFAULT_PAGE_SIZE,
    LinkPageSize,
    LinkTypes,
    MemoryId,
    PageCursor,
    PageSize,
    QueryDepth,
    QueryWeight,
)
from soma_api.models.responses import json_response, link_view, memory_view
from soma_api.namespace_access import require_readable
from soma_api.openapi import answers
from soma_api.principals import Principal
from soma_api.problems import (
    InvalidCursorError,
    InvalidHeaderError,
    InvalidInputError,
    MemoryNotFoundError,
    NamespaceForbiddenError,
    NotYetVisibleError,
    PathNotFoundError,
    PathTooCostlyError,
    StoreUnavailableError,
    TooStaleError,
)
from soma_api.queries.link_queries import BEGINNING, Direction, LinkQueries, ListedLink
from soma_schemas.fields import Namespace
from soma_schemas.namespaces import contains
from soma_schemas.responses.link_responses import LinkPage, NeighborsView, PathView

router = APIRouter(tags=["links"])

_READ = (InvalidHeaderError, InvalidInputError, NotYetVisibleError, TooStaleError, StoreUnavailableError)


@dataclass(frozen=True)
class _Walked:
    """Which links a question walks: a dependency."""

    principal: Reader
    links: Links
    types: LinkTypes = None
    min_weight: Annotated[QueryWeight, Query(description="Links at least so heavy.")] = 0.0

    def along(self, direction: Direction) -> "_Along":
        """Return what reads them."""
        return _Along(self.principal, self.links, self.types, self.min_weight, direction)


@dataclass(frozen=True)
class _Along:
    """Reads links whose other end the key covers; a `Reading`."""

    principal: Principal
    links: LinkQueries
    types: Sequence[str] | None
    min_weight: float
    direction: Direction

    async def __call__(self, memory_ids: Collection[UUID], most: int) -> LinksRead:
        found = await self.links.of(
            self.principal.tenant,
            memory_ids,
            most=most,
            direction=self.direction,
            types=self.types,
            min_weight=self.min_weight,
        )
        # What the key does not cover was read all the same: a walk that was cut off has to know.
        return LinksRead(len(found), [each for each in found if self.principal.may_access(each.namespace)])


_Walk = Annotated[_Walked, Depends()]


@router.get(
    "/v1/memories/{memory_id}/neighbors",
    operation_id="list_neighbors",
    response_model=NeighborsView,
    responses=answers(NeighborsView, {}, *_READ, MemoryNotFoundError),
)
async def list_neighbors(
    *,
    walk: _Walk,
    consistency: ReadsRecords,
    memories: Memories,
    policies: Policies,
    memory_id: MemoryId,
    direction: Annotated[
        Direction, Query(description="Walk links as they point, against that, or both ways.")
    ] = Direction.BOTH,
    depth: Annotated[QueryDepth, Query(description="At most so many links away.")] = 1,
    limit: Annotated[PageSize, Query(description="At most so many memories.")] = DEFAULT_PAGE_SIZE,
) -> Response:
    """List the memories near a memory: those that it is linked with, and on request those behind them.

    Each comes with the links that lead to it; no other way to it has fewer. Memories that have ended, or that
    the key does not cover, are neither shown nor passed.
    """
    answered = await consistency.ensure()
    principal = walk.principal
    await require_readable(memories, principal, [memory_id])
    near = await neighbourhood(memory_id, walk.along(direction), depth=depth, limit=limit)
    held = await memories.some(principal.tenant, [each.memory_id for each in near.reached])
    in_force = await policies.of(principal.tenant)
    shown = [
        {
            "depth": len(each.way),
            "way": list(map(link_view, each.way)),
            "memory": memory_view(held[each.memory_id], in_force),
        }
        for each in near.reached
        # What ended, or moved out of reach, since the links were read is left out.
        if each.memory_id in held and principal.may_access(held[each.memory_id].content.namespace)
    ]
    return json_response({"neighbors": shown, "truncated": near.truncated}, 200, answered)


@router.get(
    "/v1/paths",
    operation_id="find_path",
    response_model=PathView,
    responses=answers(PathView, {}, *_READ, MemoryNotFoundError, PathNotFoundError, PathTooCostlyError),
)
async def find_path(
    *,
    walk: _Walk,
    consistency: ReadsRecords,
    memories: Memories,
    policies: Policies,
    start: Annotated[UUID, Query(alias="from", description="Where the path begins.")],
    goal: Annotated[UUID, Query(alias="to", description="Where it ends.")],
    direction: Annotated[
        Direction, Query(description="Walk links as they point, against that, or both ways.")
    ] = Direction.OUT,
    cost: Annotated[
        Cost,
        Query(
            description="How long a link is: its weight, one divided by its weight, where heavier links bind "
            "closer, or 1."
        ),
    ] = Cost.WEIGHT,
) -> Response:
    """Find the shortest path between two memories.

    Memories that have ended, or that the key does not cover, are not passed. A search for a path that would
    read more than 10,000 links is refused.
    """
    answered = await consistency.ensure()
    principal = walk.principal
    await require_readable(memories, principal, [start, goal])
    path = await shortest_path(start, goal, walk.along(direction), walk.along(direction.reversed), cost)
    if path is None:
        raise PathNotFoundError("no links that may be walked lead from the one memory to the other")
    held = await require_readable(memories, principal, path.memory_ids)
    in_force = await policies.of(principal.tenant)
    shown = {
        "cost": path.cost,
        "links": list(map(link_view, path.links)),
        "memories": [memory_view(held[memory_id], in_force) for memory_id in path.memory_ids],
    }
    return json_response(shown, 200, answered)


@router.get(
    "/v1/links",
    operation_id="list_all_links",
    response_model=LinkPage,
    responses=answers(LinkPage, {}, *_READ, InvalidCursorError, NamespaceForbiddenError),
)
async def list_all_links(
    *,
    principal: Reader,
    consistency: ReadsRecords,
    links: Links,
    cursors: PageCursors,
    namespace_prefix: Annotated[
        Namespace | None, Query(description="Between memories in this namespace and below it.")
    ] = None,
    types: LinkTypes = None,
    limit: LinkPageSize = DEFAULT_LINK_PAGE_SIZE,
    cursor: PageCursor = None,
) -> Response:
    """List all links whose both ends the key covers, page by page.

    A page may hold fewer links than `limit`, or none, and not be the last: go on while there is a
    `next_cursor`.
    """
    visible_below(principal, None, namespace_prefix)  # or refused, as in lists of memories
    asked = {"list": "links", "namespace_prefix": namespace_prefix, "types": types}
    after = BEGINNING
    if cursor is not None:
        start, of_type, end = cursors.read(cursor, principal.tenant, asked)
        after = UUID(start), of_type, UUID(end)
    answered = await consistency.ensure()
    found = await links.page(principal.tenant, after, limit)

    def is_shown(listed: ListedLink) -> bool:
        return (types is None or listed.link.type in types) and all(
            namespace is not None
            and principal.may_access(namespace)
            and (namespace_prefix is None or contains(namespace_prefix, namespace))
            for namespace in (listed.from_namespace, listed.to_namespace)
        )

    last = found[-1].link if len(found) == limit else None
    page = {
        "links": [link_view(each.link) for each in found if is_shown(each)],
        "next_cursor": None
        if last is None
        else cursors.make(
            principal.tenant, asked, [str(last.from_memory_id), last.type, str(last.to_memory_id)]
        ),
    }
    return json_response(page, 200, answered)
