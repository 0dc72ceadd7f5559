"""What /openapi.json says, without serving it."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

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
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}

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


def test_there_are_examples_of_what_is_sent_and_what_is_answered() -> None:
    assert {model.__name__ for model, _ in EXAMPLES} >= {
        "StoreMemory",
        "StoreBatch",
        "PatchMemory",
        "SearchBody",
        "PutLink",
        "MemoryView",
        "WriteView",
        "WriteState",
        "Problem",
    }


@pytest.mark.parametrize(
    ("model", "example"), EXAMPLES, ids=lambda each: each.__name__ if isinstance(each, type) else ""
)
def test_every_example_is_one(model: type[BaseModel], example: Any) -> None:
    assert model.model_validate(example).model_dump(mode="json", exclude_unset=True).keys() == example.keys()
