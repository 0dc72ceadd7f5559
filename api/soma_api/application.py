"""The HTTP API as one ASGI application, put together from parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from soma_api import openapi
from soma_api.cursors import Cursors
from soma_api.dependencies import Services
from soma_api.middleware import RequestMiddleware, request_id_of
from soma_api.parts import Parts
from soma_api.principals import Authenticator
from soma_api.problems import (
    ApiError,
    InternalError,
    InvalidInputError,
    MethodNotAllowedError,
    RouteNotFoundError,
    Source,
    faults_of,
    problem_response,
)
from soma_api.publishing import EventLog
from soma_api.queries.api_keys import ApiKeyQueries
from soma_api.queries.database import Database
from soma_api.queries.memories import MemoryQueries
from soma_api.queries.overview import OverviewQueries
from soma_api.queries.writes import WriteQueries
from soma_api.routes import health, links, memories, overview, writes
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.violations import violations_of

_DESCRIPTION = """
Memories for AI agents. Writes go to an event log and are visible moments later; a write's `position` tells
where it lies, `Prefer: wait=SECONDS` waits until it is readable and searchable, and a read with
`Soma-Position` waits for it. Every read says in `Soma-Staleness` how many seconds old its answer may be.

Refusals and failures are problems (RFC 9457) with a stable `code`; `retryable` says whether the same request
can succeed later.
"""

log = structlog.get_logger(__name__)


def create_application(parts: Parts) -> FastAPI:
    """Return the application. It opens nothing; stopping it lets go of its publishing threads."""
    gateway = parts.settings.api
    services = _services(parts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        services.log.close()

    application = FastAPI(
        title="SomaFractalMemory",
        version=version("somafractalmemory"),
        description=_DESCRIPTION.strip(),
        docs_url="/docs" if gateway.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if gateway.docs else None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    application.state.services = services
    for module in (memories, links, writes, overview, health):
        application.include_router(module.router)
    application.add_exception_handler(ApiError, _api_error)
    application.add_exception_handler(RequestValidationError, _invalid_request)
    application.add_exception_handler(HTTPException, _framework_error)
    application.add_middleware(
        RequestMiddleware,
        clock=parts.clock,
        metrics=parts.metrics,
        body_bytes=gateway.body_bytes,
        requests=gateway.requests,
    )
    _describe_once(application)
    return application


def _services(parts: Parts) -> Services:
    gateway = parts.settings.api
    database = Database(parts.pool)
    topics = parts.settings.topics
    return Services(
        settings=parts.settings,
        clock=parts.clock,
        metrics=parts.metrics,
        authenticator=Authenticator(
            ApiKeyQueries(database).find, parts.clock, gateway.key_cache.total_seconds()
        ),
        log=EventLog(
            parts.publisher,
            threads=gateway.publish_threads,
            timeout=gateway.publish_timeout.total_seconds(),
        ),
        ends=parts.ends,
        waiter=parts.waiter,
        freshness=parts.freshness,
        memories=MemoryQueries(database),
        writes=WriteQueries(database, MEMORY_EVENTS.full_name(topics), topics.epoch),
        overview=OverviewQueries(database),
        cursors=Cursors(parts.cursor_secret),
        probes=parts.probes,
    )


def _describe_once(application: FastAPI) -> None:
    bodies = (memories.STORE_BODY, memories.BATCH_BODY, memories.PATCH_BODY, links.LINK_BODY)

    def described() -> dict[str, Any]:
        if application.openapi_schema is None:
            application.openapi_schema = openapi.describe(application, bodies)
        return application.openapi_schema

    application.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend it


async def _api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return problem_response(error, request_id_of(request.scope))


async def _invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    invalid = InvalidInputError(
        "the request breaks the contract; nothing was sent",
        faults=[
            fault
            for finding in error.errors()
            for fault in faults_of(
                violations_of(_as_validation_error(finding)), Source(str(finding["loc"][0]))
            )
        ],
    )
    return problem_response(invalid, request_id_of(request.scope))


def _as_validation_error(finding: dict[str, Any]) -> ValidationError:
    """Return one of FastAPI's findings as pydantic's own, so that one place names what is wrong."""
    kind = PydanticCustomError(finding["type"], "{reason}", {"reason": finding["msg"]})
    details = InitErrorDetails(type=kind, loc=tuple(finding["loc"][1:]), input=None)
    return ValidationError.from_exception_data("request", [details])


async def _framework_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    refused: ApiError
    match error.status_code:
        case 404:
            refused = RouteNotFoundError("there is nothing at this path")
        case 405:
            refused = MethodNotAllowedError(
                "this path does not have that method", headers=dict(error.headers or {})
            )
        case status:
            log.error("framework_refused", status=status)
            refused = InternalError("the request could not be served")
    return problem_response(refused, request_id_of(request.scope))
