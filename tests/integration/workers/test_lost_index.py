"""An index that was lost, is older than the commits, or holds another log: the worker makes it whole."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from mode.threads import WorkerThread

from builders import A_NAMESPACE
from conftest import LocalParts
from contract.vectors.build import a_point
from integration.workers.test_workers import (
    COLLECTION,
    postgres_worker,
    rows,
    settled_to,
    vector_worker,
    worker_settings,
)
from qdrant_server import QdrantServer, qdrant_server
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.clock import SystemClock
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import PublishingSettings, VectorSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.embedders import PackagedEmbedder
from soma_schemas.vectors.points import point_id
from soma_schemas.vectors.progress import Header, Held, LogIdentity
from soma_schemas.vectors.server import open_client
from soma_schemas.versions import Position
from soma_streams import workers
from soma_streams.settings import VectorWorkerSettings
from soma_streams.sinks.vectors.qdrant import QdrantWriter
from soma_streams.sinks.vectors.standing import held_by
from soma_streams.sinks.vectors.vector_sink_errors import IndexLostError
from soma_streams.sinks.vectors.writer import PointWriter
from waiting import eventually

_MEMORIES = 30


async def publish(settings: PublishingSettings, numbers: range) -> dict[int, int]:
    """Store a memory for each number, delete every fifth; return where each partition then ends."""
    ends: dict[int, int] = {}

    def note(position: Position) -> None:
        ends[position.partition] = max(ends.get(position.partition, 0), position.offset + 1)

    async with MemoryProducer(settings, tenant="acme") as producer:
        for number in numbers:
            memory = NewMemory(namespace=A_NAMESPACE, key=f"note {number}", text=f"Note {number}.")
            receipt = await producer.store_async(memory)
            note(receipt.position)
            if number % 5 == 0:
                note((await asyncio.to_thread(producer.delete, A_NAMESPACE, receipt.memory_id)).position)
    return ends


async def reached(index: PointWriter, ends: Mapping[int, int]) -> Held:
    """Wait until the index says that it holds the log up to there."""

    def is_there(held: Held | None) -> bool:
        return held is not None and all(held.progress.get(number, 0) >= end for number, end in ends.items())

    held = await eventually(partial(held_by, index, range(3)), is_there, seconds=120)
    assert held is not None
    return held


async def memories(index: PointWriter, dsn: str) -> dict[UUID, Mapping[str, Any]]:
    """What the index has of the memories that PostgreSQL has."""
    found = await rows(dsn, "SELECT tenant, memory_id FROM memories")
    return dict(await index.read([point_id(row["tenant"], row["memory_id"]) for row in found]))


async def recorded(dsn: str) -> dict[UUID, tuple[int, bool]]:
    """Version of each memory in PostgreSQL, and whether it is deleted."""
    found = await rows(dsn, "SELECT tenant, memory_id, version, deleted FROM memories")
    return {point_id(row["tenant"], row["memory_id"]): (row["version"], row["deleted"]) for row in found}


def seen(points: Mapping[UUID, Mapping[str, Any]]) -> dict[UUID, tuple[int, bool]]:
    """The same of the index."""
    return {place: (payload["version"], "deleted_at" in payload) for place, payload in points.items()}


async def test_an_index_that_was_lost_is_filled_from_a_log_that_has_everything(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    folder = tmp_path / "vectors"
    ends = await publish(publishing_settings, range(_MEMORIES))
    async with postgres_worker(local_parts, publishing_settings):
        with closing(EmbeddedIndex.open(folder, COLLECTION)) as index:
            async with vector_worker(local_parts, publishing_settings, index):
                await reached(index, ends)
            for partition, end in ends.items():
                await settled_to(owner_dsn, "soma-postgres", Position(partition, end - 1))
            before = await memories(index, owner_dsn)
        shutil.rmtree(folder)

        with closing(EmbeddedIndex.open(folder, COLLECTION)) as index:
            async with vector_worker(local_parts, publishing_settings, index):
                held = await reached(index, ends)
            after = await memories(index, owner_dsn)

    assert after == before
    assert seen(after) == await recorded(owner_dsn)
    assert not held.header.from_records


async def test_an_index_older_than_the_commits_is_read_on_from_where_it_stands(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    folder, older = tmp_path / "vectors", tmp_path / "older"
    ends = await publish(publishing_settings, range(_MEMORIES))
    with closing(EmbeddedIndex.open(folder, COLLECTION)) as index:
        async with vector_worker(local_parts, publishing_settings, index):
            held = await reached(index, ends)
    shutil.copytree(folder, older)
    later = await publish(publishing_settings, range(_MEMORIES, 2 * _MEMORIES))
    async with postgres_worker(local_parts, publishing_settings):
        with closing(EmbeddedIndex.open(folder, COLLECTION)) as index:
            async with vector_worker(local_parts, publishing_settings, index):
                await reached(index, later)

        with closing(EmbeddedIndex.open(older, COLLECTION)) as index:
            async with vector_worker(local_parts, publishing_settings, index):
                found = await reached(index, later)
            for partition, end in later.items():
                await settled_to(owner_dsn, "soma-postgres", Position(partition, end - 1))
            points = await memories(index, owner_dsn)

    assert found.header == held.header
    assert seen(points) == await recorded(owner_dsn)


async def test_an_index_that_the_log_cannot_fill_any_more_is_filled_from_the_records_and_the_logs_rest(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    tmp_path: Path,
    admin: AdminClient,
) -> None:
    ends = await publish(publishing_settings, range(_MEMORIES))
    topic = MEMORY_EVENTS.full_name(publishing_settings.topics)
    async with postgres_worker(local_parts, publishing_settings):
        for partition, end in ends.items():
            await settled_to(owner_dsn, "soma-postgres", Position(partition, end - 1))
    gone = [TopicPartition(topic, partition, end - 1) for partition, end in ends.items()]
    for done in admin.delete_records(gone).values():
        done.result(20)
    # Not in the records yet, so only the log has it.
    later = await publish(publishing_settings, range(_MEMORIES, _MEMORIES + 6))

    with closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)) as index:
        async with vector_worker(local_parts, publishing_settings, index):
            held = await reached(index, ends | later)
        async with postgres_worker(local_parts, publishing_settings):
            for partition, end in later.items():
                await settled_to(owner_dsn, "soma-postgres", Position(partition, end - 1))
        points = await memories(index, owner_dsn)

    assert seen(points) == await recorded(owner_dsn)
    assert held.fill is not None
    assert held.fill.filled == held.fill.total == _MEMORIES
    assert held.fill.tail == {number: ends.get(number, 0) for number in range(3)}


async def test_an_index_of_another_log_leaves_no_point_behind(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    ends = await publish(publishing_settings, range(_MEMORIES))
    strange = Header(UUID(int=1), LogIdentity("another-topic", 1), from_records=False)
    left = a_point(tenant="acme", version=2**52, dense=None)
    async with postgres_worker(local_parts, publishing_settings):
        with closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)) as index:
            await index.write([strange.point(), strange.progress_point(0, 1000), left])
            async with vector_worker(local_parts, publishing_settings, index):
                held = await reached(index, ends)
            for partition, end in ends.items():
                await settled_to(owner_dsn, "soma-postgres", Position(partition, end - 1))
            points = await memories(index, owner_dsn)
            found = await index.read([left.id])

    assert held.header.log != strange.log
    assert found == {}
    assert seen(points) == await recorded(owner_dsn)


@asynccontextmanager
async def server_worker(
    local_parts: LocalParts, publishing: PublishingSettings, server: QdrantServer
) -> AsyncIterator[tuple[QdrantWriter, "asyncio.Task[None]"]]:
    """The vector worker on a server, until the block ends or it cannot go on."""
    stop = asyncio.Event()
    vectors = VectorSettings(url=server.url)
    with closing(PackagedEmbedder()) as embedder:
        async with open_client(vectors) as client:
            writer = QdrantWriter(client, COLLECTION)
            await writer.prepare()  # the test reads what the worker would make a moment later
            task = asyncio.create_task(
                workers.work_vectors(
                    VectorWorkerSettings(**worker_settings(local_parts, publishing), vectors=vectors),
                    writer=writer,
                    embedder=embedder,
                    collection=COLLECTION,
                    clock=SystemClock(),
                    random=Random(2),
                    metrics=MetricSet(),
                    stop=stop,
                )
            )
            try:
                yield writer, task
            finally:
                stop.set()
                await asyncio.wait({task})


def consumer_threads() -> set[threading.Thread]:
    """The threads that read from the brokers."""
    return {thread for thread in threading.enumerate() if isinstance(thread, WorkerThread)}


@pytest.mark.parametrize("idle", [True, False])
async def test_a_collection_that_is_made_anew_while_a_worker_runs_stops_it_and_the_next_one_fills_it(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    tmp_path: Path,
    idle: bool,  # noqa: FBT001  # how pytest passes a parameter
) -> None:
    ends = await publish(publishing_settings, range(_MEMORIES))
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(postgres_worker(local_parts, publishing_settings))
        server = await opened.enter_async_context(qdrant_server(tmp_path / "qdrant"))
        for partition, end in ends.items():
            await settled_to(owner_dsn, "soma-postgres", Position(partition, end - 1))
        others = consumer_threads()
        async with server_worker(local_parts, publishing_settings, server) as (writer, task):
            await reached(writer, ends)

            # As another worker would, that was first to find the server wiped.
            await writer.renew(keep_former=False)
            if not idle:
                ends |= await publish(publishing_settings, range(_MEMORIES, _MEMORIES + 6))
            await asyncio.wait({task}, timeout=120)
            # A thread that stays would keep the process.
            assert consumer_threads() <= others

        error = task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, IndexLostError)

        async with server_worker(local_parts, publishing_settings, server) as (writer, task):
            await reached(writer, ends)
            for partition, end in ends.items():
                await settled_to(owner_dsn, "soma-postgres", Position(partition, end - 1))
            points = await memories(writer, owner_dsn)

    assert seen(points) == await recorded(owner_dsn)
