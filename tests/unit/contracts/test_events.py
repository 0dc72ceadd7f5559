"""What an event may hold, and how a violation is named."""

import json
import math
from typing import Any
from uuid import UUID

import pytest

from builders import A_MOMENT, an_id, patched, stored
from soma_schemas.events import MemoryStored
from soma_schemas.identity import memory_id_for_key
from soma_schemas.limits import Limits
from soma_schemas.violations import ContractError, ViolationCode


def violation_of(**fields: Any) -> tuple[str, ViolationCode]:
    with pytest.raises(ContractError) as caught:
        stored(**fields)
    (violation,) = caught.value.violations
    return violation.path, violation.code


def test_a_number_is_a_number_and_no_text() -> None:
    fields = stored().model_dump() | {"coordinate": ["1"]}

    with pytest.raises(ContractError) as caught:
        MemoryStored.validated(fields)

    assert [(each.path, each.code) for each in caught.value.violations] == [
        ("/coordinate/0", ViolationCode.WRONG_TYPE)
    ]


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"text": ""}, "/text", ViolationCode.EMPTY),
        ({"text": 7}, "/text", ViolationCode.WRONG_TYPE),
        ({"text": "a" * 65537}, "/text", ViolationCode.TOO_LONG),
        ({"text": "é" * 32769}, "/text", ViolationCode.TOO_LONG),
        ({"text": "a\0b"}, "/text", ViolationCode.INVALID_CHARACTER),
        ({"text": "a\ud800b"}, "/text", ViolationCode.INVALID_CHARACTER),
        ({"tenant": "Acme"}, "/tenant", ViolationCode.INVALID_TENANT),
        ({"tenant": ""}, "/tenant", ViolationCode.INVALID_TENANT),
        ({"tenant": "a" * 64}, "/tenant", ViolationCode.INVALID_TENANT),
        ({"tenant": "acme\n"}, "/tenant", ViolationCode.INVALID_TENANT),
        ({"namespace": "team//notes"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"namespace": ""}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"namespace": "team/"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"namespace": "a/" * 16 + "a"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"namespace": "a" * 129}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"namespace": "a%2f"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"namespace": "100%"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"namespace": "a\tb"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"coordinate": [1.0] * 17}, "/coordinate", ViolationCode.TOO_MANY),
        ({"coordinate": []}, "/coordinate", ViolationCode.EMPTY),
        ({"coordinate": [math.nan]}, "/coordinate/0", ViolationCode.NOT_FINITE),
        ({"coordinate": [1.0, math.inf]}, "/coordinate/1", ViolationCode.NOT_FINITE),
        ({"key": "k" * 513}, "/key", ViolationCode.TOO_LONG),
        ({"key": ""}, "/key", ViolationCode.EMPTY),
        ({"importance": 1.5}, "/importance", ViolationCode.OUT_OF_RANGE),
        ({"importance": math.nan}, "/importance", ViolationCode.NOT_FINITE),
        ({"importance": True}, "/importance", ViolationCode.WRONG_TYPE),
        ({"tags": ["t"] * 65}, "/tags", ViolationCode.TOO_MANY),
        ({"tags": ["t", "u" * 129]}, "/tags/1", ViolationCode.TOO_LONG),
        ({"kind": "RUMOUR"}, "/kind", ViolationCode.INVALID_VALUE),
        ({"payload": "[1]"}, "/payload", ViolationCode.WRONG_TYPE),
        ({"payload": "{"}, "/payload", ViolationCode.NOT_JSON),
        ({"payload": '{"a": NaN}'}, "/payload/a", ViolationCode.NOT_FINITE),
        ({"payload": '{"a": 1e999}'}, "/payload/a", ViolationCode.NOT_FINITE),
        ({"payload": '{"a": "\\u0000"}'}, "/payload/a", ViolationCode.INVALID_CHARACTER),
        ({"payload": '{"\\ud800": 1}'}, "/payload", ViolationCode.INVALID_CHARACTER),
        ({"payload": deep(65)}, "/payload" + 64 * "/a", ViolationCode.TOO_DEEP),
        ({"payload": deep(40_000)}, "/payload", ViolationCode.TOO_DEEP),
        ({"payload": json.dumps({"a": "x" * 262144})}, "/payload", ViolationCode.TOO_LONG),
        ({"embedding": [], "embedding_model": "m"}, "/embedding", ViolationCode.EMPTY),
        ({"embedding": [0.0, 0.0], "embedding_model": "m"}, "/embedding", ViolationCode.INVALID_VALUE),
        ({"embedding": [1.0]}, "", ViolationCode.MISSING_FIELD),
        ({"embedding": [1e39], "embedding_model": "m"}, "/embedding/0", ViolationCode.OUT_OF_RANGE),
        ({"embedding": [1e-50, 0], "embedding_model": "m"}, "/embedding", ViolationCode.INVALID_VALUE),
        ({"payload": '{"a": 1e-9999}'}, "/payload/a", ViolationCode.OUT_OF_RANGE),
        ({"namespace": "/".join(["日" * 100] * 9)}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"expires_at": "0001-01-01T00:00:00+01:00"}, "/expires_at", ViolationCode.OUT_OF_RANGE),
        ({"expires_at": "9999-12-31T23:59:00-01:00"}, "/expires_at", ViolationCode.OUT_OF_RANGE),
        ({"expected_version": -1}, "/expected_version", ViolationCode.OUT_OF_RANGE),
        ({"expected_version": 2**53}, "/expected_version", ViolationCode.OUT_OF_RANGE),
        ({"expires_at": "2026-05-01T00:00:00"}, "/expires_at", ViolationCode.INVALID_TIME),
        ({"colour": "red"}, "/colour", ViolationCode.UNKNOWN_FIELD),
        ({"key": "a", "memory_id": UUID(int=5)}, "", ViolationCode.IDENTITY_MISMATCH),
        ({"key": "a", "coordinate": [1.0]}, "", ViolationCode.KEY_AND_COORDINATE),
    ],
)
def test_a_violation_is_named_with_its_path(fields: dict[str, Any], path: str, code: ViolationCode) -> None:
    assert violation_of(**fields) == (path, code)


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "a" * 65536},
        {"text": "日本語のメモ 🍵"},
        {"namespace": "/".join(["a"] * 16)},
        {"namespace": "people/јасна/%25%2F"},
        {"namespace": "é" * 128},
        {"coordinate": [1.0] * 16},
        {"coordinate": [1, -2]},
        {"key": "any thing: / % ☕"},
        {"importance": 0},
        {"payload": '{"a": 123456789012345678901234567890}'},
        {"payload": '{"a": [0.0e-9999, -0.0, 5e-324, 1e308]}'},
        {"namespace": "/".join(["a" * 128] * 16)},
        {"embedding": [3.4e38, 1e-45], "embedding_model": "m"},
        {"payload": deep(64)},
        {"tags": ["t"] * 64},
    ],
)
def test_what_lies_within_the_limits_is_an_event(fields: dict[str, Any]) -> None:
    assert isinstance(stored(**fields), MemoryStored)


