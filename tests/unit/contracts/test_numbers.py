"""What a number in JSON is: the same for whoever reads it, and kept by every store."""

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders import WRITER_SCHEMAS, a_batch, a_decoder, a_record, stored
from odd_events import raw, wire
from soma_api.json_body import parsed
from soma_api.models.requests import StoreMemory
from soma_api.models.search_models import FilterBody
from soma_api.problems import InvalidInputError
from soma_cli.formats.json_lines import parse_line
from soma_schemas.events import MemoryStored
from soma_schemas.json_text import JsonError, json_text, read_json
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.merge_patch import merge_patch
from soma_schemas.violations import ContractError, ViolationCode
from soma_streams.delivery.state import LoggedEvent

_digits = st.text("0123456789", min_size=1, max_size=40) | st.sampled_from(["0" * 320 + "1", "3" * 400])
_exponents = st.integers(-400, 400).map(str) | st.sampled_from(["+5", "-20000", "99999", "007", "-0"])
LITERALS = (
    st.builds(
        lambda sign, whole, fraction, exponent: sign + (whole.lstrip("0") or "0") + fraction + exponent,
        st.sampled_from(["", "-"]),
        _digits,
        st.just("") | _digits.map(lambda digits: f".{digits}"),
        st.just("") | st.builds(lambda e, power: e + power, st.sampled_from("eE"), _exponents),
    )
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(allow_nan=False, allow_infinity=False).map("{:.17g}".format)
    | st.integers().map(str)
    | st.integers(-(2**1025), 2**1025).map(str)
)


def kept(literal: str) -> Decimal | ViolationCode:
    """Return what a payload keeps of a number, or why it does not."""
    try:
        event = MemoryStored.validated(stored().model_dump() | {"payload": f'{{"a": {literal}}}'})
    except ContractError as error:
        (violation,) = error.violations
        assert violation.path in {"/payload", "/payload/a"}
        return violation.code
    number = json.loads(event.payload, parse_int=Decimal, parse_float=Decimal)["a"]
    assert isinstance(number, Decimal)
    return number


