"""Three brokers lose nothing that was acknowledged when one of them is killed, or its disk is lost."""

import asyncio
import shutil
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from background import repeated
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.home import Home
from soma_cli.local.kafka import bootstrap_of, open_kafka
from soma_cli.local.unit import PartState, ignore
from soma_schemas.clock import SystemClock
from waiting import eventually

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


def in_sync(bootstrap: str) -> set[int]:
    metadata = AdminClient({"bootstrap.servers": bootstrap}).list_topics(TOPIC, timeout=20)
    return set(metadata.topics[TOPIC].partitions[0].isrs)


class Words:
    """Publishes one word after the other, and knows which of them were acknowledged, in their order."""

    def __init__(self, bootstrap: str) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[object] = []
        self._sent = 0
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "delivery.timeout.ms": 120_000}
        )

    def send(self) -> None:
        """Publish the next few."""
        for _ in range(10):
            word = f"word {self._sent}"
            self._sent += 1
            self._producer.produce(TOPIC, word.encode(), on_delivery=self._told)
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait for what is under way."""
        assert self._producer.flush(120) == 0

    def _told(self, error: object, message: Message) -> None:
        if error is None:
            self.acknowledged.append((message.value() or b"").decode())
        else:
            self.refused.append(error)


@pytest.mark.long
async def test_a_lost_disk_takes_nothing_with_it(tmp_path: Path, artifacts: Artifacts) -> None:
    home = Home(tmp_path / "home", Random())
    async with open_kafka(home, artifacts, SystemClock(), ignore, brokers=3) as brokers:
        bootstrap = bootstrap_of(brokers)
        await asyncio.to_thread(create_topic, bootstrap)
        words = Words(bootstrap)

        async def whole() -> set[int]:
            return await asyncio.to_thread(in_sync, bootstrap)

        async def acknowledged() -> int:
            return len(words.acknowledged)

        with repeated(words.send, 0.01):
            # One after the other, until no broker has the disk that it began with.
            for number, broker in enumerate(brokers, 1):
                await broker.kill()
                shutil.rmtree(home.folder("kafka", str(number), "data"))
                await eventually(whole, ({1, 2, 3} - {number}).__eq__, seconds=60)
                before = len(words.acknowledged)
                await eventually(acknowledged, before.__lt__, seconds=60)
                await broker.start()
                await eventually(whole, lambda seen: seen == {1, 2, 3}, seconds=120)
        await asyncio.to_thread(words.finish)
        read = await asyncio.to_thread(published, bootstrap, len(words.acknowledged))

    assert words.refused == []
    assert read == words.acknowledged
    assert len(read) > 100
