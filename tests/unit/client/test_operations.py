"""The clients offer every operation of the API, and nothing that it does not have."""

import json
from collections.abc import Callable
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest

from soma_api.application import api_document
from soma_client import AsyncSomaClient, SomaClient, request_types
from soma_client.call import Call
from soma_client.calls import history_calls, link_calls, memory_calls, operation_calls, search_calls
from soma_schemas.fields import Kind

DOCUMENT = api_document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
MODULES = (memory_calls, search_calls, link_calls, history_calls, operation_calls)
CALLS: dict[str, Callable[..., Call[Any]]] = {
    name: call
    for module in MODULES
    for name, call in vars(module).items()
    if callable(call) and getattr(call, "__module__", "") == module.__name__
}
A_MEMORY = UUID("01912f4a-0000-7000-8000-000000000001")
# What Python cannot take by the name that it has in the API, or has a better one for.
RENAMED = {"filter": "where", "type": "types", "from": "from_memory_id", "to": "to_memory_id"}
# Said by the clients themselves, from the credential, or by an argument of another name.
OF_CLIENTS = {"tenant", "Last-Event-ID", "If-None-Match"}
HEADERS = {
    "Idempotency-Key": "event_id",
    "If-Match": "expected_version",
    "Prefer": "wait_seconds",
}


def sample(name: str, parameter: Parameter) -> Any:
    """A value for an argument that has to be given."""
    if name in {"memories", "searches"}:
        return [{}]
    return {"changes": {"text": "x"}, "version": 1, "position": "3:1042"}.get(
        name, str(A_MEMORY) if parameter.annotation is not str else "x"
    )


def called(name: str, **more: Any) -> Call[Any]:
    """A call with all that it has to be given, and more."""
    describe = CALLS[name]
    needed = {
        each.name: sample(each.name, each)
        for each in signature(describe).parameters.values()
        if each.default is Parameter.empty and each.kind is not Parameter.VAR_KEYWORD
    }
    return describe(**(needed | more))


def parameters_of(name: str) -> dict[str, Any]:
    """The arguments of a call with their types; `**state` counts as its fields."""
    hints = get_type_hints(CALLS[name])
    hints.pop("return")
    if "state" in hints:
        del hints["state"]
        hints |= get_type_hints(request_types.MemoryState)
    return hints


def schema_of(reference: dict[str, Any]) -> dict[str, Any]:
    return SCHEMAS[reference["$ref"].rsplit("/", 1)[1]] if "$ref" in reference else reference


def body_of(name: str) -> dict[str, Any]:
    """The schema of the body of an operation."""
    content = OPERATIONS[name][2].get("requestBody", {}).get("content", {})
    return schema_of(content["application/json"]["schema"]) if content else {"properties": {}}


