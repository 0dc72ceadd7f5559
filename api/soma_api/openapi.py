"""What FastAPI cannot know when it writes /openapi.json: bodies that we read, headers, problems."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from soma_api.dependencies import JsonBody
from soma_api.problems import (
    ApiError,
    InternalError,
    OverloadedError,
    Problem,
    RoleTooLowError,
    UnauthenticatedError,
    problems,
)
from soma_schemas.fields import Namespace

_SCHEMAS = "#/components/schemas/"
_ALWAYS = (UnauthenticatedError, RoleTooLowError, OverloadedError, InternalError)
_KEY: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
# Who needs no key; `/metrics` needs one only from elsewhere.
_SECURITY = {"/healthz": [], "/readyz": [], "/metrics": [{}, *_KEY]}

Parameter = dict[str, Any]


def _header(name: str, description: str, pattern: str | None, example: str) -> Parameter:
    schema = {"type": "string"} if pattern is None else {"type": "string", "pattern": pattern}
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema,
        "example": example,
    }


_PREFER = _header(
    "Prefer",
    "`wait=SECONDS`: answer when the write is readable and searchable, or when the time is over (RFC 7240).",
    None,  # what is not understood in it is ignored
    "wait=5",
)
_POSITION = _header(
    "Soma-Position",
    "Wait until this position, or each of several with commas, is visible; otherwise 503 `not_yet_visible`.",
    "^[0-9]{1,3}:[0-9]{1,12}(, ?[0-9]{1,3}:[0-9]{1,12}){0,63}$",
    "3:1042",
)
_UNCHANGED = _header(
    "If-None-Match", "An ETag: 304 when the memory still has it.", '^"[0-9]{1,15}"$', '"1099511628818"'
)

WRITING: tuple[Parameter, ...] = (
    _PREFER,
    _header(
        "Idempotency-Key",
        "A UUID; it becomes the event's id. The same request under the same one is applied once.",
        "^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        "0198c5b0-6f1a-7c3e-9d42-1b2c3d4e5f60",
    ),
    _header(
        "If-Match",
        "An ETag: write only onto this version. With `Prefer: wait` a refusal is 412.",
        '^"[0-9]{1,15}"$',
        '"1099511628818"',
    ),
    _header("If-None-Match", "`*`: write only when there is no such memory.", r"^\*$", "*"),
)
POSITION: tuple[Parameter, ...] = (_POSITION,)
READING: tuple[Parameter, ...] = (
    _POSITION,
    _header(
        "Prefer",
        "`wait=SECONDS`: how long to wait for `Soma-Position` (RFC 7240).",
        None,
        "wait=5",
    ),
    _header(
        "Soma-Max-Staleness",
        "Seconds: an answer that could be older is refused with 503 `too_stale`. Less than 0.5 is refused "
        "now and then also at rest; to see a certain write, send its `Soma-Position`.",
        r"^[0-9]{1,6}(\.[0-9]{1,3})?$",
        "5",
    ),
)
_MAX_STALENESS = READING[-1]["name"]
_STALENESS = {
    "description": "How many seconds old the answer is at most: it has all that was written before. At "
    "rest the time since the last look at the log's end, up to a quarter of a second; more means that the "
    "store is behind, or the brokers do not answer. `unknown`: behind for a quarter of an hour, never "
    "compared, or from an index that is not complete.",
    "schema": {"type": "string", "pattern": r"^(unknown|[0-9]+\.[0-9]{3})$"},
    "example": "0.112",
}
CONDITIONAL: tuple[Parameter, ...] = (_UNCHANGED,)

NamespaceQuery = Annotated[
    Namespace | None,
    Query(description="Where the memory lies; needed only while it is not visible yet."),
]


def extra(*parameters: Parameter, body: JsonBody[Any] | None = None) -> dict[str, Any]:
    """Return what a route's description gets besides what FastAPI knows.

    Args:
        parameters: Headers that the route reads itself.
        body: The body that it reads itself.
    """
    described: dict[str, Any] = {"parameters": list(parameters)}
    if body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {
                media_type: {"schema": {"$ref": _SCHEMAS + body.model.__name__}}
                for media_type in body.media_types
            },
        }
    return described


def answers(
    model: type[BaseModel], others: Mapping[int, str], *errors: type[ApiError]
) -> dict[int | str, dict[str, Any]]:
    """Return what a route answers besides its usual success.

    Args:
        model: What its answers look like.
        others: Its other successes, by status, in words.
        errors: What it can refuse, besides what every route can.
    """
    described: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": description} for status, description in others.items()
    }
    return described | problems(*errors, *_ALWAYS)


def describe(application: FastAPI, bodies: Sequence[JsonBody[Any]]) -> dict[str, Any]:
    """Return the whole OpenAPI document."""
    document = get_openapi(
        title=application.title,
        version=application.version,
        description=application.description,
        routes=application.routes,
        tags=application.openapi_tags,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    models: list[type[BaseModel]] = [Problem, *(body.model for body in bodies)]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_SCHEMAS + "{model}"
    )
    schemas |= definitions["$defs"]
    # FastAPI's own description of a refusal, which this API never sends.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, `soma_...`."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                # Added by FastAPI to a route whose parameters are any text, and which declares none itself.
                del operation["responses"]["422"]
            operation["security"] = _SECURITY.get(path, _KEY)
            if any(each["name"] == _MAX_STALENESS for each in operation.get("parameters", ())):
                operation["responses"]["200"]["headers"] = {"Soma-Staleness": _STALENESS}
    return document
