from typing import Any

import pytest
from pydantic import ValidationError

from builders import A_TENANT
from soma_api.models.list_query import ListQuery, visible_below
from soma_api.principals import Principal
from soma_api.problems import InvalidInputError, NamespaceForbiddenError
from soma_api.queries.filter_terms import Axis, FieldIs, IsMemory, NumberRange, NumberWithin
from soma_api.roles import Role
from soma_schemas.identity import memory_id_for_coordinate, memory_id_for_key
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.violations import ViolationCode, violations_of


def a_reader(*namespaces: str) -> Principal:
    return Principal(A_TENANT, Role.READER, namespaces or None, "key:1")


def a_query(**fields: Any) -> ListQuery:
    return ListQuery.model_validate(fields)


def test_a_key_is_looked_up_by_the_id_that_it_gives_and_compared_as_well() -> None:
    wanted = a_query(namespace="team", key="tea").selection(a_reader(), DEFAULT_LIMITS)

    assert wanted.where.terms == (
        IsMemory((memory_id_for_key(A_TENANT, "team", "tea"),)),
        FieldIs("key", ("tea",)),
    )


def test_a_coordinate_is_looked_up_by_the_id_that_it_gives() -> None:
    wanted = a_query(namespace="team", coordinate="1,-2.5e1").selection(a_reader(), DEFAULT_LIMITS)

    assert IsMemory((memory_id_for_coordinate(A_TENANT, "team", [1.0, -25.0]),)) in wanted.where.terms
    assert NumberWithin(Axis(1), NumberRange(at_least=-25.0, at_most=-25.0)) in wanted.where.terms


@pytest.mark.parametrize(
    "fields",
    [
        {"coordinate": ",".join(["1"] * 17)},
        {"coordinate": "1e999"},
        {"coordinate_min": "1,1e999", "coordinate_max": "2,2"},
        {"coordinate_min": "1e-999", "coordinate_max": "2"},
    ],
)
def test_a_coordinate_that_breaks_the_contract_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        a_query(namespace="team", **fields).selection(a_reader(), DEFAULT_LIMITS)

    assert {each.source.value for each in refused.value.errors} == {"query"}


@pytest.mark.parametrize(
    "number", ["0_1", "+1", "1.", ".5", "01", "0x1", "true", "nan", "1e-400", "1e400", ""]
)
@pytest.mark.parametrize("field", ["importance_min", "importance_max", "limit", "coordinate_min"])
def test_a_number_of_a_query_is_one_as_json_has_it(field: str, number: str) -> None:
    with pytest.raises((ValidationError, InvalidInputError)):
        a_query(**{"coordinate_min": "1", "coordinate_max": "1", field: number}).selection(
            a_reader(), DEFAULT_LIMITS
        )


def test_a_page_has_a_whole_number_of_memories() -> None:
    assert a_query(limit="5").limit == 5
    assert a_query(importance_min="1").importance_min == 1.0
    with pytest.raises(ValidationError):
        a_query(limit="5.0")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("1e-20000", ViolationCode.OUT_OF_RANGE),
        ("1e400", ViolationCode.NOT_FINITE),
        ("9" * 400, ViolationCode.NOT_FINITE),
        ("NaN", ViolationCode.NOT_FINITE),
    ],
)
def test_a_payload_is_asked_for_by_numbers_that_one_can_have(number: str, code: ViolationCode) -> None:
    with pytest.raises(ValidationError) as refused:
        a_query(payload=f'{{"a": {number}}}')

    assert [(each.path, each.code) for each in violations_of(refused.value)] == [("/payload/a", code)]


def test_a_payload_is_asked_for_by_the_number_that_would_be_kept() -> None:
    assert a_query(payload='{"a": 0.1000000000000000055511151231257827}').payload == '{"a":0.1}'


def test_the_installations_limit_of_dimensions_holds_for_queries_too() -> None:
    with pytest.raises(InvalidInputError):
        a_query(namespace="team", coordinate="1,2,3").selection(a_reader(), Limits(coordinate_dimensions=2))


def test_the_corners_of_a_box_have_as_many_dimensions() -> None:
    with pytest.raises(InvalidInputError) as refused:
        a_query(coordinate_min="1,2", coordinate_max="1").selection(a_reader(), DEFAULT_LIMITS)

    assert [(each.path, each.code) for each in refused.value.errors] == [
        ("/coordinate_max", ViolationCode.INVALID_VALUE)
    ]


@pytest.mark.parametrize(
    ("own", "namespace", "prefix", "reads"),
    [
        ((), None, None, (None, None)),
        ((), None, "team", ("team", None)),
        (("team/a",), None, None, ("team/a", None)),
        (("team/a",), None, "team", ("team/a", None)),
        (("team/a",), None, "team/a/b", ("team/a/b", None)),
        (("team/a",), "team/a/b", None, (None, None)),
        (("team/a", "board"), None, None, (None, ["team/a", "board"])),
        (("team/a", "team/b", "board"), None, "team", ("team", ["team/a", "team/b"])),
    ],
)
def test_a_list_is_held_to_what_the_key_covers(
    own: tuple[str, ...],
    namespace: str | None,
    prefix: str | None,
    reads: tuple[str | None, list[str] | None],
) -> None:
    assert visible_below(a_reader(*own), namespace, prefix) == reads


@pytest.mark.parametrize(("namespace", "prefix"), [("team/ab", None), (None, "team/ab"), (None, "board")])
def test_a_list_outside_of_what_the_key_covers_is_refused_rather_than_empty(
    namespace: str | None, prefix: str | None
) -> None:
    with pytest.raises(NamespaceForbiddenError):
        visible_below(a_reader("team/a"), namespace, prefix)


def test_a_cursor_belongs_to_filters_and_order_but_not_to_the_size_of_a_page() -> None:
    assert a_query(limit=5, cursor="x").signature() == a_query(limit=6).signature()
    assert a_query(sort="created_at").signature() != a_query().signature()
    assert a_query(tags=["a"]).signature() != a_query(tags=["b"]).signature()
