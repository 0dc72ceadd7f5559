"""What FastAPI cannot know when it writes /openapi.json: bodies that we read ourselves, and problems."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from soma_api.json_body import JsonBody
from soma_api.problems import (
    ApiError,
    BodyTooSlowError,
    IdentityProviderUnavailableError,
    InternalError,
    OverloadedError,
    Problem,
    RateLimitedError,
    RoleTooLowError,
    UnauthenticatedError,
    example_problems,
    problems,
)
from soma_api.route_permissions import RoutePermission, dependencies_of, permissions, routes_of

_SCHEMAS = "#/components/schemas/"
_ALWAYS = (
    UnauthenticatedError,
    IdentityProviderUnavailableError,
    RoleTooLowError,
    RateLimitedError,
    OverloadedError,
    InternalError,
)
_SCHEMES = ("bearer", "apiKey")
# What FastAPI says of a success of which a route says nothing.
_UNDESCRIBED = "Successful Response"
_SUCCESSES = {"200": "Done.", "202": "Accepted: the event is in the log."}
_MAX_STALENESS = "Soma-Max-Staleness"
_STALENESS = {
    "description": "How many seconds old the answer is at most: it has all that was written before. At "
    "rest the time since the last look at the log's end, up to a quarter of a second; more means that the "
    "store is behind, or the brokers do not answer. `unknown`: behind for a quarter of an hour, never "
    "compared, or from an index that is not complete.",
    "schema": {"type": "string", "pattern": r"^(unknown|[0-9]+\.[0-9]{3})$"},
    "example": "0.112",
}


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


def describe(application: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    """Return the whole OpenAPI document of an application that has these routers."""
    document = get_openapi(
        title=application.title,
        version=application.version,
        description=application.description,
        routes=application.routes,
        tags=application.openapi_tags,
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, `soma_...`, or a token (JWT) of the OpenID provider.",
        },
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
    }
    components["examples"] = example_problems()
    schemas = components.setdefault("schemas", {})
    bodies = dict(_bodies(routers))
    permitted = {(each.path, each.method.lower()): each for each in permissions(routers)}
    written = dict(_written_examples(routers))
    models: list[type[BaseModel]] = [Problem, *{body.model for body in bodies.values()}]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_SCHEMAS + "{model}"
    )
    schemas |= definitions["$defs"]
    # FastAPI's own description of a refusal, which this API never sends.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for model in (*models, *_answer_models(routers)):
        if model.__name__ in schemas and (examples := _examples_of(model)) is not None:
            schemas[model.__name__]["examples"] = examples
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                # Added by FastAPI to a route whose parameters are any text, and which declares none itself.
                del operation["responses"]["422"]
            for status, answer in operation["responses"].items():
                if answer["description"] == _UNDESCRIBED:
                    answer["description"] = _SUCCESSES[status]
            for status, media_type, example in written[path, method]:
                operation["responses"][status]["content"][media_type]["example"] = example
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _as_sent(parameter["schema"])
            if (path, method) in bodies:
                operation["requestBody"] = _described(bodies[path, method])
                operation["responses"] |= {
                    str(status): answer for status, answer in problems(BodyTooSlowError).items()
                }
            if security := _security(permitted[path, method]):
                operation["security"] = security
            if any(each["name"] == _MAX_STALENESS for each in operation.get("parameters", ())):
                operation["responses"]["200"]["headers"] = {"Soma-Staleness": _STALENESS}
    return document


# FastAPI leaves out what is null, in examples too; pydantic sorts them.
def _examples_of(model: type[BaseModel]) -> Any:
    extra = model.model_config.get("json_schema_extra")
    return extra.get("examples") if isinstance(extra, dict) else None


def _answer_models(routers: Sequence[APIRouter]) -> Iterator[type[BaseModel]]:
    for _, route in routes_of(routers):
        for model in (route.response_model, *(each.get("model") for each in route.responses.values())):
            if isinstance(model, type) and issubclass(model, BaseModel):
                yield model


def _written_examples(
    routers: Sequence[APIRouter],
) -> Iterator[tuple[tuple[str, str], list[tuple[str, str, Any]]]]:
    for method, route in routes_of(routers):
        yield (
            (route.path_format, method.lower()),
            [
                (str(status), media_type, media["example"])
                for status, answer in route.responses.items()
                for media_type, media in answer.get("content", {}).items()
                if "example" in media
            ],
        )


def _bodies(routers: Sequence[APIRouter]) -> Iterator[tuple[tuple[str, str], JsonBody[Any]]]:
    for method, route in routes_of(routers):
        for body in dependencies_of(route, JsonBody):
            yield (route.path_format, method.lower()), body


def _as_sent(schema: dict[str, Any]) -> dict[str, Any]:
    # A parameter is left out or has a text; null, which stands for the one, cannot be sent.
    match schema:
        case {"anyOf": [only, {"type": "null"}], **rest}:
            return {**only, **rest}
        case _:
            return schema


def _security(permission: RoutePermission) -> list[dict[str, list[str]]]:
    # Where a scheme has no scopes, the list names the roles that it takes (OpenAPI 3.1, section 4.8.30).
    if permission.role is None:
        return []
    keys = [{scheme: [permission.role.value]} for scheme in _SCHEMES]
    return [{}, *keys] if permission.open_on_this_machine else keys


def _described(body: JsonBody[Any]) -> dict[str, Any]:
    schema = {"$ref": _SCHEMAS + body.model.__name__}
    return {"required": True, "content": {each: {"schema": schema} for each in body.media_types}}
