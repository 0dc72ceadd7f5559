"""The dead-letter topic as a table."""

from uuid import UUID

import psycopg
import pytest

from builders import stored
from postgres_tables import a_watermark, rows
from soma_streams.sinks.dead_letter_index import DeadLetterIndex
from soma_streams.sinks.sessions import Pool
from soma_streams.transport.records import Record, RecordBatch, TimestampType

DLQ = "memory.events.dlq"


@pytest.fixture
def index(pool: Pool) -> DeadLetterIndex:
    """The index under test."""
    return DeadLetterIndex(pool)


def a_letter(offset: int, number: int, **changes: bytes) -> Record:
    headers: dict[str, bytes] = {
        "id": str(UUID(int=number)).encode(),
        "group": b"soma-postgres",
        "topic": b"memory.events",
        "partition": b"3",
        "offset": str(number).encode(),
        "epoch": b"1",
        "timestamp": b"2026-03-02T09:00:00+00:00",
        "stage": b"write",
        "error_class": b"DataError",
        "code": b"sqlstate_22003",
        "message": b"refused",
        "attempts": b"1",
        "first_failed_at": b"2026-03-02T09:00:05+00:00",
        "application_version": b"0.1.0",
    } | changes
    return Record(
        offset,
        1_772_442_000_000,
        TimestampType.LOG_APPEND_TIME,
        stored(key="a").log_key(),
        b"",
        tuple((f"x-dlq-{name.replace('_', '-')}", value) for name, value in headers.items()),
    )


def a_batch(*letters: Record) -> RecordBatch:
    return RecordBatch.of((DLQ, 0), letters)


async def test_letters_are_indexed_together_with_the_watermark(
    index: DeadLetterIndex, owner_dsn: str
) -> None:
    indexed = await index.apply(
        a_batch(a_letter(7, 1), a_letter(8, 2)), a_watermark(9, group="soma-dead-letters")
    )

    found = rows(owner_dsn, "SELECT * FROM dead_letters ORDER BY id")
    assert indexed == 2
    assert [(row["log_offset"], row["dlq_offset"], row["status"]) for row in found] == [
        (1, 7, "open"),
        (2, 8, "open"),
    ]
    (mark,) = rows(owner_dsn, "SELECT consumer_group, next_offset FROM sink_watermarks")
    assert tuple(mark.values()) == ("soma-dead-letters", 9)


async def test_a_batch_without_letters_moves_the_watermark(index: DeadLetterIndex, owner_dsn: str) -> None:
    indexed = await index.apply(RecordBatch.of((DLQ, 0), (), 9), a_watermark(9, group="soma-dead-letters"))

    (mark,) = rows(owner_dsn, "SELECT next_offset FROM sink_watermarks")
    assert (indexed, mark["next_offset"]) == (0, 9)


async def test_letters_that_come_again_change_nothing_least_of_all_their_status(
    index: DeadLetterIndex, owner_dsn: str
) -> None:
    batch = a_batch(a_letter(7, 1))
    await index.apply(batch, a_watermark(8))
    with psycopg.connect(owner_dsn) as owner:
        owner.execute("UPDATE dead_letters SET status = 'discarded'")

    written_twice = a_batch(a_letter(7, 1), a_letter(8, 1))
    indexed = await index.apply(written_twice, a_watermark(9))

    (row,) = rows(owner_dsn, "SELECT status, dlq_offset FROM dead_letters")
    assert (indexed, row["status"], row["dlq_offset"]) == (0, "discarded", 7)


async def test_a_record_that_is_no_letter_is_indexed_all_the_same(
    index: DeadLetterIndex, owner_dsn: str
) -> None:
    stranger = Record(9, 1_772_442_000_000, TimestampType.LOG_APPEND_TIME, None, b"\xff", ())

    indexed = await index.apply(a_batch(a_letter(8, 1), stranger), a_watermark(10))

    (row,) = rows(
        owner_dsn, "SELECT tenant, stage, dlq_offset FROM dead_letters WHERE code = 'unreadable_headers'"
    )
    assert (indexed, tuple(row.values())) == (2, (None, None, 9))


async def test_a_failure_leaves_neither_letters_nor_watermark(
    index: DeadLetterIndex, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise psycopg.OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("soma_streams.sinks.dead_letter_index.advance", refuse)
        with pytest.raises(psycopg.OperationalError):
            await index.apply(a_batch(a_letter(7, 1)), a_watermark(8))

    assert rows(owner_dsn, "SELECT FROM dead_letters") == []
    assert await index.apply(a_batch(a_letter(7, 1)), a_watermark(8)) == 1
