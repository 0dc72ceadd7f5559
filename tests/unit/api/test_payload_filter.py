"""What a filter by payload compares, and what it refuses."""

from typing import Any

import pytest
from pydantic import ValidationError

from soma_api.models.list_query import ListQuery
from soma_api.models.payload_filter import compared
from soma_api.models.search_models import FilterBody
from soma_schemas.violations import violations_of


def test_fields_are_named_by_what_dots_and_objects_make_of_them() -> None:
    payload = {"a": 1, "b": {"c": {"d": "x"}, "e.f": None}, "g.h": True, "": {"": False}}

    assert compared(payload) == {"a": 1, "b.c.d": "x", "b.e.f": None, "g.h": True, ".": False}


def test_an_empty_filter_asks_nothing() -> None:
    assert compared({}) == {}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"a": {}}, "wrong_type"),
        ({"a": {"b": {}}}, "wrong_type"),
        ({"a": []}, "wrong_type"),
        ({"a": [1]}, "wrong_type"),
        ({"a": {"b": [1]}}, "wrong_type"),
        ({"a.b": 1, "a": {"b": 1}}, "invalid_value"),
        ({"a.b.c.d.e.f.g.h.i": 1}, "too_deep"),
        ({"a.b.c.d": {"e.f.g.h.i": 1}}, "too_deep"),
        ({str(number): number for number in range(65)}, "too_many"),
    ],
)
def test_what_has_no_meaning_is_refused_by_lists_and_searches_alike(
    payload: dict[str, Any], code: str
) -> None:
    with pytest.raises(ValidationError) as search:
        FilterBody(payload=payload)
    with pytest.raises(ValidationError) as listing:
        ListQuery(payload=_json(payload))

    assert [each.code for each in violations_of(search.value)] == [code]
    assert [each.code for each in violations_of(listing.value)] == [code]


def _json(value: object) -> str:
    return str(value).replace("'", '"')
