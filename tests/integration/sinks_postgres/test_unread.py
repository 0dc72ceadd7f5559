"""A few new memories are written without a read; whatever else comes is found out and read first."""

import psycopg

from builders import A_MOMENT, a_record, deleted, patched, stored
from integration.sinks_postgres.two_ways import QUERIES, REPLAYED, TENANT, Log, Road, agree, emptied, new
from postgres_tables import rows
from soma_schemas.limits import DEFAULT_LIMITS
from soma_streams.delivery.decode import Decoder
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.state import Outcome
from soma_streams.delivery.unread import Unread
from soma_streams.sinks.postgres import PostgresSink


def unread(sink: PostgresSink, decoder: Decoder, retry: Retry) -> Unread:
    return Unread(sink, decoder, retry, DEFAULT_LIMITS, epoch=1)


async def test_new_memories_of_every_kind_leave_the_same_rows(sink: PostgresSink, owner_dsn: str) -> None:
    log = Log()
    log.add(*new(20, 0))
    log.add(
        stored(tenant=TENANT, coordinate=[1.0, 2.0]),
        stored(tenant=TENANT, embedding=[0.5, 0.25], embedding_model="m"),
        stored(tenant=TENANT, key="expires", expires_at=A_MOMENT),
    )
    log.add(stored(tenant=TENANT, key="alone"))

    _, fast = await agree(sink, owner_dsn, log.batches, unread)

    assert fast == [True, True, True]


async def test_whatever_needs_a_read_gets_one(sink: PostgresSink, owner_dsn: str) -> None:
    log, first = Log(), new(4, 0)
    log.add(*first)
    twice = stored(tenant=TENANT, key="twice")
    log.add(twice, patched(twice, text="patched"))
    log.add(stored(tenant=TENANT, key="again"), stored(tenant=TENANT, key="again", text="later"))
    log.add(deleted(first[0]))
    log.add(stored(tenant=TENANT, key="refused", expected_version=77))
    log.add(a_record(b"no event", key=b"no key"))
    log.add(*new(60, 200))
    log.add(a_record(stored(tenant=TENANT), headers=REPLAYED))

    slow, fast = await agree(sink, owner_dsn, log.batches, unread)

    assert fast == [True, *[False] * 7]
    assert len(slow.letters.letters) == 1


async def test_a_memory_that_is_there_is_replaced_and_for_a_while_no_guess_is_made(
    sink: PostgresSink, owner_dsn: str
) -> None:
    log, first = Log(), new(2, 0)
    log.add(*first)
    log.add(deleted(first[1]))
    log.add(stored(tenant=TENANT, key="k1", text="replaced"), *new(1, 50))
    for number in range(100, 121):
        log.add(*new(1, number))

    _, fast = await agree(sink, owner_dsn, log.batches, unread)

    assert fast == [True, False, False, *[False] * 20, True]


async def test_what_is_delivered_again_changes_nothing(sink: PostgresSink, owner_dsn: str) -> None:
    log = Log()
    again = log.add(*new(5, 0))
    log.batches.append(again)

    _, fast = await agree(sink, owner_dsn, log.batches, unread)

    assert fast == [True, False]


async def test_where_the_history_knows_an_event_its_memory_is_written_under_guard(
    sink: PostgresSink, owner_dsn: str
) -> None:
    # As after an erasure: the place in the log is taken, the memories are gone.
    emptied(owner_dsn)
    log = Log()
    log.add(*new(5, 0))
    await Road(sink).outcomes(log.batches)
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM memories WHERE tenant LIKE 'plain%'")

    road = Road(sink, unread)

    assert (await road.outcomes(log.batches))[0][Outcome.APPLIED] == 5
    assert road.settled_fast == [False]
    assert len(rows(owner_dsn, QUERIES[1])) == len(rows(owner_dsn, QUERIES[0])) == 5
