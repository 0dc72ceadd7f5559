"""What is offered without a read leaves the same rows; what the guard refuses is read and folded."""

import psycopg
import pytest

from builders import A_MOMENT, a_record, an_id, deleted, linked, patched, stored
from integration.sinks_postgres.two_ways import QUERIES, REPLAYED, TENANT, Log, Road, agree, emptied, new
from postgres_tables import accessed, rows
from soma_schemas.identity import memory_id_for_key
from soma_schemas.outcomes import Outcome
from soma_streams.sinks.postgres import PostgresSink


async def test_new_memories_of_every_kind_are_not_read(
    sink: PostgresSink, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.add(*new(60, 0))
    log.add(
        stored(tenant=TENANT, coordinate=[1.0, 2.0]),
        stored(tenant=TENANT, embedding=[0.5, 0.25], embedding_model="m"),
        stored(tenant=TENANT, key="expires", expires_at=A_MOMENT),
    )
    log.add(stored(tenant=TENANT, key="alone"))

    _, reads = await agree(sink, owner_dsn, log.batches, monkeypatch)

    assert reads == [0, 0, 0]


async def test_a_memory_is_replaced_without_a_read_and_inherits(
    sink: PostgresSink, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    memory, gone = stored(tenant=TENANT, key="a"), stored(tenant=TENANT, key="gone")
    log.add(memory, gone)
    log.add(accessed(memory, 3), deleted(gone))
    for number in range(20):
        log.add(stored(tenant=TENANT, key="a", text=f"{number}"), stored(tenant=TENANT, key="gone"))

    _, reads = await agree(sink, owner_dsn, log.batches, monkeypatch)

    assert reads == [0, 2, *[0] * 20]
    found = rows(owner_dsn, QUERIES[0])
    assert sorted((row["access_count"], row["created_at"] < row["updated_at"]) for row in found) == [
        (0, True),
        (3, True),
    ]
    assert {len(row["recent_event_ids"]) for row in found} == {16}


async def test_what_needs_the_state_is_read_and_nothing_else(
    sink: PostgresSink, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        stored(tenant=TENANT, key="refused", expected_version=77),
        a_record(stored(tenant=TENANT), headers=REPLAYED),
        a_record(b"no event", key=b"no key"),
    )

    road, reads = await agree(sink, owner_dsn, log.batches, monkeypatch)

    assert reads == [0, 6]
    assert len(road.letters.letters) == 1
    assert rows(owner_dsn, QUERIES[3])[0]["next_offset"] == log.batches[-1].next_offset


async def test_what_the_guard_refuses_is_read_with_all_of_its_batch(
    sink: PostgresSink, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    theirs = stored(tenant=TENANT, namespace="theirs")
    foreign = stored(
        tenant=TENANT, namespace="elsewhere", memory_id=memory_id_for_key(TENANT, "notes", "taken")
    )
    again = log.add(stored(tenant=TENANT, key="a"), theirs, foreign)
    log.batches.append(again)  # delivered again
    log.add(theirs, *new(2, 10))  # a repeated event id
    log.add(theirs.model_copy(update={"namespace": "mine", "event_id": an_id()}), *new(3, 20))
    log.add(stored(tenant=TENANT, namespace="notes", key="taken"))  # whose id another namespace took
    log.add(foreign.model_copy(update={"event_id": an_id()}))

    _, reads = await agree(sink, owner_dsn, log.batches, monkeypatch)

    assert reads == [0, 0, 3, 0, 3, 0, 4, 0, 1, 0, 1]


async def test_a_batch_of_which_the_history_knows_and_the_memories_do_not_is_written(
    sink: PostgresSink, owner_dsn: str
) -> None:
    # As after an erasure: the place in the log is taken, the memories are gone.
    emptied(owner_dsn)
    log = Log()
    log.add(*new(60, 0))
    await Road(sink).outcomes(log.batches)
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM memories WHERE tenant LIKE 'plain%'")

    assert (await Road(sink).outcomes(log.batches))[0][Outcome.APPLIED] == 60
    assert len(rows(owner_dsn, QUERIES[1])) == len(rows(owner_dsn, QUERIES[0])) == 60
