"""`soma api` reaches every operation of the API."""

import json
import re

import pytest

from canned_api import MEMORY_ID, CannedApi, a_memory
from soma_api.application import api_document
from soma_command import Soma

OPERATIONS: dict[str, tuple[str, str]] = {
    operation["operationId"]: (method.upper(), path)
    for path, operations in api_document()["paths"].items()
    for method, operation in operations.items()
}
TEXTS = {"text": "x", "namespace": "a", "link_type": "about", "position": "3:1042", "version": "1"}
IDS = ("memory_id", "to_memory_id", "from_memory_id", "dead_letter_id", "request_id")
JSON = {"changes": {"text": "x"}, "memories": [{"namespace": "a", "text": "x"}], "searches": [{"query": "x"}]}
# Without an end: `soma tail` shows it.
ENDLESS = "follow_changes"


@pytest.fixture
def at(api: CannedApi) -> dict[str, str]:
    """The environment that leads to the API."""
    return {"SOMA_URL": api.url, "SOMA_API_KEY": "soma_a_secret"}


def arguments_of(listed: list[str]) -> list[str]:
    """Something for each argument that any operation needs."""
    given = [f"{name}={TEXTS[name]}" for name in listed if name in TEXTS]
    given += [f"{name}={MEMORY_ID}" for name in listed if name in IDS]
    return given + [f"{name}:={json.dumps(JSON[name])}" for name in listed if name in JSON]


def listed(soma: Soma) -> dict[str, list[str]]:
    ran = soma("api", "--json")
    assert (ran.code, ran.err) == (0, "")
    return {each["name"]: each["arguments"] for each in json.loads(ran.out)["operations"]}


def test_every_operation_of_the_api_is_listed(soma: Soma) -> None:
    assert set(listed(soma)) == set(OPERATIONS) - {ENDLESS}


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {ENDLESS}))
def test_an_operation_is_asked(soma: Soma, api: CannedApi, at: dict[str, str], operation: str) -> None:
    takes = listed(soma)[operation]
    api.refuses(403, "role_too_low", "not with this key")

    ran = soma("api", operation, *arguments_of(takes), environment=at)

    assert (ran.code, ran.err) == (1, "error: not with this key\n")
    method, path = OPERATIONS[operation]
    (asked,) = api.asked
    assert asked.method == method
    assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), asked.path)


def test_text_and_json_are_sent_as_what_they_are(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers({"memories": [a_memory()], "next_cursor": None})

    ran = soma("api", "list_memories", "namespace=a=b", "limit=5", 'tags:=["x", "y"]', environment=at)

    assert api.asked[0].query == {"namespace": ["a=b"], "limit": ["5"], "tags": ["x", "y"]}
    assert [memory["key"] for memory in json.loads(ran.out)["memories"]] == ["tea"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("read_memory",), "`memory_id` of `read_memory`"),
        (("list_memories", "limit=many"), "`limit` of `list_memories`"),
        (("store_memory", "text=x", "namespace=a", "importanc=1"), "`importanc` of `store_memory`"),
        (("search_batch", 'searches:=[{"topk": 1}]'), "`searches.0.topk` of `search_batch`"),
        (("search", "filter:={"), "the value of `filter` is not JSON"),
        (("search", "tea"), "`tea` is not NAME=VALUE"),
        (("follow_changes",), "no operation `follow_changes`"),
        (("searching",), "no operation `searching`"),
    ],
)
def test_misuse_is_said_before_anything_is_asked(
    soma: Soma, api: CannedApi, at: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    ran = soma("api", *arguments, environment=at)

    assert (ran.code, ran.out, api.asked) == (2, "", [])
    assert said in ran.err