@pytest.mark.parametrize(
    ("literal", "number"),
    [
        ("0.30000000000000004", "0.30000000000000004"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("0." + "3" * 16384, "0.3333333333333333"),
        ("1." + "0" * 16384, "1"),
        ("0.10000000000000001", "0.1"),
        ("1e30", "1e30"),
        ("1000000000000000000000000000000", "1e30"),
        ("18446744073709551617", "18446744073709551617"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740993.0", "9007199254740992"),
        ("4.9e-324", "5e-324"),
        ("1.7976931348623158e308", "1.7976931348623157e308"),
        ("0e99999", "0"),
        ("0e-20000", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
    ],
)
def test_a_number_is_kept_as_the_nearest_double_and_an_integer_as_it_is(literal: str, number: str) -> None:
    assert kept(literal) == Decimal(number)


@pytest.mark.parametrize(
    ("literal", "code"),
    [
        ("1e400", ViolationCode.NOT_FINITE),
        ("-1E400", ViolationCode.NOT_FINITE),
        ("1.7976931348623159e308", ViolationCode.NOT_FINITE),
        (str(2**1024), ViolationCode.NOT_FINITE),
        ("9" * 5000, ViolationCode.NOT_FINITE),
        ("NaN", ViolationCode.NOT_FINITE),
        ("-Infinity", ViolationCode.NOT_FINITE),
        ("1e-20000", ViolationCode.OUT_OF_RANGE),
        ("2e-324", ViolationCode.OUT_OF_RANGE),
        ("0." + "0" * 400 + "1", ViolationCode.OUT_OF_RANGE),
        ("01", ViolationCode.NOT_JSON),
        ("1.", ViolationCode.NOT_JSON),
        (".5", ViolationCode.NOT_JSON),
        ("+1", ViolationCode.NOT_JSON),
        ("1_000", ViolationCode.NOT_JSON),
        ("0x10", ViolationCode.NOT_JSON),
    ],
)
def test_what_no_double_can_be_is_refused(literal: str, code: ViolationCode) -> None:
    assert kept(literal) is code


@given(LITERALS)
def test_the_rule_is_the_nearest_double_whatever_is_written(literal: str) -> None:
    number, found = Decimal(literal), kept(literal)

    if "." not in literal and "e" not in literal.lower():
        expected = number if abs(number) <= Decimal(np.finfo(float).max) else ViolationCode.NOT_FINITE
    elif math.isinf(float(literal)):
        expected = ViolationCode.NOT_FINITE
    elif float(literal) == 0 and number != 0:
        expected = ViolationCode.OUT_OF_RANGE
    else:
        expected = Decimal(repr(float(literal)))
    assert found == expected


@given(LITERALS)
def test_what_is_kept_is_kept_as_it_is_when_it_comes_again(literal: str) -> None:
    try:
        once = read_json(literal)
    except JsonError:
        return
    again = read_json(json_text(once.value))

    assert (again.value, again.respelled) == (once.value, False)


@given(LITERALS, LITERALS)
@example("1e22", "12345678901234567890")
@example("0.30000000000000004", "1" * 300)
def test_each_way_through_a_sink_and_the_gateway_has_the_same_verdict(one: str, other: str) -> None:
    text = f'{{"a":{one},"b":[{other},"{one}"]}}'
    fields = raw(payload=text)
    record = a_record(wire(fields), key=f"{fields['tenant']}/{fields['memory_id']}".encode())

    (decoded,) = a_decoder().decode(a_batch([record]), WRITER_SCHEMAS).items
    model = of_model(text)

    if isinstance(decoded, LoggedEvent):
        assert isinstance(decoded.event, MemoryStored)
        assert decoded.event.payload == model
    else:
        assert decoded.code == model
    for literal in (one, other):
        alone = f'{{"a":{literal}}}'
        assert of_gateway(alone) == of_line(alone) == spelled(of_model(alone))


def of_model(payload: str) -> str | ViolationCode:
    try:
        return MemoryStored.validated(stored().model_dump() | {"payload": payload}).payload
    except ContractError as error:
        return error.violations[0].code


def of_gateway(payload: str) -> object:
    body = f'{{"namespace": "a", "text": "x", "payload": {payload}}}'.encode()
    try:
        return json_text(parsed(StoreMemory, body, {"limits": DEFAULT_LIMITS}).payload)
    except InvalidInputError as error:
        return error.errors[0].code


def of_line(payload: str) -> object:
    try:
        line = parse_line(f'{{"namespace": "a", "text": "x", "payload": {payload}}}'.encode())
        now = stored().occurred_at
        return spelled(line.event("acme", "0", now, DEFAULT_LIMITS).payload)
    except ContractError as error:
        return error.violations[0].code


def spelled(model: str | ViolationCode) -> object:
    return model if isinstance(model, ViolationCode) else json_text(json.loads(model))


@given(LITERALS, LITERALS)
def test_a_merge_patch_changes_no_number_that_it_does_not_name(one: str, other: str) -> None:
    try:
        before = read_json(f'{{"a": {one}, "b": {other}}}').value
    except JsonError:
        return
    after = merge_patch(json_text(before), json_text({"b": before["b"], "c": 1}))

    assert exactly(after) == exactly(json_text(before | {"c": 1}))


def exactly(text: str) -> object:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


@pytest.mark.parametrize("literal", ["1e-20000", "1e400", "9" * 5000])
@pytest.mark.parametrize(
    ("model", "body"),
    [
        (StoreMemory, '{{"namespace": "a", "text": "x", "importance": {}}}'),
        (StoreMemory, '{{"namespace": "a", "text": "x", "coordinate": [{}]}}'),
        (FilterBody, '{{"payload": {{"a": {}}}}}'),
        (FilterBody, '{{"payload_ranges": {{"a": {{"gte": {}}}}}}}'),
        (FilterBody, '{{"coordinate_min": [{0}], "coordinate_max": [{0}]}}'),
    ],
)
def test_a_body_is_refused_for_such_a_number_wherever_it_stands(model: Any, body: str, literal: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parsed(model, body.format(literal).encode(), {"limits": DEFAULT_LIMITS})

    assert {fault.code for fault in caught.value.errors} <= {
        ViolationCode.NOT_FINITE,
        ViolationCode.OUT_OF_RANGE,
    }
