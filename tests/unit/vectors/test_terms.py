"""A memory's own payload as terms and numbers."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.vectors.terms import (
    MAX_FILTERABLE_DEPTH,
    MAX_FILTERABLE_FIELDS,
    Scalar,
    filter_number,
    filterable,
    presence,
    term,
)

_finite = st.floats(allow_nan=False, allow_infinity=False)
# Few characters, those that terms are put together with, so that examples come close to each other.
_confusing = st.text(alphabet='a1="\\', max_size=4)
_confusing_scalars = st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, 2**53, float(2**53)]) | _confusing


def _values(terms: list[str]) -> list[str]:
    return [each for each in terms if not each.endswith("=?")]


def test_an_empty_payload_has_nothing_to_filter_by() -> None:
    assert filterable("{}") == ([], [])


def test_a_field_is_named_by_its_path() -> None:
    terms, numbers = filterable('{"ticket": {"id": "SRV-1", "size": {"mm": 3}}}')

    assert _values(terms) == ['ticket.id="SRV-1"', "ticket.size.mm=3"]
    assert numbers == [("ticket.size.mm", 3.0)]


def test_every_field_is_there_whatever_its_value() -> None:
    terms, _ = filterable('{"a": {"b": null, "c": []}, "d": {}}')

    assert set(terms) - set(_values(terms)) == {presence(path) for path in ("a", "a.b", "a.c", "d")}


def test_a_list_has_each_of_its_scalars_and_no_range() -> None:
    terms, numbers = filterable('{"labels": ["a", 2, {"no": 1}, ["no"]], "none": []}')

    assert (_values(terms), numbers) == (['labels="a"', "labels=2"], [])


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (0, -0.0), (10**15, 1e15), (10**20, 1e20), (10**30, 1e30)]
)
def test_equal_numbers_are_one_value_however_they_are_written(one: float, other: float) -> None:
    assert term("a", one) == term("a", other)


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (0, False), ("1", 1), (None, "null"), (2**53, 2**53 + 1)]
)
def test_different_values_are_told_apart(one: object, other: object) -> None:
    assert term("a", one) != term("a", other)  # type: ignore[arg-type]  # any two scalars


@pytest.mark.parametrize("other", ["1.0", "10e-1", "0.1E+1", "1.000"])
def test_a_number_in_a_payload_has_one_term_however_it_is_spelt(other: str) -> None:
    assert filterable(f'{{"a": {other}}}') == filterable('{"a": 1}')


def test_a_number_in_a_payload_is_found_by_its_exact_value() -> None:
    terms, _ = filterable('{"a": 0.1, "b": 0.10000000000000000001, "c": 1e30, "d": 12345678901234567890123}')

    assert _values(terms) == [
        term("a", 0.1),
        "b=0.10000000000000000001",
        term("c", 10**30),
        term("d", 12345678901234567890123),
    ]


@pytest.mark.parametrize(
    ("payload", "names"),
    [
        ('{"a.b": 1, "a": {"b": 2}}', ["a.b=1", "a.b=2"]),
        ('{"": {"a": 1}, "a": {"": 2}}', [".a=1", "a.=2"]),
        (
            '{"a.b.c.d.e.f.g.h": 1, "a.b.c.d.e.f.g.h.i": 2, "a.b.c.d": {"e.f.g.h": 3, "e.f.g.h.i": 4}}',
            ["a.b.c.d.e.f.g.h=1", "a.b.c.d.e.f.g.h=3"],
        ),
    ],
)
def test_a_dot_in_a_name_is_as_good_as_an_object(payload: str, names: list[str]) -> None:
    assert _values(filterable(payload)[0]) == names


@given(_confusing, _confusing, _confusing_scalars)
def test_that_a_field_is_there_is_spelt_as_no_value_is(path: str, other: str, value: Scalar) -> None:
    assert presence(path) != term(other, value)
    assert path == other or presence(path) != presence(other)


@given(_confusing, _confusing_scalars, _confusing, _confusing_scalars)
def test_two_fields_share_a_term_only_when_they_have_one_name_and_one_value(
    path: str, value: Scalar, other_path: str, other_value: Scalar
) -> None:
    if term(path, value) == term(other_path, other_value):
        assert path == other_path
        assert value == other_value
        assert isinstance(value, bool) == isinstance(other_value, bool)


def test_a_long_value_becomes_a_digest_that_no_short_one_can_be_taken_for() -> None:
    long, longer = term("a", "x" * 500), term("a", "x" * 501)

    assert long != longer
    assert len(long) == 33
    assert "=" not in long


def test_what_lies_too_deep_or_comes_too_late_is_left_out() -> None:
    deep: object = 1
    for _ in range(MAX_FILTERABLE_DEPTH):
        deep = {"a": deep}
    deeper = {"a": deep}
    many = {str(number): number for number in range(MAX_FILTERABLE_FIELDS + 10)}

    assert len(filterable(json.dumps(deep))[1]) == 1
    assert filterable(json.dumps(deeper))[1] == []
    assert presence(".".join("a" * MAX_FILTERABLE_DEPTH)) in filterable(json.dumps(deeper))[0]
    assert len(_values(filterable(json.dumps(many))[0])) == MAX_FILTERABLE_FIELDS


def test_a_number_beyond_floating_point_can_be_looked_up_but_has_no_range() -> None:
    terms, numbers = filterable('{"a": 1' + "0" * 400 + "}")

    assert len(_values(terms)) == 1
    assert numbers == []


@given(_finite, _finite)
def test_rounding_for_filters_keeps_the_order_and_every_short_number(one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert filter_number(low) <= filter_number(high)
    assert math.isfinite(filter_number(low))
    assert filter_number(0.3) == 0.3
