import json
from typing import Any

import pytest

from soma_api.json_body import parsed
from soma_api.models.requests import PatchMemory, PutLink, StoreBatch, StoreMemory
from soma_api.problems import InvalidInputError, NotJsonError
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.violations import ViolationCode

GOOD: dict[str, Any] = {"namespace": "team/notes", "text": "tea at four"}


def errors(body: bytes, limits: Limits = DEFAULT_LIMITS) -> list[tuple[str, ViolationCode]]:
    """What is wrong with a body that stores a memory."""
    with pytest.raises(InvalidInputError) as refused:
        parsed(StoreMemory, body, {"limits": limits})
    return [(each.path, each.code) for each in refused.value.errors]


def as_json(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


def test_the_least_body_has_a_namespace_and_a_text() -> None:
    memory = parsed(StoreMemory, as_json(), {"limits": DEFAULT_LIMITS})

    assert (memory.namespace, memory.text, memory.payload, memory.tags) == (
        "team/notes",
        "tea at four",
        {},
        [],
    )


@pytest.mark.parametrize("body", [b"", b"{", b"tea", b"{'namespace': 1}", b"\xff\xfe", b'{"text": "a" "b"}'])
def test_what_is_no_json_is_told_apart_from_what_breaks_the_contract(body: bytes) -> None:
    with pytest.raises(NotJsonError):
        parsed(StoreMemory, body, {"limits": DEFAULT_LIMITS})


@pytest.mark.parametrize("body", [b"[]", b"null", b'"tea"', b"7"])
def test_json_that_is_no_object_is_the_wrong_type(body: bytes) -> None:
    assert errors(body) == [("", ViolationCode.WRONG_TYPE)]


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"text": 7}, "/text", ViolationCode.WRONG_TYPE),
        ({"text": ""}, "/text", ViolationCode.EMPTY),
        ({"text": "a\0b"}, "/text", ViolationCode.INVALID_CHARACTER),
        ({"tags": "tea"}, "/tags", ViolationCode.WRONG_TYPE),
        ({"tags": ["tea", 7]}, "/tags/1", ViolationCode.WRONG_TYPE),
        ({"tags": ["t"] * 65}, "/tags", ViolationCode.TOO_MANY),
        ({"importance": "high"}, "/importance", ViolationCode.WRONG_TYPE),
        ({"importance": True}, "/importance", ViolationCode.WRONG_TYPE),
        ({"importance": 1.1}, "/importance", ViolationCode.OUT_OF_RANGE),
        ({"payload": []}, "/payload", ViolationCode.WRONG_TYPE),
        ({"payload": "{}"}, "/payload", ViolationCode.WRONG_TYPE),
        ({"payload": {"a\0": 1}}, "/payload", ViolationCode.INVALID_CHARACTER),
        ({"coordinate": []}, "/coordinate", ViolationCode.EMPTY),
        ({"coordinate": [0.0] * 17}, "/coordinate", ViolationCode.TOO_MANY),
        ({"coordinate": ["1"]}, "/coordinate/0", ViolationCode.WRONG_TYPE),
        ({"embedding": [0.0, 0.0]}, "/embedding", ViolationCode.INVALID_VALUE),
        ({"expires_at": 1767225600}, "/expires_at", ViolationCode.WRONG_TYPE),
        ({"memory_id": 7}, "/memory_id", ViolationCode.WRONG_TYPE),
        ({"memory_id": "seven"}, "/memory_id", ViolationCode.WRONG_TYPE),
        ({"key": ""}, "/key", ViolationCode.EMPTY),
        ({"key": "k" * 513}, "/key", ViolationCode.TOO_LONG),
        ({"namespace": "team//notes"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"namespace": ""}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"tenant": "ACME"}, "/tenant", ViolationCode.INVALID_TENANT),
        ({"expected_version": -1}, "/expected_version", ViolationCode.OUT_OF_RANGE),
        ({"colour": "green"}, "/colour", ViolationCode.UNKNOWN_FIELD),
        ({"a/b~c": 1}, "/a~1b~0c", ViolationCode.UNKNOWN_FIELD),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wrong(
    fields: dict[str, Any], path: str, code: ViolationCode
) -> None:
    assert errors(as_json(**fields)) == [(path, code)]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("importance", "{}", "/importance"),
        ("coordinate", "[1.0, {}]", "/coordinate/1"),
        ("embedding", "[{}]", "/embedding/0"),
        ("payload", '{{"a": [1, {}]}}', "/payload/a/1"),
    ],
)
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(
    number: str, field: str, value: str, path: str
) -> None:
    body = f'{{"namespace": "team", "text": "tea", "{field}": {value.format(number)}}}'

    assert errors(body.encode()) == [(path, ViolationCode.NOT_FINITE)]


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises((InvalidInputError, NotJsonError)):
        parsed(StoreMemory, b'{"namespace": "team", "text": "\\ud800"}', {"limits": DEFAULT_LIMITS})


