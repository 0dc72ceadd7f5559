"""What is a time, everywhere the same: in events, requests, queries and imports, and on command lines."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from builders import A_MOMENT, stored
from soma_api.models.dead_letter_views import DeadLetterQuery
from soma_api.models.list_query import ListQuery
from soma_api.models.requests import PatchMemory, StoreMemory
from soma_api.models.search_models import FilterBody
from soma_cli.dead_letters.selection import Choice
from soma_cli.failures import UsageError
from soma_cli.formats.json_lines import parse_line
from soma_cli.parsing import moment_of
from soma_schemas.events import RECORDS, MemoryStored
from soma_schemas.moments import of_rfc3339
from soma_schemas.violations import ContractError, ViolationCode, violations_of

NINE = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
TIMES = {
    "2026-03-02T09:15:00Z": NINE,
    "2026-03-02t09:15:00z": NINE,
    "2026-03-02T10:15:00+01:00": NINE,
    "2026-03-01T09:16:00-23:59": NINE,
    "2026-03-02T09:15:00-00:00": NINE,
    "2026-03-02T09:15:00.5Z": NINE + timedelta(milliseconds=500),
    "2026-03-02T09:15:00.123456789Z": NINE + timedelta(microseconds=123456),
    "0001-01-01T00:00:00Z": datetime(1, 1, 1, tzinfo=UTC),
    "9999-12-31T23:59:59.999999Z": datetime.max.replace(tzinfo=UTC),
    "2024-02-29T00:00:00Z": datetime(2024, 2, 29, tzinfo=UTC),
}
NO_TIMES = [
    "", "0", "-0", "1.", "1e9", "20260302", "1772442900", "1772442900000", "-1", "+5", "now", "2026",
    "2026-03", "2026-03-02", "2026-03-02T09:15", "2026-03-02T09:15Z", "2026-03-02T09:15:00",
    "20260302T091500Z",
    "2026-W10-1T09:15:00Z", "2026-061T09:15:00Z", "2026-03-02 09:15:00Z", "2026-03-02T09:15:00 01:00",
    "2026-03-02T09:15:00+0100", "2026-03-02T09:15:00+01", "2026-03-02T09:15:00.Z", "2026-03-02T09:15:00,5Z",
    "2026-03-02T09:15:00.1234567890Z", "2026-03-02T24:00:00Z", "2026-03-02T09:60:00Z", "2026-03-02T09:15:60Z",
    "2016-12-31T23:59:60Z", "2026-03-02T09:15:00+24:00", "2026-03-02T09:15:00+01:60", "2026-13-02T09:15:00Z",
    "2026-02-30T09:15:00Z", "2023-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
    " 2026-03-02T09:15:00Z", "2026-03-02T09:15:00Z\n",
    "٢٠٢٦-03-02T09:15:00Z", "2026-03-02T09:15:00Z[UTC]", "2026\u221203-02T09:15:00Z",
]  # fmt: skip
BEYOND = ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"]


def of_model(model: type[BaseModel], field: str, **others: Any) -> Callable[[Any], datetime]:
    def read(value: Any) -> datetime:
        said = {**others, field: value}
        for as_json in (False, True):
            try:
                found = model.model_validate_json(json.dumps(said)) if as_json else model.model_validate(said)
            except ValidationError as error:
                (violation,) = violations_of(error)
                assert violation.path == f"/{field}"
                raise ContractError([violation]) from None
        moment = getattr(found, field)
        assert isinstance(moment, datetime)
        return moment

    return read


def of_event(field: str) -> Callable[[Any], datetime]:
    def read(value: Any) -> datetime:
        moment = getattr(MemoryStored.validated(stored().model_dump() | {field: value}), field)
        assert isinstance(moment, datetime)
        return moment

    return read


def of_line(field: str) -> Callable[[Any], datetime]:
    def read(value: Any) -> datetime:
        line = {"namespace": "a", "text": "x", field: value}
        moment = getattr(parse_line(json.dumps(line).encode()), field)
        assert isinstance(moment, datetime)
        return moment

    return read


_BOUNDS = [f"{time}_{side}" for time in ("occurred", "created", "updated") for side in ("from", "before")]
READERS: dict[str, Callable[[Any], datetime]] = {
    "event.occurred_at": of_event("occurred_at"),
    "event.expires_at": of_event("expires_at"),
    "store.occurred_at": of_model(StoreMemory, "occurred_at", namespace="a", text="x"),
    "store.expires_at": of_model(StoreMemory, "expires_at", namespace="a", text="x"),
    "patch.expires_at": of_model(PatchMemory, "expires_at"),
    **{f"list.{name}": of_model(ListQuery, name) for name in _BOUNDS},
    **{f"search.{name}": of_model(FilterBody, name) for name in _BOUNDS},
    "letters.failed_from": of_model(DeadLetterQuery, "failed_from"),
    "letters.failed_before": of_model(DeadLetterQuery, "failed_before"),
    "line.occurred_at": of_line("occurred_at"),
    "line.expires_at": of_line("expires_at"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_time_is_rfc_3339_with_an_offset(reader: str) -> None:
    assert {text: READERS[reader](text) for text in TIMES} == TIMES


@pytest.mark.parametrize("reader", READERS)
def test_every_other_text_is_refused_as_no_time(reader: str) -> None:
    codes = {text: refusal(READERS[reader], text) for text in NO_TIMES}

    assert codes == dict.fromkeys(NO_TIMES, ViolationCode.INVALID_TIME)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", BEYOND)
def test_what_utc_has_no_year_for_is_out_of_range(reader: str, text: str) -> None:
    assert refusal(READERS[reader], text) is ViolationCode.OUT_OF_RANGE


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", [0, -1, 1772442900, 1772442900000, 1.5, True, [], {}])
def test_what_is_no_text_is_refused_as_of_another_type(reader: str, value: object) -> None:
    assert refusal(READERS[reader], value) is ViolationCode.WRONG_TYPE


def refusal(read: Callable[[Any], datetime], value: object) -> ViolationCode | None:
    try:
        read(value)
    except ContractError as error:
        return error.violations[0].code
    return None


def test_every_time_of_an_event_has_the_rule() -> None:
    named = {
        (record, name)
        for record in RECORDS
        for name, field in record.model_fields.items()
        if "AwareDatetime" in repr(field.annotation)
    }
    assert {name for _, name in named} == {
        "occurred_at", "expires_at", "last_accessed_at", "created_at", "updated_at", "log_expires_at",
    }  # fmt: skip
    for record, name in named:
        with pytest.raises(ContractError) as caught:
            record.validated({name: "20260302"})
        codes = {each.path: each.code for each in caught.value.violations}
        assert codes[f"/{name}"] is ViolationCode.INVALID_TIME


def test_a_producer_gives_times_of_any_zone_but_not_of_none() -> None:
    east = NINE.astimezone(timezone(timedelta(hours=9)))

    assert READERS["event.occurred_at"](east) == NINE
    assert refusal(READERS["event.occurred_at"], NINE.replace(tzinfo=None)) is ViolationCode.INVALID_TIME


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-1439, 1439))
def test_a_time_that_is_written_is_read_as_the_same(moment: datetime, minutes: int) -> None:
    with suppress(OverflowError):
        moment = moment.astimezone(timezone(timedelta(minutes=minutes)))

    assert of_rfc3339(moment.isoformat()) == moment


@pytest.mark.parametrize("text", NO_TIMES + BEYOND)
def test_a_command_line_takes_no_other(text: str) -> None:
    with pytest.raises(UsageError, match="--from is") as caught:
        moment_of("--from", text)
    assert caught.value.remedy == "write it as `2026-03-02T09:15:00Z`"
    with pytest.raises(UsageError, match="--since is"):
        Choice(since=text).filters((), A_MOMENT)


def test_a_command_line_takes_the_same_times() -> None:
    assert {text: moment_of("--from", text) for text in TIMES} == TIMES
    assert {text: Choice(until=text).filters((), A_MOMENT).until for text in TIMES} == TIMES
