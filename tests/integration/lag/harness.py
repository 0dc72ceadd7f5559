"""Logs and groups of a test alone, and a collector whose time the test owns."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from soma_schemas.clock import SystemClock
from soma_schemas.settings import KafkaSettings
from soma_streams.lag.book import GroupView, PartitionView
from soma_streams.lag.lag_collector import Collector

_names = count(1)

INTERVAL = timedelta(seconds=30)
WINDOW = timedelta(seconds=60)


class ShiftedClock(SystemClock):
    """The machine's clock, as many seconds later as the test has let pass."""

    def __init__(self) -> None:
        self.shift = 0.0
        self.day_shift = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.shift + self.day_shift)

    def monotonic(self) -> float:
        return super().monotonic() + self.shift


class Log:
    """A topic of its own, what is written to it, and groups that read it."""

    def __init__(
        self, kafka: KafkaSettings, admin: AdminClient, *, partitions: int = 1, copies: int = 1, **config: str
    ) -> None:
        number = next(_names)
        self.name = f"lag-{number}"
        self.group = f"group-{number}"
        self._kafka = kafka
        self._admin = admin
        self._config = {"message.timestamp.type": "LogAppendTime", **config}
        self._copies = copies
        self.create(partitions)

    def create(self, partitions: int = 1) -> None:
        topic = NewTopic(self.name, partitions, replication_factor=self._copies, config=self._config)
        self._admin.create_topics([topic])[self.name].result(20)

    def delete(self) -> None:
        self._admin.delete_topics([self.name])[self.name].result(20)

    def add_partitions(self, total: int) -> None:
        self._admin.create_partitions([NewPartitions(self.name, total)])[self.name].result(20)

    def write(self, records: int, partition: int = 0, key: str | None = None) -> None:
        refused: list[object] = []
        producer = Producer(self._kafka.librdkafka())
        for number in range(records):
            producer.produce(
                self.name,
                b"text",
                key=key or str(number),
                partition=partition,
                on_delivery=lambda error, _: refused.append(error),
            )
        assert producer.flush(30) == 0
        assert refused == [None] * records

    def commit(self, offset: int, partition: int = 0) -> None:
        """Commit as a group that nobody is a member of."""
        consumer = self._consumer()
        try:
            consumer.commit(offsets=[TopicPartition(self.name, partition, offset)], asynchronous=False)
        finally:
            consumer.close()

    def member(self) -> Consumer:
        """Return a member that has every partition; the test closes it."""
        consumer = self._consumer()
        assigned: list[object] = []
        consumer.subscribe([self.name], on_assign=lambda _, partitions: assigned.extend(partitions))
        while not assigned:
            consumer.poll(0.1)
        return consumer

    def _consumer(self) -> Consumer:
        return Consumer(
            self._kafka.librdkafka()
            | {"group.id": self.group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        )

    def delete_before(self, offset: int, partition: int = 0) -> None:
        asked = self._admin.delete_records([TopicPartition(self.name, partition, offset)])
        for answer in asked.values():
            answer.result(20)

    def forget_group(self) -> None:
        self._admin.delete_consumer_groups([self.group])[self.group].result(20)


async def look(collector: Collector, clock: ShiftedClock, rounds: int = 1) -> None:
    """Let the collector go round, an interval apart."""
    for _ in range(rounds):
        clock.shift += INTERVAL.total_seconds()
        await collector.round()


def group_in(collector: Collector, name: str) -> GroupView:
    return next(view for view in collector.views if view.name == name)


def partitions_in(collector: Collector, name: str) -> Sequence[PartitionView]:
    return sorted(group_in(collector, name).partitions, key=lambda view: view.place)
