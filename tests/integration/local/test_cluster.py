"""Three brokers lose nothing that was acknowledged when one of them is killed."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.home import Home
from soma_cli.local.kafka import bootstrap_of, open_kafka
from soma_cli.local.unit import PartState, ignore
from soma_schemas.clock import SystemClock

TOPIC = "words"


def create_topic(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, 1, replication_factor=3)])[TOPIC].result(timeout=20)


def publish(bootstrap: str, words: list[str]) -> None:
    refused: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "delivery.timeout.ms": 30_000})
    for word in words:
        producer.produce(TOPIC, word.encode(), on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(30) == 0
    assert refused == [None] * len(words)


def published(bootstrap: str, count: int) -> list[str]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        return [(message.value() or b"").decode() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


def leader(bootstrap: str) -> int:
    metadata = AdminClient({"bootstrap.servers": bootstrap}).list_topics(TOPIC, timeout=20)
    return int(metadata.topics[TOPIC].partitions[0].leader)


@pytest.mark.long
async def test_a_killed_leader_takes_nothing_with_it(tmp_path: Path, artifacts: Artifacts) -> None:
    home = Home(tmp_path / "home", Random())
    async with open_kafka(home, artifacts, SystemClock(), ignore, brokers=3) as brokers:
        bootstrap = bootstrap_of(brokers)
        await asyncio.to_thread(create_topic, bootstrap)
        await asyncio.to_thread(publish, bootstrap, ["before"])
        killed = brokers[await asyncio.to_thread(leader, bootstrap) - 1]

        await killed.kill()
        await asyncio.to_thread(publish, bootstrap, ["during"])
        await killed.start()
        await asyncio.to_thread(publish, bootstrap, ["after"])

        assert killed.state is PartState.READY
        assert await asyncio.to_thread(published, bootstrap, 3) == ["before", "during", "after"]
