"""What is plain goes faster into the same rows; what is not goes the way it always went."""

import orjson
import psycopg
import pytest

from builders import a_record, deleted, linked, patched, stored
from integration.sinks_postgres.two_ways import QUERIES, REPLAYED, TENANT, Log, Road, agree, emptied, new
from odd_events import PAYLOADS
from postgres_tables import rows
from soma_schemas.limits import DEFAULT_LIMITS
from soma_streams.delivery.decode import Decoder
from soma_streams.delivery.plainly import Plainly
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.shortcut import may_surprise
from soma_streams.delivery.state import Outcome
from soma_streams.sinks.postgres import PostgresSink


def plainly(sink: PostgresSink, decoder: Decoder, retry: Retry) -> Plainly:
    return Plainly(sink, decoder, retry, DEFAULT_LIMITS, epoch=1)


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

    _, fast = await agree(sink, owner_dsn, log.batches, plainly)

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
    log.add(*new(60, 300), a_record(stored(tenant=TENANT), headers=REPLAYED))
    log.add(*new(20, 400))

    slow, fast = await agree(sink, owner_dsn, log.batches, plainly)

    assert fast == [True, False, False, False, False, False]
    assert len(slow.letters.letters) == 2


async def test_a_batch_of_which_the_history_knows_and_the_memories_do_not_is_written_under_guard(
    sink: PostgresSink, owner_dsn: str
) -> None:
    # As after an erasure: the place in the log is taken, the memories are gone.
    emptied(owner_dsn)
    log = Log()
    log.add(*new(60, 0))
    await Road(sink).outcomes(log.batches)
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM memories WHERE tenant LIKE 'plain%'")

    road = Road(sink, plainly)

    assert (await road.outcomes(log.batches))[0][Outcome.APPLIED] == 60
    assert road.settled_fast == [False]
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

    slow, fast = await agree(sink, owner_dsn, log.batches, plainly)

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
