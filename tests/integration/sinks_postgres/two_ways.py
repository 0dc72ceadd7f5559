"""A settler on the real tables that reads what it has to, and one that reads everything, leave the same."""

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any

import psycopg
import pytest

from builders import (
    A_MOMENT,
    SCHEMA_IDS,
    WRITER_SCHEMAS,
    a_batch,
    a_decoder,
    a_record,
    nothing_sealed,
    stored,
)
from fakes import FakeClock, RecordedDeadLetters
from judge.contract import Limits
from judge.log import Record as JudgedRecord
from judge.log import released_schemas, when_logged
from judge.rules import Ledger
from judge.shapes import HISTORY, MEMORIES, history_row, memory_row, read_history_row, read_memory_row
from judge.stores import rows as judge_rows
from judge.verdict import read_record
from postgres_tables import rows
from soma_schemas.dead_letters import (
    REPLAY_EPOCH_HEADER,
    REPLAY_OFFSET_HEADER,
    REPLAY_TIMESTAMP_HEADER,
)
from soma_schemas.events import MemoryEvent
from soma_schemas.outcomes import Outcome
from soma_streams.checks import Waiting
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.settle import Settler
from soma_streams.delivery.state import EdgeName, LinkState, LoggedEvent, MemoryName, MemoryState
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.sinks.postgres import PostgresSink, postgres_sink
from soma_streams.transport.records import Record, RecordBatch

A_PARTITION = 471
TENANT = "plain"
OTHER = "plain.other"
# Of a record that somebody replayed from the dead-letter topic.
REPLAYED = [
    (REPLAY_OFFSET_HEADER, b"5"),
    (REPLAY_EPOCH_HEADER, b"1"),
    (REPLAY_TIMESTAMP_HEADER, b"1772528400000"),
]
QUERIES = (
    "SELECT *, payload::text FROM memories WHERE tenant LIKE 'plain%%' ORDER BY tenant, memory_id",
    "SELECT *, content::text FROM memory_history WHERE partition = 471 ORDER BY version, logged_at",
    "SELECT * FROM memory_links WHERE tenant LIKE 'plain%%' ORDER BY from_memory_id",
    "SELECT consumer_group, topic, epoch, next_offset FROM sink_watermarks WHERE partition = 471",
)


Known = tuple[Mapping[MemoryName, MemoryState], Mapping[EdgeName, LinkState]]


class KnownSchemas:
    async def fetch(self, ids: set[int]) -> Mapping[int, WriterSchema]:
        return {number: WRITER_SCHEMAS[number] for number in ids}


class Road:
    """A settler on the real tables."""

    def __init__(self, sink: PostgresSink) -> None:
        clock = FakeClock()
        self.letters = RecordedDeadLetters()
        self.settler = Settler(
            sink=sink,
            decoder=a_decoder(),
            sealed=nothing_sealed(),
            schemas=KnownSchemas(),
            dead_letters=self.letters,
            retry=Retry(RetrySettings.model_validate({}), clock, Random(7), Waiting()),
            clock=clock,
            flood=FloodGuard(DeliverySettings.model_validate({})),
            epoch=1,
        )

    async def outcomes(self, batches: Sequence[RecordBatch]) -> list[Mapping[Outcome, int]]:
        return [(await self.settler.settle(batch)).outcomes for batch in batches]


