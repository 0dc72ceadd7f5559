"""What is plain goes faster into the same rows; what is not goes the way it always went."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import orjson
import psycopg
import pytest

from builders import A_MOMENT, WRITER_SCHEMAS, a_batch, a_record, deleted, linked, patched, stored
from fakes import FakeClock, RecordedDeadLetters
from odd_events import PAYLOADS
from postgres_tables import rows
from soma_schemas.dead_letters import (
    REPLAY_EPOCH_HEADER,
    REPLAY_OFFSET_HEADER,
    REPLAY_TIMESTAMP_HEADER,
)
from soma_schemas.events import SINK_EVENTS, MemoryEvent
from soma_schemas.limits import DEFAULT_LIMITS
from soma_streams.checks import Waiting
from soma_streams.delivery.decode import Decoder, WriterSchema
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.plainly import Plainly
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.settle import Settler
from soma_streams.delivery.shortcut import may_surprise
from soma_streams.delivery.state import Outcome
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.transport.records import Record, RecordBatch

A_PARTITION = 471
TENANT = "plain"
OTHER = "plain.other"
QUERIES = (
    "SELECT *, payload::text FROM memories WHERE tenant LIKE 'plain%%' ORDER BY tenant, memory_id",
    "SELECT *, content::text FROM memory_history WHERE partition = 471 ORDER BY version, logged_at",
    "SELECT * FROM memory_links WHERE tenant LIKE 'plain%%' ORDER BY from_memory_id",
    "SELECT consumer_group, topic, epoch, next_offset FROM sink_watermarks WHERE partition = 471",
)


class Told(Plainly):
    """Tells which batches it settled."""

    def __init__(self, sink: PostgresSink, decoder: Decoder, retry: Retry) -> None:
        super().__init__(sink, decoder, retry, DEFAULT_LIMITS, 1)
        self.settled: list[bool] = []

    async def settle(
        self, batch: RecordBatch, schemas: Mapping[int, WriterSchema]
    ) -> Mapping[Outcome, int] | None:
        found = await super().settle(batch, schemas)
        self.settled.append(found is not None)
        return found


class KnownSchemas:
    async def fetch(self, ids: set[int]) -> Mapping[int, WriterSchema]:
        return {number: WRITER_SCHEMAS[number] for number in ids}


class Road:
    """A settler on the real tables, with the faster way or without."""

    def __init__(self, sink: PostgresSink, *, fast: bool) -> None:
        clock, decoder = FakeClock(), Decoder(SINK_EVENTS, DEFAULT_LIMITS, epoch=1)
        retry = Retry(RetrySettings.model_validate({}), clock, Random(7), Waiting())
        self.faster = Told(sink, decoder, retry)
        self.letters = RecordedDeadLetters()
        self.settler = Settler(
            sink=sink,
            decoder=decoder,
            schemas=KnownSchemas(),
            dead_letters=self.letters,
            retry=retry,
            clock=clock,
            flood=FloodGuard(DeliverySettings.model_validate({})),
            limits=DEFAULT_LIMITS,
            epoch=1,
            faster=self.faster if fast else None,
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
            expires_at=A_MOMENT if number % 7 == 0 else None,
            **fields,
        )
        for number in range(begin, begin + count)
    ]


async def agree(sink: PostgresSink, dsn: str, batches: Sequence[RecordBatch]) -> tuple[Road, list[bool]]:
    """Assert that both ways leave the same rows, and return the slow one and what was settled fast."""
    emptied(dsn)
    slow = Road(sink, fast=False)
    slow_outcomes = await slow.outcomes(batches)
    expected = held(dsn)
    emptied(dsn)
    fast = Road(sink, fast=True)
    assert await fast.outcomes(batches) == slow_outcomes
    assert held(dsn) == expected
    assert fast.letters.letters == slow.letters.letters
    return slow, fast.faster.settled


async def test_plain_events_among_others_leave_the_same_rows(sink: PostgresSink, owner_dsn: str) -> None:
    log, first = Log(), new(60, 0)
    log.add(*first)
    twice = stored(tenant=TENANT, key="twice")
    log.add(
        stored(tenant=TENANT, key="k1", text="replaced"),
        *new(30, 100),
        twice,
        patched(twice, text="patched"),
        patched(first[2], payload='{"n": null}'),
        deleted(first[3]),
        linked(first[4], first[5].memory_id),
        first[6],
        stored(tenant=TENANT, key="refused", expected_version=77),
        stored(tenant=TENANT, coordinate=[1.0, 2.0]),
        stored(tenant=TENANT, embedding=[0.5, 0.25], embedding_model="m"),
        *new(30, 130),
    )

    _, fast = await agree(sink, owner_dsn, log.batches)

    assert fast == [True, True]
    assert rows(owner_dsn, QUERIES[3])[0]["next_offset"] == log.batches[-1].next_offset


async def test_what_is_delivered_again_or_not_plain_is_left_to_the_other_way(
    sink: PostgresSink, owner_dsn: str
) -> None:
    log = Log()
    again = log.add(*new(60, 0))
    log.batches.append(again)
    key = new(1, 3)[0].log_key()
    log.add(*new(60, 100), a_record(b"\0\0\0\0\7 no event", key=key))
    log.add(*new(60, 200), a_record(b"no event", key=b"no key"))
    replayed = {
        REPLAY_OFFSET_HEADER: b"5",
        REPLAY_EPOCH_HEADER: b"1",
        REPLAY_TIMESTAMP_HEADER: b"1772528400000",
    }
    log.add(*new(60, 300), a_record(stored(tenant=TENANT), headers=list(replayed.items())))
    log.add(*new(20, 400))

    slow, fast = await agree(sink, owner_dsn, log.batches)

    assert fast == [True, False, False, False, False, False]
    assert len(slow.letters.letters) == 2


async def test_a_batch_of_which_the_history_knows_and_the_memories_do_not_is_written_under_guard(
    sink: PostgresSink, owner_dsn: str
) -> None:
    # As after an erasure: the place in the log is taken, the memories are gone.
    emptied(owner_dsn)
    log = Log()
    log.add(*new(60, 0))
    await Road(sink, fast=False).outcomes(log.batches)
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM memories WHERE tenant LIKE 'plain%'")

    road = Road(sink, fast=True)

    assert (await road.outcomes(log.batches))[0][Outcome.APPLIED] == 60
    assert road.faster.settled == [False]
    assert len(rows(owner_dsn, QUERIES[1])) == len(rows(owner_dsn, QUERIES[0])) == 60


@pytest.mark.parametrize(
    "payload", ['{"a":NaN}', '{"a":1,}', "{'a':1}", '{"a":01}', '{"a":1}x', '{"a":"\t"}']
)
async def test_a_payload_that_only_the_server_refuses_is_a_dead_letter_as_ever(
    sink: PostgresSink, owner_dsn: str, payload: str
) -> None:
    log = Log()
    odd = stored(tenant=TENANT).model_copy(update={"payload": payload})
    log.add(*new(60, 0), odd)

    slow, fast = await agree(sink, owner_dsn, log.batches)

    assert fast == [False]
    assert len(slow.letters.letters) == 1


MORE_PAYLOADS = [
    '{"a":1}{}', '{"a":tru}', '{"a":-}', '{"a":1 2}', '{"a":"\v"}', "{1:2}", '{"a" 1}', "{}\v", "{}\xa0",
    '{"a":0x1}', "{/**/}", '{"a":"b" "c"}', "{,}", '{"a":[1,]}', '{"a":--1}', '{"a":00}', '{"a":"\\',
    '{"a":Infinity}', "{}]",
]  # fmt: skip


@pytest.mark.parametrize(
    "payload",
    [each for each in PAYLOADS + MORE_PAYLOADS if each.startswith("{") and not may_surprise(each.encode())],
)
def test_json_that_is_left_to_the_server_is_refused_where_a_strict_parser_refuses_it(
    owner_dsn: str, payload: str
) -> None:
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        with psycopg.connect(owner_dsn) as connection, pytest.raises(psycopg.DataError):
            connection.execute("SELECT %s::jsonb", [payload])
