"""The road from the producer to both stores, and what becomes of what is no event."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg.rows import dict_row

from builders import A_NAMESPACE, stored
from conftest import LocalParts
from own_processes import a_free_port
from postgres_tables import tables
from qdrant_server import QdrantServer
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.errors import MismatchError
from soma_schemas.events import PatchField
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.native_fields import ABSENCE
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.registry import EventSerializer, open_registry
from soma_schemas.settings import EncryptionSettings, PublishingSettings, RegistrySettings, VectorSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.collection import PAYLOAD_INDEXES, Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL, PackagedEmbedder
from soma_schemas.vectors.points import point_id
from soma_schemas.vectors.server import open_client
from soma_schemas.versions import Position
from soma_streams import workers
from soma_streams.delivery.state import DecodedBy
from soma_streams.settings import PostgresWorkerSettings, VectorWorkerSettings, WorkerSettings
from soma_streams.sinks.vectors.qdrant import QdrantWriter
from soma_streams.sinks.vectors.writer import PointWriter
from waiting import eventually, eventually_so

COLLECTION = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)


def worker_settings(local_parts: LocalParts, publishing: PublishingSettings, port: int = 0) -> dict[str, Any]:
    return {
        "kafka": publishing.kafka,
        "registry": publishing.registry,
        "topics": publishing.topics,
        "postgres": local_parts.parts.postgres.settings(Login.WORKER),
        "worker": WorkerSettings.model_validate({"port": port}),
    }


@asynccontextmanager
async def postgres_worker(
    local_parts: LocalParts,
    publishing: PublishingSettings,
    metrics: MetricSet | None = None,
    *,
    port: int = 0,
    encryption: EncryptionSettings | None = None,
) -> AsyncIterator["asyncio.Task[None]"]:
    stop = asyncio.Event()
    settings = worker_settings(local_parts, publishing, port)
    task = asyncio.create_task(
        workers.work_postgres(
            PostgresWorkerSettings(**settings, encryption=encryption or EncryptionSettings()),
            clock=SystemClock(),
            random=Random(1),
            metrics=metrics or MetricSet(),
            stop=stop,
        )
    )
    try:
        yield task
    finally:
        stop.set()
        await task


@asynccontextmanager
async def vector_worker(
    local_parts: LocalParts, publishing: PublishingSettings, writer: PointWriter, *, port: int = 0
) -> AsyncIterator["asyncio.Task[None]"]:
    stop = asyncio.Event()
    with closing(PackagedEmbedder()) as embedder:
        task = asyncio.create_task(
            workers.work_vectors(
                VectorWorkerSettings(**worker_settings(local_parts, publishing, port)),
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
            yield task
        finally:
            stop.set()
            await task


async def rows(dsn: str, query: str, *parameters: Any) -> list[dict[str, Any]]:
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
        return await (await connection.execute(query.encode(), parameters)).fetchall()


async def settled_to(dsn: str, group: str, position: Position) -> None:
    async def watermark() -> int:
        found = await rows(
            dsn,
            "SELECT next_offset FROM sink_watermarks WHERE consumer_group = %s AND partition = %s"
            " AND topic LIKE '%%memory.events'",
            group,
            position.partition,
        )
        return int(found[0]["next_offset"]) if found else 0

    await eventually(watermark, lambda next_offset: next_offset > position.offset)


async def test_an_event_reaches_both_stores(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as opened:
        index = opened.enter_context(closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)))
        producer = await opened.enter_async_context(MemoryProducer(publishing_settings, tenant="acme"))
        await opened.enter_async_context(postgres_worker(local_parts, publishing_settings))
        await opened.enter_async_context(vector_worker(local_parts, publishing_settings, index))

        receipt = await producer.store_async(
            NewMemory(
                namespace=A_NAMESPACE, key="tea", text="Tea at four.", tags=["ritual"], payload={"cups": 2}
            )
        )
        patched = await asyncio.to_thread(
            producer.patch, A_NAMESPACE, receipt.memory_id, {PatchField.TAGS: ["late"]}
        )
        for group in ("soma-postgres", "soma-vectors"):
            await settled_to(owner_dsn, group, patched.position)

        (row,) = await rows(owner_dsn, "SELECT * FROM memories")
        point = point_id("acme", receipt.memory_id)
        payload = (await index.read([point]))[point]

    assert (row["text"], row["tags"], row["payload"]) == ("Tea at four.", ["late"], {"cups": 2})
    assert "Tea at four." in json.dumps(payload)
    assert "late" in json.dumps(payload)


async def test_whatever_is_no_event_is_dead_lettered_with_a_reason_and_the_partition_goes_on(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str
) -> None:
    topic = MEMORY_EVENTS.full_name(publishing_settings.topics)
    good = stored(key="a")
    with open_registry(publishing_settings.registry) as registry:
        serializer = EventSerializer(registry)
        value = await asyncio.to_thread(serializer.serialize, good, topic)
    letters = {
        "not_wire_format": b"garbage",
        "unknown_schema_id": b"\0\x7f\xff\xff\xff" + value[5:],
        "avro": value[:-3],
        "null_value": None,
    }
    producer = Producer(publishing_settings.kafka.librdkafka())
    for poison in letters.values():
        producer.produce(topic, key=good.log_key(), value=poison, partition=1)
    producer.produce(topic, key=good.log_key(), value=value, partition=1)
    producer.flush()

    async with postgres_worker(local_parts, publishing_settings):
        await settled_to(owner_dsn, "soma-postgres", Position(1, len(letters)))
        found = await eventually(
            lambda: rows(owner_dsn, "SELECT * FROM dead_letters ORDER BY log_offset"),
            lambda seen: len(seen) == len(letters),
        )
        (row,) = await rows(owner_dsn, "SELECT * FROM memories")

    assert [letter["code"] for letter in found] == list(letters)
    assert {letter["tenant"] for letter in found} == {"acme"}
    assert {letter["status"] for letter in found} == {"open"}
    assert row["memory_id"] == good.memory_id


async def test_a_worker_refuses_to_start_on_topics_that_are_not_as_declared(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str
) -> None:
    del owner_dsn
    other = publishing_settings.model_copy(
        update={"topics": publishing_settings.topics.model_copy(update={"partitions": 4})}
    )

    with pytest.raises(MismatchError, match="partitions is 3, declared is 4"):
        async with postgres_worker(local_parts, other) as task:
            await eventually_so(task.done, seconds=60)


async def test_a_group_that_is_reset_to_the_beginning_changes_nothing(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, admin: AdminClient
) -> None:
    topic = MEMORY_EVENTS.full_name(publishing_settings.topics)
    group = SinkGroup.POSTGRES.on_brokers(publishing_settings.topics)
    async with MemoryProducer(publishing_settings, tenant="acme") as producer:
        await asyncio.to_thread(producer.store, NewMemory(namespace=A_NAMESPACE, key="tea", text="Tea."))
        stored_again = await asyncio.to_thread(
            producer.store, NewMemory(namespace=A_NAMESPACE, key="tea", text="Tea at five.")
        )
        deleted = await asyncio.to_thread(producer.delete, A_NAMESPACE, stored_again.memory_id)
    async with postgres_worker(local_parts, publishing_settings):
        await settled_to(owner_dsn, "soma-postgres", deleted.position)
    before = tables(owner_dsn)
    beginning = TopicPartition(topic, deleted.position.partition, 0)
    for done in admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, [beginning])]
    ).values():
        done.result(20)

    registry = MetricSet()
    async with postgres_worker(local_parts, publishing_settings, registry):
        await eventually(partial(_superseded, registry), lambda count: count == 3)

    assert tables(owner_dsn) == before
    assert _decoded(registry) == ({"native": 0, "reference": 3} if ABSENCE else {"native": 2, "reference": 1})


async def _superseded(metrics: MetricSet) -> float | None:
    labels = {"sink": "postgres", "outcome": "superseded"}
    return metrics.registry.get_sample_value("soma_events_settled_total", labels)


def _decoded(metrics: MetricSet) -> dict[str, float | None]:
    """How many events were read in which way."""
    return {
        way.value: metrics.registry.get_sample_value(
            "soma_events_decoded_total", {"sink": "postgres", "by": way.value}
        )
        for way in DecodedBy
    }


@pytest.mark.parametrize("sink", [SinkGroup.POSTGRES, SinkGroup.VECTORS])
async def test_a_worker_that_waits_for_the_registry_at_its_start_can_be_stopped(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    tmp_path: Path,
    sink: SinkGroup,
) -> None:
    del owner_dsn
    nobody = RegistrySettings(url="http://127.0.0.1:9/apis/ccompat/v7", timeout=timedelta(seconds=1))
    away = publishing_settings.model_copy(update={"registry": nobody})
    with (
        closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)) as index,
        structlog.testing.capture_logs() as logs,
    ):
        worker = (
            postgres_worker(local_parts, away)
            if sink is SinkGroup.POSTGRES
            else vector_worker(local_parts, away, index)
        )
        async with worker as task:
            await eventually(lambda: _events(logs), lambda events: "start_waits" in events)
            assert not task.done()

    assert "stopped_while_starting" in await _events(logs)


async def test_the_vector_worker_waits_for_its_server_and_completes_the_collection_then(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    server = QdrantServer(tmp_path / "qdrant", port=a_free_port())
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(open_client(VectorSettings(url=server.url)))
        writer = QdrantWriter(client, COLLECTION)
        producer = await opened.enter_async_context(MemoryProducer(publishing_settings, tenant="acme"))
        logs = opened.enter_context(structlog.testing.capture_logs())
        task = await opened.enter_async_context(vector_worker(local_parts, publishing_settings, writer))
        waits = partial(_waits_for_the_index, logs)
        await eventually(waits, bool)
        assert not task.done()

        await server.start()
        opened.push_async_callback(server.stop)

        receipt = await producer.store_async(NewMemory(namespace=A_NAMESPACE, text="Tea at four."))
        await settled_to(owner_dsn, SinkGroup.VECTORS, receipt.position)
        assert await writer.read([point_id("acme", receipt.memory_id)])
        assert set((await client.get_collection(COLLECTION.alias)).payload_schema) == set(PAYLOAD_INDEXES)


async def _waits_for_the_index(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        line["reason"]
        for line in logs
        if line["event"] == "store_unavailable" and line["attempt"] == "prepare the index"
    ]


async def _events(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [line["event"] for line in logs]


async def test_a_watermark_that_was_never_told_is_told_at_the_next_start(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    with closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)) as index:
        async with MemoryProducer(publishing_settings, tenant="acme") as producer:
            receipt = await producer.store_async(NewMemory(namespace=A_NAMESPACE, key="tea", text="x"))
        async with vector_worker(local_parts, publishing_settings, index):
            await settled_to(owner_dsn, "soma-vectors", receipt.position)
        await rows(owner_dsn, "DELETE FROM sink_watermarks RETURNING topic")

        async with vector_worker(local_parts, publishing_settings, index):
            await settled_to(owner_dsn, "soma-vectors", receipt.position)
