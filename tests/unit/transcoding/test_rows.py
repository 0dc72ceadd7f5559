"""Rows made without decoding are the rows that psycopg makes of decoded records."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_streams.transcoding import (
    Column,
    ColumnType,
    Given,
    RowTranscoder,
    TranscodingProcess,
    UnsupportedSchemaError,
)
from unit.transcoding.records import COLUMNS, HEADER, RECORDS, SCHEMA, encoded, expected_rows

transcoder = RowTranscoder(SCHEMA, COLUMNS, skip=len(HEADER))

A_RECORD: Mapping[str, Any] = {
    "text": "words",
    "kind": "SEMANTIC",
    "id": UUID(int=5),
    "count": -3,
    "weight": 0.5,
    "flag": True,
    "at": datetime(2026, 1, 2, tzinfo=UTC),
    "payload": "{}",
    "tags": ["a"],
    "place": [1.0],
    "vector": [0.5, 0.25],
    "secret": b"",
    "small": 1,
    "hash": b"abc",
    "f": 0.5,
    "maybe_small": None,
    **dict.fromkeys(
        f"maybe_{column.field.removeprefix('maybe_')}" for column in COLUMNS if isinstance(column, Column)
    ),
}


def one_field(type_: ColumnType, schema: Any) -> RowTranscoder:
    record = {"type": "record", "name": "One", "fields": [{"name": "it", "type": schema}]}
    return RowTranscoder(json.dumps(record), [Column("it", type_)])


@given(st.lists(RECORDS, max_size=5), st.data())
def test_rows_are_those_of_psycopg(records: Sequence[Mapping[str, Any]], data: st.DataObject) -> None:
    places = [data.draw(st.integers(-(2**63), 2**63 - 1)) for _ in records]
    rows = transcoder.rows([encoded(record) for record in records], places)
    assert rows.refused == ()
    assert rows.data == expected_rows(records, places)


@given(st.lists(RECORDS | st.binary(max_size=40), min_size=1, max_size=6), st.integers(0, 400))
def test_a_broken_record_has_no_row_and_its_neighbours_have_theirs(
    mixed: Sequence[Mapping[str, Any] | bytes], cut: int
) -> None:
    values = [each if isinstance(each, bytes) else encoded(each) for each in mixed]
    shortened = max(range(len(values)), key=lambda at: len(values[at]))
    values[shortened] = values[shortened][: max(len(HEADER) + 1, len(values[shortened]) - 1 - cut)]
    records = {at: each for at, each in enumerate(mixed) if not isinstance(each, bytes) and at != shortened}
    rows = transcoder.rows(values, range(len(values)))
    assert rows.refused == tuple(at for at in range(len(values)) if at not in records)
    assert rows.data == expected_rows([*records.values()], [*records])


async def test_a_child_process_makes_the_same_rows() -> None:
    values = [encoded({**A_RECORD, "count": count}) for count in range(50)]
    values[7] += b"more"
    async with TranscodingProcess(SCHEMA, COLUMNS, skip=len(HEADER)) as child:
        assert await child.rows(values, range(50)) == transcoder.rows(values, range(50))


async def test_what_a_child_process_raises_is_raised_here_and_it_goes_on() -> None:
    values = [encoded(A_RECORD)]
    async with TranscodingProcess(SCHEMA, COLUMNS, skip=len(HEADER)) as child:
        with pytest.raises(ValueError, match="every record wants a number"):
            await child.rows(values, [])
        assert (await child.rows(values, [1])).refused == ()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"at": 2**62}, id="a time that no datetime holds"),
        pytest.param({"at": -(2**63) + 946_684_800_000_000}, id="what PostgreSQL reads as minus infinity"),
    ],
)
def test_a_value_that_no_column_takes_is_refused(change: Mapping[str, Any]) -> None:
    values = [encoded({**A_RECORD, **change}), encoded(A_RECORD)]
    assert transcoder.rows(values, [1, 2]).refused == (0,)


@pytest.mark.parametrize(
    "text",
    ["{00000000-0000-0000-0000-000000000005}", "0" * 36, "0" * 32, "00000000-0000-0000-0000-00000000000g"],
)
def test_a_uuid_that_is_not_in_canonical_form_is_refused(text: str) -> None:
    uuids = one_field(ColumnType.UUID, "string")
    assert uuids.rows([bytes([2 * len(text)]) + text.encode()]).refused == (0,)


def test_an_array_in_several_blocks_and_one_that_tells_its_size_are_read() -> None:
    words = one_field(ColumnType.TEXT_ARRAY, {"type": "array", "items": "string"})
    plain = words.rows([b"\x04\x02a\x02b\x00"]).data
    assert words.rows([b"\x02\x02a\x02\x02b\x00"]).data == plain
    assert words.rows([b"\x03\x08\x02a\x02b\x00"]).data == plain


def test_an_array_that_claims_more_than_its_record_holds_is_refused() -> None:
    words = one_field(ColumnType.TEXT_ARRAY, {"type": "array", "items": "string"})
    assert words.rows([b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02a\x00", b"\x00"]).refused == (0,)


def test_a_record_may_not_borrow_bytes_of_the_next_one() -> None:
    text = one_field(ColumnType.TEXT, "string")
    assert text.rows([b"\x04a", b"b", b"\x02c"]).refused == (0, 1)


@pytest.mark.parametrize(
    ("type_", "schema"),
    [
        (ColumnType.TEXT, "long"),
        (ColumnType.TIMESTAMPTZ, "long"),
        (ColumnType.TIMESTAMPTZ, {"type": "long", "logicalType": "timestamp-millis"}),
        (ColumnType.TEXT, ["null", "string", "long"]),
        (ColumnType.REAL_ARRAY, {"type": "array", "items": "double"}),
        (ColumnType.TEXT, {"type": "map", "values": "string"}),
    ],
)
def test_columns_that_a_schema_cannot_fill_are_refused_at_once(type_: ColumnType, schema: Any) -> None:
    with pytest.raises(UnsupportedSchemaError):
        one_field(type_, schema)


def test_a_column_of_no_field_is_refused_at_once() -> None:
    with pytest.raises(UnsupportedSchemaError, match="no field nothing"):
        RowTranscoder(SCHEMA, [Given(), Column("nothing", ColumnType.TEXT)])
