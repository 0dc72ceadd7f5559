"""What /openapi.json says, without serving it."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import jsonschema_rs
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from soma_api.application import api_document
from soma_api.json_body import JsonBody
from soma_api.models import requests, retention_models, search_models
from soma_api.problems import Problem
from soma_api.routes import dead_letters, health, links, memories, overview, retention, search, writes
from soma_schemas import memories as shown
from soma_schemas import responses

DOCUMENT = api_document()
OPERATIONS = [
    (path, method, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
ROUTES = [
    route
    for module in (memories, search, links, writes, overview, retention, dead_letters, health)
    for route in module.router.routes
    if isinstance(route, APIRoute)
]
RESPONSES = [import_module(f"{responses.__name__}.{each.name}") for each in iter_modules(responses.__path__)]
MODELS: list[type[BaseModel]] = [
    Problem,
    *(
        each
        for module in (requests, retention_models, search_models, shown, *RESPONSES)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == module.__name__
    ),
]
EXAMPLES: list[tuple[type[BaseModel], Any]] = [
    (model, example) for model in MODELS for example in model.model_json_schema().get("examples", [])
]


def references(value: Any) -> set[str]:
    match value:
        case {"$ref": str(reference)}:
            return {reference}
        case dict():
            return set().union(*map(references, value.values()))
        case list():
            return set().union(*map(references, value))
        case _:
            return set()


def test_the_document_is_of_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere() -> None:
    known = {
        f"#/components/{part}/{name}"
        for part in ("schemas", "examples")
        for name in DOCUMENT["components"][part]
    }

    assert references(DOCUMENT) - known == set()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
def test_a_body_that_a_route_reads_is_described(route: APIRoute) -> None:
    read = [each.call for each in route.dependant.dependencies if isinstance(each.call, JsonBody)]
    described = [
        operation.get("requestBody", {}).get("content", {}).keys()
        for path, method, operation in OPERATIONS
        if path == route.path_format and method.upper() in (route.methods or ())
    ]

    assert [set(each) for each in described] == [set(read[0].media_types) if read else set()]


def test_everything_but_health_describes_who_may_and_what_is_refused() -> None:
    described = [(path, operation) for path, _, operation in OPERATIONS if path.startswith("/v1/")]

    assert len(described) > 10
    for path, operation in described:
        assert [list(each) for each in operation["security"]] == [["bearer"], ["apiKey"]], path
        assert {"401", "403", "500", "503"} <= set(operation["responses"]), path


def test_refusals_are_problems_and_nothing_else() -> None:
    for path, _, operation in OPERATIONS:
        for status, answer in operation["responses"].items():
            if status[0] in "45" and path != "/readyz":
                assert set(answer["content"]) == {"application/problem+json"}, (path, status)


def test_no_parameter_is_null_which_nobody_can_send() -> None:
    schemas = [
        parameter["schema"] for *_, operation in OPERATIONS for parameter in operation.get("parameters", ())
    ]

    assert len(schemas) > 50
    assert [schema for schema in schemas if {"type": "null"} in schema.get("anyOf", ())] == []


def contents(operation: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is sent and what is answered, with its name."""
    parts = {"body": operation.get("requestBody", {}), **operation["responses"]}
    for name, part in parts.items():
        for media_type, media in part.get("content", {}).items():
            yield f"{name} {media_type}", media


def examples_of(media: Any) -> list[Any]:
    match media:
        case {"example": example}:
            return [example]
        case {"examples": examples}:
            return [
                DOCUMENT["components"]["examples"][each["$ref"].rsplit("/")[-1]]["value"]
                for each in examples.values()
            ]
        case {"schema": {"$ref": reference}}:
            found: list[Any] = DOCUMENT["components"]["schemas"][reference.rsplit("/")[-1]].get(
                "examples", []
            )
            return found
        case _:
            return []


@pytest.mark.parametrize(
    ("path", "method", "operation"),
    OPERATIONS,
    ids=[operation["operationId"] for _, _, operation in OPERATIONS],
)
def test_every_body_and_every_answer_has_examples_that_keep_to_its_schema(
    path: str, method: str, operation: Any
) -> None:
    for name, media in contents(operation):
        examples = examples_of(media)
        schema = {**media["schema"], "components": DOCUMENT["components"]}

        assert examples, f"{method} {path}: {name}"
        for example in examples:
            jsonschema_rs.validate(schema, example, validate_formats=True)


def test_the_example_of_a_problem_is_of_its_own_code_and_status() -> None:
    for path, _, operation in OPERATIONS:
        for status, answer in operation["responses"].items():
            problems = answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
            for code in problems:
                example = DOCUMENT["components"]["examples"][code]["value"]
                assert (example["code"], str(example["status"])) == (code, status), path


@pytest.mark.parametrize(
    ("model", "example"), EXAMPLES, ids=lambda each: each.__name__ if isinstance(each, type) else ""
)
def test_every_example_is_one(model: type[BaseModel], example: Any) -> None:
    assert model.model_validate(example).model_dump(mode="json", exclude_unset=True).keys() == example.keys()
