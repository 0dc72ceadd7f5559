"""The retention worker on the real log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from random import Random

from confluent_kafka import Consumer, Producer, TopicPartition

from builders import policy_set
from conftest import LocalParts
from integration.workers.test_workers import postgres_worker, rows, worker_settings
from soma_schemas.clock import SystemClock
from soma_schemas.events import PatchField
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import EventPublisher, MemoryProducer, NewMemory
from soma_schemas.registry import EventSerializer, open_registry
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import MEMORY_EXPIRED, MEMORY_EXPIRING, MEMORY_POLICIES, Topic
from soma_streams.retention_worker import work_retention
from soma_streams.settings import RetentionSettings, RetentionWorkerSettings
from waiting import eventually


@asynccontextmanager
async def retention_worker(local_parts: LocalParts, publishing: PublishingSettings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(
        work_retention(
            RetentionWorkerSettings(
                **worker_settings(local_parts, publishing),
                retention=RetentionSettings.model_validate({"sweep_interval": 0.2}),
            ),
            clock=SystemClock(),
            random=Random(1),
            metrics=MetricSet(),
            stop=stop,
        )
    )
    try:
        yield
    finally:
        stop.set()
        await task


async def test_policies_come_into_force_and_are_lifted_and_what_is_none_is_a_dead_letter(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str
) -> None:
    topic = MEMORY_POLICIES.full_name(publishing_settings.topics)
    producer = Producer(publishing_settings.kafka.librdkafka())
    team, everything = policy_set("team"), policy_set(ttl_seconds=3600)
    with open_registry(publishing_settings.registry) as registry:
        serializer = EventSerializer(registry)
        for policy in (team, everything):
            producer.produce(topic, key=policy.log_key(), value=serializer.serialize(policy, topic))
    producer.produce(topic, key=b"acme/team", value=b"no policy")
    producer.produce(topic, key=team.log_key(), value=None)
    producer.flush()

    async def reached() -> int:
        found = await rows(
            owner_dsn, "SELECT next_offset FROM sink_watermarks WHERE consumer_group = 'soma-policies'"
        )
        return int(found[0]["next_offset"]) if found else 0

    async with retention_worker(local_parts, publishing_settings):
        await eventually(reached, lambda offset: offset == 4)

    in_force = await rows(owner_dsn, "SELECT tenant, namespace FROM retention_policies")
    assert in_force == [{"tenant": "acme", "namespace": ""}]


def keys_in(publishing: PublishingSettings, topic: Topic) -> list[bytes]:
    """The keys of all that a topic holds, read by a plain consumer."""
    name = topic.full_name(publishing.topics)
    consumer = Consumer(
        publishing.kafka.librdkafka() | {"group.id": f"{name}-look", "enable.auto.commit": False}
    )
    with closing(consumer):
        found: list[bytes] = []
        for partition in range(topic.partitions(publishing.topics)):
            place = TopicPartition(name, partition, 0)
            low, high = consumer.get_watermark_offsets(place, timeout=30)
            consumer.assign([place])
            while low < high:
                for message in consumer.consume(100, 1.0):
                    found.append(message.key() or b"")
                    low = (message.offset() or 0) + 1
    return found


async def test_a_memory_is_told_of_ends_and_is_archived(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str
) -> None:
    # The notice period begins when a memory is stored.
    policy = policy_set("short", ttl_seconds=3600, notice_seconds=3600, archive=True)
    with closing(EventPublisher(publishing_settings)) as publisher:
        await asyncio.wrap_future(publisher.send([policy], MEMORY_POLICIES))
    async with (
        postgres_worker(local_parts, publishing_settings),
        retention_worker(local_parts, publishing_settings),
        MemoryProducer(publishing_settings, tenant="acme") as producer,
    ):
        ends = await producer.store_async(NewMemory(namespace="short/a", text="ends"))
        await producer.store_async(NewMemory(namespace="long", text="stays"))

        async def in_topic(topic: Topic) -> list[bytes]:
            return await asyncio.to_thread(keys_in, publishing_settings, topic)

        told = await eventually(lambda: in_topic(MEMORY_EXPIRING))
        change = {PatchField.EXPIRES_AT: datetime(2026, 1, 1, tzinfo=UTC)}
        await asyncio.to_thread(producer.patch, "short/a", ends.memory_id, change)
        archived = await eventually(lambda: in_topic(MEMORY_EXPIRED))

    assert told == archived == [f"acme/{ends.memory_id}".encode()]
    assert await rows(owner_dsn, "SELECT text FROM memories WHERE NOT deleted") == [{"text": "stays"}]
    assert await rows(owner_dsn, "SELECT id FROM outbox") == []
