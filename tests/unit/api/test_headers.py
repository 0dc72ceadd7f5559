from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from builders import an_id
from soma_api import headers
from soma_api.problems import InvalidHeaderError
from soma_schemas.versions import Position


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], None),
        (["wait=5"], 5.0),
        (["WAIT=5"], 5.0),
        (["respond-async, wait=5"], 5.0),
        (["respond-async", "wait=7"], 7.0),
        (['wait="5"'], 5.0),
        (["wait = 5"], 5.0),
        (["wait=5; strict"], 5.0),
        (["wait=600"], 30.0),
        (["wait=0"], 0.0),
        (["wait=5, wait=9"], 5.0),
    ],
)
def test_a_preferred_wait_is_read_and_bounded(values: list[str], seconds: float | None) -> None:
    assert headers.preferred_wait(values, 30.0) == seconds


@pytest.mark.parametrize(
    "value", ["wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "waiter=5", "=5", ",,"]
)
def test_a_preference_that_is_not_understood_is_ignored(value: str) -> None:
    assert headers.preferred_wait([value], 30.0) is None


@given(st.lists(st.text()))
def test_no_prefer_header_is_an_error(values: list[str]) -> None:
    wait = headers.preferred_wait(values, 30.0)

    assert wait is None or 0.0 <= wait <= 30.0


def read(header: Any, value: Any) -> Any:
    """What a route is given for a header."""
    return TypeAdapter(header).validate_python(value)


def test_an_etag_that_was_read_is_the_version_that_is_expected() -> None:
    assert read(headers.IfMatch, headers.entity_tag(1099511627783)) == 1099511627783


def test_if_none_match_with_a_star_expects_that_there_is_none() -> None:
    assert read(headers.IfAbsent, "*") == 0


def test_one_condition_at_most_is_expected() -> None:
    assert headers.expected_version(None, None) is None
    assert headers.expected_version(5, None) == 5
    assert headers.expected_version(None, 0) == 0
    with pytest.raises(InvalidHeaderError):
        headers.expected_version(5, 0)


@pytest.mark.parametrize("value", ["*", 'W/"5"', '"5", "6"', "5", '"abc"', '"9007199254740992"', ""])
def test_a_condition_that_the_log_cannot_decide_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        read(headers.IfMatch, value)


@pytest.mark.parametrize("value", ['"5"', "", "*, *"])
def test_a_write_is_conditional_on_absence_alone(value: str) -> None:
    with pytest.raises(ValidationError):
        read(headers.IfAbsent, value)


def test_header_and_body_must_expect_the_same_version() -> None:
    assert headers.both_expected(5, 5) == 5
    assert headers.both_expected(None, 5) == 5
    assert headers.both_expected(0, None) == 0
    with pytest.raises(InvalidHeaderError):
        headers.both_expected(0, 5)


@pytest.mark.parametrize(
    ("if_none_match", "unchanged"),
    [
        (None, False),
        ('"5"', True),
        ('W/"5"', True),
        ('"4", "5"', True),
        ("*", True),
        ('"4"', False),
        ("5", False),
    ],
)
def test_a_reader_who_has_the_version_is_told_so(if_none_match: str | None, unchanged: bool) -> None:  # noqa: FBT001  # a column of the table above
    assert headers.is_unchanged(if_none_match, 5) is unchanged


def test_an_idempotency_key_is_a_uuid_with_or_without_quotes() -> None:
    key = an_id()

    assert read(headers.IdempotencyKey, str(key)) == key
    assert read(headers.IdempotencyKey, f'"{key}"') == key
    with pytest.raises(ValidationError):
        read(headers.IdempotencyKey, "order 66")


def test_positions_come_in_one_header_or_in_many() -> None:
    assert read(headers.Positions, ["3:1042, 4:7", "5:0"]) == [
        Position(3, 1042),
        Position(4, 7),
        Position(5, 0),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "3:1042,",
        "3",
        "3:",
        ":3",
        "1:3:1042:1",
        "0:3:1042",
        "a:b",
        "-1:5",
        "3:99999999999999",
        ",".join(["0:1"] * 65),
    ],
)
def test_a_position_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        read(headers.Positions, [value])


def test_an_accepted_age_is_a_number_of_seconds() -> None:
    assert read(headers.MaxStaleness, "0.5") == 0.5
    for refused in ("soon", "-1", "nan", "inf", "1e3", ""):
        with pytest.raises(ValidationError):
            read(headers.MaxStaleness, refused)