def emptied(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM memories WHERE tenant LIKE 'plain%'")
        connection.execute("DELETE FROM memory_links WHERE tenant LIKE 'plain%'")
        connection.execute("DELETE FROM memory_history WHERE partition = 471")
        connection.execute("DELETE FROM sink_watermarks WHERE partition = 471")


def held(dsn: str) -> list[list[dict[str, Any]]]:
    return [rows(dsn, query) for query in QUERIES]


class Log:
    """Batches of one partition, each after the other."""

    def __init__(self) -> None:
        self.batches: list[RecordBatch] = []
        self._next = 0

    def add(self, *values: MemoryEvent | Record) -> RecordBatch:
        records = [
            value._replace(offset=self._next + number)
            if isinstance(value, Record)
            else a_record(value, self._next + number)
            for number, value in enumerate(values)
        ]
        self._next += len(records) + 1  # a gap, as a marker of a transaction leaves it
        self.batches.append(a_batch(records, partition=A_PARTITION, next_offset=self._next))
        return self.batches[-1]


def new(count: int, begin: int, **fields: Any) -> list[MemoryEvent]:
    """Events of new memories, of every plain kind."""
    return [
        stored(
            tenant=TENANT if number % 3 else OTHER,
            key=f"k{number}" if number % 2 else None,
            text=f'"{number}" \\ čaj\n',
            payload=f'{{"n": {number}, "of": ["a", null]}}',
            tags=[f"t{each}" for each in range(number % 4)],
            importance=number % 10 / 10,
            subject=f"person {number}" if number % 5 else None,
            source=f"file:///notes/{number}" if number % 3 else None,
            expires_at=A_MOMENT if number % 7 == 0 else None,
            **fields,
        )
        for number in range(begin, begin + count)
    ]


def judged(batches: Sequence[RecordBatch]) -> Ledger:
    """What the judge makes of the batches."""
    ledger, released = Ledger(1, Limits(), {}), released_schemas()
    schemas = {number: released[name][-1] for name, number in SCHEMA_IDS.items()}
    for batch in batches:
        for each in batch.records:
            place, logged_at = (batch.partition, each.offset), when_logged(each.timestamp_ms)
            record = JudgedRecord(place, logged_at, each.key, each.value, tuple(each.headers))
            item = read_record(record, schemas, released, 1, Limits())
            assert item is not None
            ledger.apply(item, logged_at)
    return ledger


class Reads:
    """Tells how many memories each batch read, and has everything read when it is told to."""

    def __init__(self, sink: PostgresSink, monkeypatch: pytest.MonkeyPatch) -> None:
        self.everything = False
        self.counts: list[int] = []
        needing, read = postgres_sink._needing_a_read, sink._read

        def names(events: Sequence[LoggedEvent]) -> set[MemoryName]:
            return {each.name for each in events} if self.everything else needing(events)

        async def counted(names: Collection[MemoryName], edges: Collection[EdgeName]) -> Known:
            self.counts.append(len(names))
            return await read(names, edges)

        monkeypatch.setattr(postgres_sink, "_needing_a_read", names)
        monkeypatch.setattr(sink, "_read", counted)


async def agree(
    sink: PostgresSink, dsn: str, batches: Sequence[RecordBatch], monkeypatch: pytest.MonkeyPatch
) -> tuple[Road, list[int]]:
    """Assert that a sink that reads everything first leaves the same rows, and that the judge expects them.

    Returns:
        The road that read no more than it has to, and how many memories it read, for each try of a batch.
    """
    reads = Reads(sink, monkeypatch)
    reads.everything = True
    emptied(dsn)
    whole = Road(sink)
    outcomes = await whole.outcomes(batches)
    expected = held(dsn)
    reads.everything = False
    reads.counts.clear()
    emptied(dsn)
    road = Road(sink)
    assert await road.outcomes(batches) == outcomes
    assert held(dsn) == expected
    assert road.letters.letters == whole.letters.letters
    opinion = judged(batches)
    assert {name: memory_row(memory) for name, memory in opinion.memories.items()} == {
        (row["tenant"], row["memory_id"]): read_memory_row(row)
        for row in judge_rows(dsn, f"{MEMORIES} WHERE tenant LIKE 'plain%'")
    }
    assert {key: history_row(word) for key, word in opinion.history.items()} == {
        (row["partition"], row["version"], row["logged_at"]): read_history_row(row)
        for row in judge_rows(dsn, f"{HISTORY} WHERE partition = {A_PARTITION}")
    }
    return road, reads.counts