def test_limits_are_settings() -> None:
    event = stored(text="four")

    with pytest.raises(ContractError):
        MemoryStored.validated(event.model_dump(), Limits(text_bytes=3))


def test_a_missing_field_is_named() -> None:
    fields = stored().model_dump()
    del fields["text"]

    with pytest.raises(ContractError) as caught:
        MemoryStored.validated(fields)

    assert [(each.path, each.code) for each in caught.value.violations] == [
        ("/text", ViolationCode.MISSING_FIELD)
    ]


def test_an_error_never_shows_the_value() -> None:
    with pytest.raises(ContractError) as caught:
        stored(importance="my secret diary")

    assert "diary" not in str(caught.value)
    assert all("diary" not in each.message for each in caught.value.violations)


def test_a_patch_names_fields_once_and_gives_them_values() -> None:
    memory = stored(key="a")

    with pytest.raises(ContractError):
        patched(memory)
    with pytest.raises(ContractError):
        patched(memory, text=None)
    with pytest.raises(ContractError):
        patched(memory, embedding=[1.0])
    assert patched(memory, subject=None, text="new").text == "new"


def test_times_are_kept_in_utc() -> None:
    event = stored(occurred_at="2026-03-02T10:00:00+01:00")

    assert event.occurred_at == A_MOMENT
    assert event.occurred_at.utcoffset() == A_MOMENT.utcoffset()


def test_all_events_of_a_memory_have_one_key() -> None:
    memory = stored(tenant="acme", namespace="n", key="a")

    assert memory.log_key() == f"acme/{memory_id_for_key('acme', 'n', 'a')}".encode()
    assert patched(memory, text="b").log_key() == memory.log_key()


def test_a_builders_id_is_new_each_time() -> None:
    assert an_id() != an_id()
