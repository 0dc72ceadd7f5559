"""Workers that die in the middle of an import: both stores end up holding exactly the log's memories."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import qdrant_edge as edge

from conftest import LocalParts
from oracle import Expected, expected_of
from own_processes import OwnProcess, api_with_vectors, postgres_worker
from postgres_tables import as_stored, memories, rows
from soma_cli.local.vectors import EmbeddedIndex
from soma_schemas.groups import SinkGroup
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import PublishingSettings
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL
from soma_streams.delivery.state import MemoryName, MemoryState
from soma_streams.sinks.vectors.states import id_of, state_of
from waiting import eventually_now

MEMORIES = 20_000
# Every seventh memory replaces one that was stored before: what is folded matters, not only what is inserted.
KEYS = 17_000
KILLED_AT = {SinkGroup.POSTGRES: (2_000, 9_000), SinkGroup.VECTORS: (1_000, 6_000)}


def new_memories() -> Iterator[NewMemory]:
    for number in range(MEMORIES):
        yield NewMemory(
            namespace=f"import/{number % 10}",
            key=f"memory {number % KEYS - number % KEYS % 10 + number % 10}",
            text=f"Memory number {number} is about subject {number % 97} and place {number % 31}.",
            tags=[f"tag{number % 5}"],
            payload={"number": number},
        )


def progress(dsn: str, group: SinkGroup) -> int:
    (row,) = rows(
        dsn,
        "SELECT coalesce(sum(next_offset), 0)::bigint AS total FROM sink_watermarks"
        " WHERE consumer_group = %(group)s AND topic LIKE '%%memory.events'",
        group=group.value,
    )
    return int(row["total"])


def caught_up(dsn: str, group: SinkGroup, events: int) -> None:
    eventually_now(lambda: progress(dsn, group), lambda total: total >= events, seconds=180)


def kill_on_the_way(process: OwnProcess, dsn: str, group: SinkGroup) -> None:
    for reached in KILLED_AT[group]:
        caught_up(dsn, group, reached)
        process.kill()
        process.start()


def points_of(folder: Path, expected: Expected) -> dict[MemoryName, MemoryState]:
    collection = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
    with closing(EmbeddedIndex.open(folder, collection)) as index:
        payloads = asyncio.run(index.read([id_of(name) for name in expected.states]))
        assert index._shard.count(edge.CountRequest()) == len(expected.states)
    states = [state_of(payload) for payload in payloads.values()]
    return {state.name: state for state in states}


def differences(
    expected: Mapping[MemoryName, MemoryState], found: Mapping[MemoryName, MemoryState]
) -> list[MemoryName]:
    names = expected.keys() | found.keys()
    return sorted(
        (name for name in names if expected.get(name) != found.get(name)), key=lambda name: name.memory_id
    )


def test_a_kill_in_the_middle_of_an_import_loses_and_doubles_nothing(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    def publish() -> None:
        with MemoryProducer(publishing_settings, tenant="acme") as producer:
            producer.store_many(new_memories())

    with (
        postgres_worker(local_parts, publishing_settings, tmp_path) as worker,
        api_with_vectors(local_parts, publishing_settings, tmp_path) as api,
    ):
        publishing = threading.Thread(target=publish)
        killing = threading.Thread(target=kill_on_the_way, args=(worker, owner_dsn, SinkGroup.POSTGRES))
        publishing.start()
        killing.start()
        kill_on_the_way(api, owner_dsn, SinkGroup.VECTORS)
        publishing.join()
        killing.join()
        for group in KILLED_AT:
            caught_up(owner_dsn, group, MEMORIES)
        assert worker.terminate() == 0
        assert api.terminate() == 0
    expected = expected_of(publishing_settings)
    stored = {name: as_stored(state) for name, state in expected.states.items()}

    assert expected.events == MEMORIES
    assert differences(stored, memories(owner_dsn)) == []
    assert differences(expected.states, points_of(tmp_path / "vectors", expected)) == []
    (letters,) = rows(owner_dsn, "SELECT count(*) AS count FROM dead_letters")
    assert letters["count"] == 0
