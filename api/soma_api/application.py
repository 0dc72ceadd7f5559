"""The HTTP API as one ASGI application, put together from resources."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Lifespan

from soma_api import openapi
from soma_api.docs_page import add_docs_page
from soma_api.middleware import RefusalMiddleware, RequestMiddleware, request_id_of
from soma_api.problems import (
    ApiError,
    InternalError,
    InvalidHeaderError,
    InvalidInputError,
    MethodNotAllowedError,
    RouteNotFoundError,
    Source,
    field_errors_of,
    problem_response,
)
from soma_api.questions import QuestionMiddleware
from soma_api.resources import Resources
from soma_api.route_permissions import RoutePermission, permissions
from soma_api.routes import (
    audit_log,
    changes,
    dead_letters,
    erasures,
    graph,
    health,
    history,
    lag,
    links,
    memories,
    overview,
    retention,
    search,
    writes,
)
from soma_api.security_headers import ASKED_BY_BROWSERS, METHODS, READ_BY_BROWSERS, security_headers
from soma_api.services import make_services
from soma_schemas.violations import violations_of

_ROUTERS = (
    memories.router,
    search.router,
    links.router,
    graph.router,
    history.router,
    changes.router,
    writes.router,
    overview.router,
    retention.router,
    dead_letters.router,
    erasures.router,
    audit_log.router,
    lag.router,
    health.router,
)
_DESCRIPTION = """
Memories for AI agents. Writes go to an event log and are visible moments later; a write's `position` tells
where it lies, `Prefer: wait=SECONDS` waits until it is readable and searchable, and a read with
`Soma-Position` waits for it. Every read says in `Soma-Staleness` how many seconds old its answer may be: at
least the time since the API last looked where the log ends, which it does five times a second.

Refusals and failures are problems (RFC 9457) with a stable `code`; `retryable` says whether the same request
can succeed later.
"""

log = structlog.get_logger(__name__)


def create_application(resources: Resources) -> FastAPI:
    """Return the application. It opens nothing; stopping it lets go of its publishing threads."""
    gateway = resources.settings.api
    services = make_services(resources)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        services.log.close()
        await services.rate_limits.close()

    application = _Application(docs=gateway.docs, lifespan=lifespan)
    application.state.services = services
    application.state.end_streams = services.changes.close
    application.add_exception_handler(ApiError, _api_error)
    application.add_exception_handler(RequestValidationError, _invalid_request)
    application.add_exception_handler(HTTPException, _framework_error)
    # The last that is added is the first that a request meets.
    application.add_middleware(QuestionMiddleware, query_time=gateway.statement_timeout)
    application.add_middleware(
        RefusalMiddleware,
        max_body_bytes=gateway.max_body_bytes,
        body_seconds=gateway.body_timeout.total_seconds(),
        max_concurrent_requests=gateway.max_concurrent_requests,
    )
    if gateway.cors_origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=gateway.cors_origins,
            allow_methods=METHODS,
            allow_headers=ASKED_BY_BROWSERS,
            expose_headers=READ_BY_BROWSERS,
        )
    application.add_middleware(
        RequestMiddleware,
        clock=resources.clock,
        metrics=resources.metrics,
        security_headers=security_headers(gateway.hsts_max_age),
    )
    return application


def api_document() -> dict[str, Any]:
    """Return the OpenAPI document, without opening anything."""
    return _Application(docs=True, lifespan=None).openapi()


def route_permissions() -> list[RoutePermission]:
    """Return what every route takes of whoever calls it, in the order of the documentation."""
    return list(permissions(_ROUTERS))


class _Application(FastAPI):
    """The routes, and a description of them that knows what FastAPI cannot know."""

    def __init__(self, *, docs: bool, lifespan: Lifespan[FastAPI] | None) -> None:
        super().__init__(
            title="SomaFractalMemory",
            version=version("somafractalmemory"),
            description=_DESCRIPTION.strip(),
            docs_url=None,
            redoc_url=None,
            openapi_url="/openapi.json" if docs else None,
            redirect_slashes=False,
            lifespan=lifespan,
        )
        # As they are: `include_router` makes each a second time, at the first request that comes near it.
        self.router.routes.extend(route for router in _ROUTERS for route in router.routes)
        if docs:
            add_docs_page(self)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.describe(self, _ROUTERS)
        return self.openapi_schema


async def _api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return problem_response(error, request_id_of(request.scope))


async def _invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [
        each
        for finding in error.errors()
        for each in field_errors_of(
            violations_of(_as_validation_error(finding)), Source(str(finding["loc"][0]))
        )
    ]
    invalid: ApiError
    if all(each.source is Source.HEADER for each in errors):
        first = errors[0]
        invalid = InvalidHeaderError(f"{first.path.removeprefix('/')}: {first.message}", errors=errors)
    else:
        invalid = InvalidInputError("the request breaks the contract; nothing was sent", errors=errors)
    return problem_response(invalid, request_id_of(request.scope))


def _as_validation_error(finding: dict[str, Any]) -> ValidationError:
    """Return one of FastAPI's findings as pydantic's own, so that one place names what is wrong."""
    reason = finding["msg"] + _hint(finding)
    kind = PydanticCustomError(finding["type"], "{reason}", finding.get("ctx", {}) | {"reason": reason})
    details = InitErrorDetails(type=kind, loc=tuple(finding["loc"][1:]), input=finding.get("input"))
    return ValidationError.from_exception_data("request", [details])


def _hint(finding: dict[str, Any]) -> str:
    """Return what to add where a value that looked right to its sender does not arrive as it was written."""
    match finding:
        case {"loc": ("query", *_), "input": str(value)} if " " in value and not value.startswith("{"):
            return "; in a query `+` is a blank: a plus is written `%2B`"
        case {"loc": ("path", "memory_id" | "to_memory_id"), "type": "uuid_parsing"}:
            return "; `GET /v1/memories?namespace=...&key=...` finds a memory by its key"
        case _:
            return ""


async def _framework_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    refused: ApiError
    match error.status_code:
        case 404:
            refused = RouteNotFoundError("there is nothing at this path")
        case 405:
            refused = MethodNotAllowedError(
                "this path does not have that method", headers={"Allow": _allowed(request.url.path)}
            )
        case status:
            log.error("framework_refused", status=status)
            refused = InternalError("the request could not be served")
    return problem_response(refused, request_id_of(request.scope))


def _allowed(path: str) -> str:
    # The framework names the methods of the first route that matches the path; there may be several.
    routes = [route for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    methods = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
