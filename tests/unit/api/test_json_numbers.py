"""How answers spell the numbers of a payload."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_api.models.json_numbers import with_one_spelling


@pytest.mark.parametrize(
    ("written", "spelt"),
    [
        ("1e30", "1e+30"),
        ("1000000000000000000000000000000", "1e+30"),
        ("1.0E+30", "1e+30"),
        ("1000000000000000019884624838656", "1000000000000000019884624838656"),
        ("-1e300", "-1e+300"),
        ("1e0", "1"),
        ("12e-1", "1.2"),
        ("1.50", "1.50"),
        ("1e16", "10000000000000000"),
        ("18446744073709551615", "18446744073709551615"),
        ("1e-7", "0.0000001"),
        ("2.5e-20", "2.5e-20"),
        ("0.000000000000000000025", "2.5e-20"),
        ("0.1234567890123456789012345", "0.1234567890123456789012345"),
        ("-0", "0"),
        ("-0.0", "0.0"),
        ("0e5", "0"),
    ],
)
def test_a_number_has_one_spelling(written: str, spelt: str) -> None:
    assert with_one_spelling(f'{{"a": [{written}, "b"]}}') == f'{{"a": [{spelt}, "b"]}}'


@pytest.mark.parametrize(
    "text", ['{"1e30": "1e30 \\" 1e30", "-0": "-0"}', '{"a\\\\": "\\\\", "1e5": "é1e5"}']
)
def test_strings_and_names_are_left_alone(text: str) -> None:
    assert with_one_spelling(text) == text


@given(st.recursive(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(), st.lists))
def test_the_decimal_value_stays_the_same(value: object) -> None:
    text = json.dumps({"a": value})

    assert _decimal(with_one_spelling(text)) == _decimal(text)


def _decimal(text: str) -> object:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)