def test_a_text_is_measured_in_bytes_by_the_limits_of_the_installation() -> None:
    assert errors(as_json(text="é" * 6), Limits(text_bytes=11)) == [("/text", ViolationCode.TOO_LONG)]


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert errors(b'{"text": 7, "colour": 1}') == [
        ("/text", ViolationCode.WRONG_TYPE),
        ("/namespace", ViolationCode.MISSING_FIELD),
        ("/colour", ViolationCode.UNKNOWN_FIELD),
    ]


def test_a_fault_never_shows_the_value() -> None:
    with pytest.raises(InvalidInputError) as refused:
        parsed(
            StoreMemory, as_json(importance="a secret", namespace="a secret//"), {"limits": DEFAULT_LIMITS}
        )

    shown = str(refused.value) + "".join(each.model_dump_json() for each in refused.value.errors)
    assert "a secret" not in shown


def test_a_payload_that_nests_too_deep_is_refused() -> None:
    deep = b'{"a":' * 200 + b"{}" + b"}" * 200

    with pytest.raises((InvalidInputError, NotJsonError)):
        parsed(
            StoreMemory,
            b'{"namespace": "team", "text": "tea", "payload": ' + deep + b"}",
            {"limits": DEFAULT_LIMITS},
        )


def test_an_integer_of_any_length_is_an_answer_and_no_crash() -> None:
    body = b'{"namespace": "team", "text": "tea", "payload": {"a": ' + b"9" * 5000 + b"}}"

    with pytest.raises((InvalidInputError, NotJsonError)):
        parsed(StoreMemory, body, {"limits": DEFAULT_LIMITS})


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InvalidInputError) as refused:
        parsed(StoreBatch, b'{"memories": []}', {"limits": DEFAULT_LIMITS})

    assert [(each.path, each.code) for each in refused.value.errors] == [("/memories", ViolationCode.EMPTY)]


def test_a_batch_above_the_limit_is_refused() -> None:
    body = json.dumps({"memories": [GOOD] * 3}).encode()

    with pytest.raises(InvalidInputError) as refused:
        parsed(StoreBatch, body, {"limits": Limits(batch_items=2)})

    assert [(each.path, each.code) for each in refused.value.errors] == [
        ("/memories", ViolationCode.TOO_MANY)
    ]


def test_a_wrong_item_is_named_by_its_index() -> None:
    body = json.dumps({"memories": [GOOD, GOOD | {"tags": [7]}]}).encode()

    with pytest.raises(InvalidInputError) as refused:
        parsed(StoreBatch, body, {"limits": DEFAULT_LIMITS})

    assert [each.path for each in refused.value.errors] == ["/memories/1/tags/0"]


@pytest.mark.parametrize("body", [b"{}", b'{"actor": "agent"}', b'{"namespace": "team"}'])
def test_a_patch_that_changes_nothing_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parsed(PatchMemory, body, {"limits": DEFAULT_LIMITS})

    assert [each.code for each in refused.value.errors] == [ViolationCode.INVALID_PATCH]


def test_a_patch_of_the_identity_is_refused() -> None:
    with pytest.raises(InvalidInputError) as refused:
        parsed(PatchMemory, b'{"text": "tea", "key": "other"}', {"limits": DEFAULT_LIMITS})

    assert [(each.path, each.code) for each in refused.value.errors] == [
        ("/key", ViolationCode.UNKNOWN_FIELD)
    ]


@pytest.mark.parametrize("weight", [b"-1", b"NaN", b"Infinity", b'"1"'])
def test_a_link_has_a_weight_that_can_be_added_up(weight: bytes) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parsed(PutLink, b'{"type": "about", "weight": ' + weight + b"}", {"limits": DEFAULT_LIMITS})

    assert [each.path for each in refused.value.errors] == ["/weight"]
