"""Where in a payload something is wrong: whoever reads it says the same."""

from collections.abc import Callable

import pytest

from builders import stored
from soma_api.json_body import parsed
from soma_api.models.requests import StoreMemory
from soma_api.problems import InvalidInputError
from soma_cli.formats.json_lines import parse_line
from soma_schemas.events import MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.violations import ContractError

MEMORY = '{{"namespace": "team", "text": "tea", "payload": {}}}'


def of_event(payload: str) -> str:
    with pytest.raises(ContractError) as refused:
        MemoryStored.validated(stored().model_dump() | {"payload": payload})
    return refused.value.violations[0].path


def of_body(payload: str) -> str:
    with pytest.raises(InvalidInputError) as refused:
        parsed(StoreMemory, MEMORY.format(payload).encode(), {"limits": DEFAULT_LIMITS})
    return refused.value.errors[0].path


def of_line(payload: str) -> str:
    with pytest.raises(ContractError) as refused:
        parse_line(MEMORY.format(payload).encode()).event("acme", "0", stored().occurred_at, DEFAULT_LIMITS)
    return refused.value.violations[0].path


@pytest.mark.parametrize("place_of", [of_event, of_body, of_line])
@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ('{"a": {"b": [1, 2, 3, NaN]}}', "/payload/a/b/3"),
        ('{"a": {"b": [1, 2, 3, -1e999]}, "c": 1e999}', "/payload/a/b/3"),
        ('{"a": [[], {"b/c": 1e-999}]}', "/payload/a/1/b~1c"),
        (f'{{"a": [{"9" * 400}]}}', "/payload/a/0"),
        (f'{{"a": [{"9" * 5000}]}}', "/payload/a/0"),
        ('{"a": [{"b": "\\u0000"}]}', "/payload/a/0/b"),
        ('{"a": [{"b\\u0000": 1}]}', "/payload/a/0"),
        ('{"a": {"line\\nend": [NaN]}}', "/payload/a"),
        (65 * '{"a":' + "1" + 65 * "}", "/payload" + 64 * "/a"),
    ],
)
def test_what_is_wrong_within_a_payload_is_named_with_its_place(
    place_of: Callable[[str], str], payload: str, place: str
) -> None:
    assert place_of(payload) == place
