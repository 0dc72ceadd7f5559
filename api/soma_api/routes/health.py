"""Liveness, readiness and metrics over HTTP."""

from dataclasses import replace

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from soma_api.dependencies import ProcessMetrics, RequiresElsewhere, StoreVisibility
from soma_api.index_completeness import IndexState
from soma_api.injection import AllServices
from soma_api.models.responses import json_response
from soma_api.probes import BackingPart, check
from soma_api.problems import RoleTooLowError, UnauthenticatedError, problems
from soma_api.roles import Role
from soma_api.visibility import Visibility
from soma_schemas.errors import SomaError
from soma_schemas.responses.health_responses import NOT_READY, Alive, Readiness
from soma_schemas.vectors.index_errors import IndexIncompleteError

router = APIRouter(tags=["health"])

_SOME_METRICS = """\
# HELP soma_api_requests_total HTTP requests answered.
# TYPE soma_api_requests_total counter
soma_api_requests_total{method="GET",route="/v1/memories/{memory_id}",status="200"} 1042.0
"""


@router.get("/healthz", operation_id="healthz", response_model=Alive)
async def healthz() -> Response:
    """Liveness probe. Needs no key."""
    return json_response({"status": "alive"})


@router.get(
    "/readyz",
    operation_id="readyz",
    response_model=Readiness,
    responses={
        503: {
            "model": Readiness,
            "description": "PostgreSQL does not answer.",
            "content": {"application/json": {"example": NOT_READY}},
        }
    },
)
async def readyz(services: AllServices, visibility: StoreVisibility) -> Response:
    """Readiness probe: checks every backend and its response time. Needs no key.

    The status is 503 only if nothing works: a process that can still serve reads must get traffic while the
    brokers are down.
    """
    parts = await check(services.probes, services.clock)
    vectors = parts.get(BackingPart.VECTORS)
    index = await _index(visibility) if vectors is not None and vectors.ready else None
    if vectors is not None and index is not None and not index.complete:
        parts[BackingPart.VECTORS] = replace(vectors, ready=False, error=IndexIncompleteError.code)
    status = "ready" if all(health.ready for health in parts.values()) else "degraded"
    if BackingPart.POSTGRES in parts and not parts[BackingPart.POSTGRES].ready:
        status = "not_ready"
    return json_response(
        {
            "status": status,
            "parts": {part.value: health for part, health in parts.items()},
            "index": index,
        },
        503 if status == "not_ready" else 200,
    )


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}, "example": _SOME_METRICS}},
            "description": "Prometheus text.",
        },
        **problems(UnauthenticatedError, RoleTooLowError),
    },
    dependencies=[Depends(RequiresElsewhere(Role.OPERATOR))],
)
async def metrics(request: Request, measured: ProcessMetrics) -> Response:
    """Return the metrics of this process, for Prometheus; OpenMetrics, if asked for, has exemplars.

    Open to clients on this machine that came through no proxy, unless that is turned off; others need a key
    of role operator. They name no tenant, no key and no content.
    """
    written = measured.exposition(request.headers.get("accept", ""))
    return Response(written.body, headers={"Content-Type": written.content_type})


async def _index(visibility: Visibility) -> IndexState | None:
    try:
        return await visibility.index_state()
    except (SomaError, ConnectionError, TimeoutError):
        return None
