"""The watchdog's look at the brokers, through their restarts."""

import asyncio
from contextlib import closing, suppress

from confluent_kafka import KafkaException

from conftest import LocalParts
from integration.transport.harness import Cluster, a_name
from soma_schemas.settings import KafkaSettings
from soma_streams.watchdog import GroupOnBrokers, Standing
from waiting import eventually


async def test_a_broker_that_came_back_is_asked_as_before(
    kafka_settings: KafkaSettings, local_parts: LocalParts
) -> None:
    cluster, kafka = Cluster(kafka_settings.bootstrap_servers), local_parts.parts.kafka
    topic = cluster.create_topic()
    cluster.produce(topic, [b"before"] * 3)
    with closing(GroupOnBrokers(kafka_settings, a_name("group"), topic)) as on_brokers:

        async def standing() -> Standing | None:
            with suppress(KafkaException):
                return (await asyncio.to_thread(on_brokers.standings))[0]
            return None

        await eventually(standing, lambda seen: seen == Standing(None, 3))
        await asyncio.to_thread(local_parts.run, kafka.kill())
        assert await standing() is None
        await asyncio.to_thread(local_parts.run, kafka.start())
        cluster.produce(topic, [b"after"])
        await eventually(standing, lambda seen: seen == Standing(None, 4))