def literals(hint: Any) -> set[str]:
    """The texts that a type takes, or none when it takes any."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    if get_origin(hint) in {Union, UnionType}:
        return set().union(*(literals(each) for each in get_args(hint) if each not in {NoneType, Kind}))
    return set()


def enumerated(schema: dict[str, Any]) -> set[str]:
    """The texts that a schema takes, or none when it takes any."""
    schema = schema_of(schema)
    if "anyOf" in schema:
        return set().union(*map(enumerated, schema["anyOf"]))
    return set(schema.get("enum", []))


@pytest.mark.parametrize("client", [SomaClient, AsyncSomaClient])
def test_a_client_has_a_method_for_every_operation(client: type) -> None:
    assert {name for name in OPERATIONS if not callable(getattr(client, name, None))} == set()


def test_every_operation_is_described_and_nothing_else() -> None:
    assert set(CALLS) == set(OPERATIONS)


def test_both_clients_offer_the_same() -> None:
    public = [
        {name for name in dir(client) if not name.startswith("_")} for client in (SomaClient, AsyncSomaClient)
    ]

    assert public[0] == public[1]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_goes_where_the_operation_is(name: str) -> None:
    method, path, _ = OPERATIONS[name]
    call = called(name)

    expected = path.replace("{position}", "3:1042")
    for parameter in ("memory_id", "to_memory_id", "dead_letter_id", "request_id"):
        expected = expected.replace(f"{{{parameter}}}", str(A_MEMORY))
    assert (call.method, call.path) == (method, expected)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_every_parameter_of_the_operation(name: str) -> None:
    takes = parameters_of(name)
    wanted = {
        HEADERS.get(each["name"], RENAMED.get(each["name"], each["name"]))
        for each in OPERATIONS[name][2].get("parameters", [])
    } - {"Soma-Position", "Soma-Max-Staleness"}
    # How long a read waits for a position is the client's own business.
    wanted -= OF_CLIENTS if called(name).keyed else OF_CLIENTS | {"wait_seconds"}
    if name == "delete_link":
        wanted = (wanted - {"types"}) | {"link_type"}

    assert wanted <= set(takes)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_every_field_of_the_body(name: str) -> None:
    takes = set(parameters_of(name))
    fields = set(body_of(name)["properties"]) - {"tenant"}
    if name == "patch_memory":
        takes |= set(request_types.MemoryChanges.__annotations__)
    if name == "put_link":
        fields = (fields - {"type"}) | {"link_type"}

    assert fields <= takes


@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_nothing_that_the_operation_does_not(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    known = {
        HEADERS.get(each["name"], RENAMED.get(each["name"], each["name"]))
        for each in operation.get("parameters", [])
    } | set(body_of(name)["properties"])
    known |= {"link_type"} if "types" in known or "type" in known else set()
    known |= {"changes"} if name == "patch_memory" else set()

    assert set(parameters_of(name)) <= known


@pytest.mark.parametrize("name", CALLS)
def test_a_call_knows_which_headers_the_operation_takes(name: str) -> None:
    headers = {each["name"] for each in OPERATIONS[name][2].get("parameters", []) if each["in"] == "header"}
    call = called(name)

    assert call.keyed == ("Idempotency-Key" in headers)
    assert call.sees_writes == ("Soma-Position" in headers)
    assert call.bounds_staleness == ("Soma-Max-Staleness" in headers)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_expects_what_the_operation_answers(name: str) -> None:
    answers = [
        answer["content"]
        for status, answer in OPERATIONS[name][2]["responses"].items()
        if status < "300" and "content" in answer
    ]
    expected = called(name).answer

    assert answers
    for content in answers:
        if "application/json" in content:
            assert content["application/json"]["schema"]["$ref"].endswith(f"/{expected.__name__}")
        elif "text/event-stream" in content:
            assert expected.__name__ == "AppliedChangeView"
        else:
            assert expected is str


@pytest.mark.parametrize("name", CALLS)
def test_the_choices_of_a_call_are_those_of_the_operation(name: str) -> None:
    takes = parameters_of(name)
    schemas = {
        RENAMED.get(each["name"], each["name"]): each["schema"]
        for each in OPERATIONS[name][2].get("parameters", [])
    } | body_of(name)["properties"]
    choices = {each: literals(hint) for each, hint in takes.items() if literals(hint)}

    assert choices == {
        each: enumerated(schema) for each, schema in schemas.items() if each in takes and enumerated(schema)
    }


@pytest.mark.parametrize(
    ("fields", "schema"),
    [
        (request_types.MemoryFields, "BatchItem"),
        (request_types.MemoryChanges, "PatchMemory"),
        (request_types.Search, "SearchBody"),
        (request_types.SearchFilter, "FilterBody"),
        (request_types.PayloadRange, "PayloadRange"),
        (request_types.Threshold, "ThresholdBody"),
        (request_types.Boost, "BoostBody"),
        (request_types.Context, "ContextBody"),
        (request_types.Rule, "RuleBody"),
        (request_types.Cap, "CapBody"),
        (request_types.Decay, "Decay"),
    ],
)
def test_the_fields_of_a_body_are_those_of_the_document(fields: type, schema: str) -> None:
    elsewhere = {"tenant"} | ({"namespace", "expected_version"} if schema == "PatchMemory" else set())

    assert set(get_type_hints(fields)) == set(SCHEMAS[schema]["properties"]) - elsewhere


def test_a_body_goes_as_it_was_said_and_nothing_besides() -> None:
    call = memory_calls.store_memory("Tea at four.", namespace="a", tags=["x"], importance=0.25)

    assert json.loads(json.dumps(call.body)) == {
        "namespace": "a",
        "text": "Tea at four.",
        "tags": ["x"],
        "importance": 0.25,
    }


def test_what_is_none_clears_a_field_in_a_patch_alone() -> None:
    patch = memory_calls.patch_memory(A_MEMORY, {"subject": None, "importance": 0.5})
    store = memory_calls.store_memory("x", namespace="a", subject=None)

    assert patch.body == {"subject": None, "importance": 0.5}
    assert store.body == {"namespace": "a", "text": "x"}


@pytest.mark.parametrize(
    ("expected", "headers"),
    [(None, {}), (0, {"If-None-Match": "*"}), (7, {"If-Match": '"7"'})],
)
def test_an_expected_version_is_a_condition(expected: int | None, headers: dict[str, str]) -> None:
    assert memory_calls.delete_memory(A_MEMORY, expected_version=expected).headers == headers


def test_a_method_shows_what_it_takes() -> None:
    shown = signature(SomaClient.search)

    assert next(iter(shown.parameters)) == "self"
    assert shown.parameters["query"].annotation == (str | None)
    assert shown.return_annotation.__name__ == "HitsView"
    assert SomaClient.search.__doc__ is not None
    assert "top_k: Maximum number of hits" in SomaClient.search.__doc__


WIRED = {mine: wire for wire, mine in {**RENAMED, "type": "link_type"}.items()} | {"types": "type"}
GIVEN: list[tuple[str, str]] = [
    (name, argument)
    for name in CALLS
    for argument in parameters_of(name)
    if argument not in {"changes", "memories", "rules", "searches"}
]


def value_of(hint: Any) -> Any:
    """Something that a type takes."""
    if choices := literals(hint):
        return min(choices)
    for each in (hint, *get_args(hint)):
        if each in {bool, int, float, str, UUID}:
            return {bool: True, int: 7, float: 7.0, str: "x", UUID: A_MEMORY}[each]
    text = str(hint)
    return [7.0] if "float" in text and "Sequence" in text else ["x"] if "Sequence[str]" in text else {"a": 1}


@pytest.mark.parametrize(("name", "argument"), GIVEN)
def test_what_is_given_is_sent_under_the_name_that_the_api_reads(name: str, argument: str) -> None:
    call = called(name, **{argument: value_of(parameters_of(name)[argument])})
    headers = {mine: wire for wire, mine in HEADERS.items()}

    sent = {*call.query, *(call.body or ())}
    in_path = {each for each in OPERATIONS[name][1].replace("}", "{").split("{") if each == argument}
    assert (
        WIRED.get(argument, argument) in sent or argument in in_path or headers.get(argument) in call.headers
    )
