"""Namespaces and counts over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from soma_api.dependencies import Overview, Reader, ReadsRecords, StoreVisibility
from soma_api.models.list_query import visible_below
from soma_api.models.responses import json_response
from soma_api.openapi import answers
from soma_api.problems import (
    InvalidHeaderError,
    InvalidInputError,
    NamespaceForbiddenError,
    NotYetVisibleError,
    StoreUnavailableError,
    TooStaleError,
)
from soma_api.watermark_waiter import SETTLED
from soma_schemas.fields import Namespace
from soma_schemas.limits import MAX_NAMESPACE_SEGMENTS
from soma_schemas.responses.overview_responses import NamespaceTree, StatsView

router = APIRouter(tags=["overview"])

_MOST_NAMESPACES = 10_000
_READ = (InvalidHeaderError, InvalidInputError, NotYetVisibleError, TooStaleError, StoreUnavailableError)


@router.get(
    "/v1/namespaces",
    operation_id="list_namespaces",
    response_model=NamespaceTree,
    responses=answers(NamespaceTree, {}, *_READ, NamespaceForbiddenError),
)
async def list_namespaces(
    *,
    principal: Reader,
    consistency: ReadsRecords,
    overview: Overview,
    prefix: Annotated[Namespace | None, Query(description="This namespace and all below it.")] = None,
    suffix: Annotated[
        Namespace | None, Query(description="Only namespaces that end in these segments.")
    ] = None,
    depth: Annotated[
        int,
        Query(
            ge=1,
            le=MAX_NAMESPACE_SEGMENTS,
            description="Levels below the prefix; what lies deeper is counted there.",
        ),
    ] = MAX_NAMESPACE_SEGMENTS,
) -> Response:
    """List the tree of namespaces, with how many memories each holds with all below it."""
    visible_below(principal, None, prefix)
    inside = prefix is not None and principal.may_access(prefix)
    answered = await consistency.ensure()
    tree = await overview.namespaces(
        principal.tenant,
        prefix=prefix,
        suffix=suffix,
        depth=depth,
        allowed=None if inside else principal.namespaces,
        limit=_MOST_NAMESPACES,
    )
    return json_response({"namespaces": tree.nodes, "truncated": tree.truncated}, 200, answered)


@router.get(
    "/v1/stats",
    operation_id="read_stats",
    response_model=StatsView,
    responses=answers(StatsView, {}, *_READ),
)
async def read_stats(
    *, principal: Reader, consistency: ReadsRecords, overview: Overview, visibility: StoreVisibility
) -> Response:
    """Return counts, and how far behind the log the stores may be."""
    answered = await consistency.ensure()
    counts = await overview.counts(principal.tenant, principal.namespaces)
    staleness = {group.value: await visibility.staleness(group) for group in SETTLED}
    return json_response(
        {
            "memories": counts.memories,
            "memories_by_kind": counts.memories_by_kind,
            "namespaces": counts.namespaces,
            "links": counts.links,
            "dead_letters": counts.dead_letters,
            "staleness_seconds": staleness,
        },
        200,
        answered,
    )
