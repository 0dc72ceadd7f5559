"""What the filter language says, and what it refuses, before anything is asked."""

import json
import time
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from soma_api.models.filter_language import MAX_DEPTH, MAX_TERMS, FilterExpression, Where, read_filter
from soma_api.queries.filter_terms import (
    Either,
    Every,
    FieldIs,
    Has,
    Negated,
    NumberField,
    NumberRange,
    NumberWithin,
    OptionalField,
    PayloadIs,
    PayloadWithin,
    Tagged,
)
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.violations import ViolationCode, violations_of

_WHERE = TypeAdapter[FilterExpression](Where)


def said(**expression: Any) -> Every:
    return _WHERE.validate_json(json.dumps(expression)).term()


def nested(levels: int) -> dict[str, Any]:
    expression: dict[str, Any] = {"kind": {"eq": "SEMANTIC"}}
    for _ in range(levels):
        expression = {"not": expression}
    return expression


def test_everything_in_an_object_has_to_be_true() -> None:
    assert said(kind={"eq": "SEMANTIC"}, importance={"gte": 0.2, "lt": 0.5}) == Every(
        (
            FieldIs("kind", ("SEMANTIC",)),
            NumberWithin(NumberField.IMPORTANCE, NumberRange(at_least=0.2, below=0.5)),
        )
    )


def test_expressions_are_joined_and_negated() -> None:
    assert said(**{"or": [{"key": {"exists": False}}, {"not": {"tags": {"contains": ["a", "b"]}}}]}) == Every(
        (
            Either(
                (
                    Every((Negated(Has(OptionalField.KEY)),)),
                    Every((Negated(Every((Tagged(("a",)), Tagged(("b",))))),)),
                )
            ),
        )
    )


def test_null_is_a_value_of_a_payload_and_elsewhere_asks_nothing() -> None:
    assert said(payload={"a.b": {"eq": None}}, key=None) == Every((PayloadIs("a.b", (None,)),))


def test_a_payload_is_asked_for_values_and_for_ranges() -> None:
    assert said(payload={"price": {"between": [1, 5], "in": [1, "x", True]}}) == Every(
        (
            PayloadIs("price", (1, "x", True)),
            PayloadWithin("price", NumberRange(at_least=1.0, at_most=5.0)),
        )
    )


def test_an_empty_filter_asks_nothing() -> None:
    assert said() == Every(())


@pytest.mark.parametrize(
    ("expression", "path", "code"),
    [
        ({"colour": {"eq": "red"}}, "/colour", "unknown_field"),
        ({"kind": {"gte": "SEMANTIC"}}, "/kind/gte", "unknown_field"),
        ({"kind": {"eq": "semantic"}}, "/kind/eq", "invalid_value"),
        ({"kind": "SEMANTIC"}, "/kind", "wrong_type"),
        ({"kind": {}}, "/kind", "empty"),
        ({"importance": {"gte": "1"}}, "/importance/gte", "wrong_type"),
        ({"importance": {"gte": True}}, "/importance/gte", "wrong_type"),
        ({"importance": {"between": [1]}}, "/importance/between", "empty"),
        ({"importance": {"between": [1, 0]}}, "/importance/between", "invalid_value"),
        ({"occurred_at": {"gt": "yesterday"}}, "/occurred_at/gt", "invalid_time"),
        ({"occurred_at": {"exists": True}}, "/occurred_at/exists", "unknown_field"),
        ({"key": {"eq": ""}}, "/key/eq", "empty"),
        ({"key": {"in": []}}, "/key/in", "empty"),
        ({"key": {"exists": 1}}, "/key/exists", "wrong_type"),
        ({"coordinate": {"axes": {"64": {"gt": 1}}}}, None, "invalid_value"),
        ({"payload": {"a": {"eq": {"b": 1}}}}, "/payload/a/eq", "wrong_type"),
        ({"payload": {"a": {"gte": "1"}}}, "/payload/a/gte", "wrong_type"),
        ({"payload": {"a": {}}}, "/payload/a", "empty"),
        ({"payload": {"a.b.c.d.e.f.g.h.i": {"eq": 1}}}, None, "too_deep"),
        ({"or": []}, "/or", "empty"),
        ({"not": [{}]}, "/not", "wrong_type"),
        ({"or": [{"kind": {"eq": 1}}]}, "/or/0/kind/eq", "invalid_value"),
        (nested(MAX_DEPTH + 1), "", "too_deep"),
        ({"or": [{}] * (MAX_TERMS + 1)}, "", "too_many"),
        ({"payload": {str(number): {"eq": 1} for number in range(MAX_TERMS + 1)}}, "", "too_many"),
    ],
)
def test_what_breaks_the_language_is_refused_and_said_where(
    expression: dict[str, Any], path: str | None, code: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        said(**expression)

    first = violations_of(refused.value)[0]
    assert (first.path if path is not None else None, first.code) == (path, code)


def test_a_filter_of_as_many_terms_and_levels_as_allowed_is_taken() -> None:
    assert said(**nested(MAX_DEPTH)).terms
    assert len(said(payload={str(number): {"eq": 1} for number in range(MAX_TERMS)}).terms) == MAX_TERMS


@pytest.mark.parametrize(
    "expression",
    [
        {"or": [{"kind": {"eq": "SEMANTIC"}}] * 10_000},
        {"or": [{"or": [{"kind": {"eq": "SEMANTIC"}}] * 100}] * 100},
        nested(400),
    ],
)
def test_a_filter_of_very_many_terms_is_refused_before_anything_is_made_of_it(
    expression: dict[str, Any],
) -> None:
    begin = time.process_time()
    with pytest.raises(ValidationError) as refused:
        _WHERE.validate_python(expression)

    assert [each.code for each in violations_of(refused.value)] in (
        [ViolationCode.TOO_MANY],
        [ViolationCode.TOO_DEEP],
    )
    assert time.process_time() - begin < 0.1


@pytest.mark.parametrize(
    ("text", "code", "within"),
    [
        ("{", "not_json", ""),
        ("[]", "wrong_type", ""),
        ('{"importance": {"gte": 1e999}}', "not_finite", "/importance/gte"),
        ('{"key": {"eq": 1}}', "wrong_type", "/key/eq"),
        ('{"key": {"eq": "' + "x" * 9000 + '"}}', "too_long", ""),
        ('{"tags": {"in": ["' + "x" * 20 + '"]}}', "too_long", "/tags/in/0"),
    ],
)
def test_a_filter_that_is_text_is_refused_where_it_is_wrong(text: str, code: str, within: str) -> None:
    with pytest.raises(PydanticCustomError) as refused:
        read_filter(text, Limits(tag_characters=10))

    assert refused.value.type == code
    assert (refused.value.context or {}).get("within") == within


def test_a_filter_that_is_text_says_the_same() -> None:
    text = '{"payload": {"a": {"eq": 1.0}}, "not": {"key": {"exists": true}}}'

    assert read_filter(text, DEFAULT_LIMITS).term() == said(**json.loads(text))
