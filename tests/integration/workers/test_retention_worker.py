"""The retention worker on the real log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from confluent_kafka import Producer

from builders import policy_set
from conftest import LocalParts
from integration.workers.test_workers import rows, worker_settings
from soma_schemas.clock import SystemClock
from soma_schemas.metrics import MetricSet
from soma_schemas.registry import EventSerializer, open_registry
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import MEMORY_POLICIES
from soma_streams.retention_worker import work_retention
from soma_streams.settings import RetentionWorkerSettings
from waiting import eventually


@asynccontextmanager
async def retention_worker(local_parts: LocalParts, publishing: PublishingSettings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(
        work_retention(
            RetentionWorkerSettings(**worker_settings(local_parts, publishing)),
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
