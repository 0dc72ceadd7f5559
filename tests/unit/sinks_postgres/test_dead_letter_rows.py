"""A record of the dead-letter topic as a row of the index, whatever its headers hold."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import A_MOMENT, an_id, logged, stored
from soma_schemas.dead_letters import DeadLetterHeader, Stage
from soma_schemas.remedies import UNREADABLE_HEADERS
from soma_streams.delivery.dead_letters import DeadLetter, dead_letter_headers, whole_copy
from soma_streams.sinks.dead_letter_rows import DeadLetterRow, dead_letter_row
from soma_streams.transport.records import Record, TimestampType

MEMORY = stored(tenant="acme", key="a")
HEADERS = {
    "x-dlq-id": b"00000000-0000-7000-8000-000000000001",
    "x-dlq-group": b"soma-postgres",
    "x-dlq-topic": b"memory.events",
    "x-dlq-partition": b"3",
    "x-dlq-offset": b"1042",
    "x-dlq-epoch": b"1",
    "x-dlq-timestamp": b"2026-03-02T09:00:00+00:00",
    "x-dlq-stage": b"write",
    "x-dlq-error-class": b"NumericValueOutOfRange",
    "x-dlq-code": b"sqlstate_22003",
    "x-dlq-message": b"the store refuses the event",
    "x-dlq-attempts": b"1",
    "x-dlq-first-failed-at": b"2026-03-02T11:00:05.25+02:00",
    "x-dlq-application-version": b"0.1.0",
}


def a_record(headers: dict[str, bytes | None] | None = None, key: bytes | None = MEMORY.log_key()) -> Record:
    changed = HEADERS | (headers or {})
    return Record(
        offset=7,
        timestamp_ms=1_772_442_000_000,
        timestamp_type=TimestampType.LOG_APPEND_TIME,
        key=key,
        value=b"the original",
        headers=tuple(changed.items()),
    )


def test_a_letter_is_indexed_with_all_that_its_headers_say() -> None:
    assert dead_letter_row("dlq", 2, a_record()) == DeadLetterRow(
        id=UUID("00000000-0000-7000-8000-000000000001"),
        tenant="acme",
        memory_id=MEMORY.memory_id,
        consumer_group="soma-postgres",
        topic="memory.events",
        partition=3,
        log_offset=1042,
        epoch=1,
        logged_at=datetime(2026, 3, 2, 9, 0, tzinfo=UTC),
        dlq_partition=2,
        dlq_offset=7,
        stage="write",
        error_class="NumericValueOutOfRange",
        code="sqlstate_22003",
        message="the store refuses the event",
        attempts=1,
        first_failed_at=datetime(2026, 3, 2, 9, 0, 5, 250000, tzinfo=UTC),
        application_version="0.1.0",
    )


def test_a_letter_as_the_platform_writes_it_is_readable() -> None:
    event = logged(MEMORY, 12)
    letter = DeadLetter(
        "memory.events",
        0,
        a_record()._replace(offset=12),
        Stage.DECODE,
        "avro",
        "the body is not of its schema",
        "EOFError",
        1,
        A_MOMENT,
    )
    written = dead_letter_headers(
        letter, whole_copy(letter.record), group="soma-postgres", epoch=1, application_version="0.1.0"
    )
    headers = tuple((name, value.encode() if isinstance(value, str) else value) for name, value in written)

    row = dead_letter_row("dlq", 0, a_record()._replace(headers=headers))

    assert (row.code, row.log_offset, row.memory_id) == ("avro", 12, event.event.memory_id)


@pytest.mark.parametrize("header", list(DeadLetterHeader))
def test_a_missing_header_is_named_and_the_rest_is_kept(header: DeadLetterHeader) -> None:
    row = dead_letter_row("dlq", 2, a_record({header.value: None}))

    assert row.code == UNREADABLE_HEADERS
    assert row.message == f"missing or not readable: {header.value}"
    assert (row.tenant, row.dlq_partition, row.dlq_offset) == ("acme", 2, 7)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-dlq-id", b"no uuid"),
        ("x-dlq-offset", b"-1"),
        ("x-dlq-offset", b"9223372036854775808"),
        ("x-dlq-partition", b"2147483648"),
        ("x-dlq-attempts", "\N{SUPERSCRIPT TWO}".encode()),
        ("x-dlq-timestamp", b"2026-03-02T09:00:00"),
        ("x-dlq-timestamp", b"0001-01-01T00:00:00+14:00"),
        ("x-dlq-code", b"\xff\xfe"),
    ],
)
def test_a_header_that_makes_no_sense_is_named(header: str, value: bytes) -> None:
    assert header in dead_letter_row("dlq", 2, a_record({header: value})).message


@pytest.mark.parametrize(
    "key", [None, b"", b"acme", b"acme/no-uuid", b"AC\0ME/" + str(an_id()).encode(), b"\xff/\xff"]
)
def test_a_key_that_is_not_ours_names_nobody(key: bytes | None) -> None:
    row = dead_letter_row("dlq", 2, a_record(key=key))

    assert (row.tenant, row.memory_id) == (None, None)
    assert row.code == "sqlstate_22003"


def test_a_letter_without_an_id_gets_the_same_one_each_time_and_another_elsewhere() -> None:
    record = a_record({"x-dlq-id": None})

    again = [dead_letter_row("dlq", 2, record).id for _ in range(2)]
    elsewhere = dead_letter_row("dlq", 3, record).id

    assert again[0] == again[1] != elsewhere


def test_a_long_text_is_cut_and_what_the_database_cannot_keep_is_replaced() -> None:
    row = dead_letter_row("dlq", 2, a_record({"x-dlq-message": b"a\0b" + b"x" * 5000}))

    assert row.message.startswith("a\N{REPLACEMENT CHARACTER}bx")
    assert len(row.message) == 1000


@given(
    st.lists(
        st.tuples(st.sampled_from([*HEADERS, "other"]), st.none() | st.binary(max_size=40)), max_size=20
    ),
    st.none() | st.binary(max_size=60),
)
def test_no_record_is_passed_over(headers: list[tuple[str, bytes | None]], key: bytes | None) -> None:
    record = a_record(key=key)._replace(headers=tuple(headers))

    row = dead_letter_row("dlq", 2, record)

    assert (row.dlq_partition, row.dlq_offset) == (2, 7)
    assert row.code
