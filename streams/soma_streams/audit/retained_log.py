"""Reads what the log still has, a page at a time, in no group and without committing."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Self

import httpx2
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryError

from soma_schemas.clock import Clock
from soma_schemas.events import Record as Event
from soma_schemas.groups import SinkGroup
from soma_schemas.moments import millis
from soma_schemas.registry import registry_error
from soma_schemas.settings import KafkaSettings, PublishingSettings, TopicSettings
from soma_schemas.topic_admin import BrokerError, broker_error
from soma_schemas.topics import MEMORY_EVENTS, Topic
from soma_schemas.violations import ContractError
from soma_streams.cancellation import to_the_end
from soma_streams.delivery.compacted import Statement, statement_of
from soma_streams.delivery.decode import RecordReader, UndecodableError, WriterSchemas, read_key, schema_ids
from soma_streams.delivery.state import MemoryName
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.replay.originals import record_of
from soma_streams.transport.records import Record

_PAGE = 500
_POLL_SECONDS = 0.2
_TIMEOUT_SECONDS = 10.0


class RetainedLog:
    """The log, read by whoever audits it. Close it, or use it in a `with`.

    Args:
        kafka: The brokers.
        topics: Names the topic.
        clock: Measures how long the brokers may take.
        topic: Which.
    """

    def __init__(
        self, kafka: KafkaSettings, topics: TopicSettings, clock: Clock, topic: Topic = MEMORY_EVENTS
    ) -> None:
        self._topic = topic.full_name(topics)
        self._clock = clock
        self._consumer = Consumer(
            kafka.librdkafka(silent=True)
            | {
                "client.id": "soma-audit",
                "group.id": f"{SinkGroup.VECTORS.on_brokers(topics)}-audit",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": 16_384,
                "fetch.wait.max.ms": 50,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._consumer.close()

    async def pages(self, partition: int, start: int, end: int) -> AsyncIterator[list[Record]]:
        """Yield the records of a partition from one offset to below another, in their order.

        Raises:
            BrokerError: The brokers do not answer, or refuse.
        """
        if start >= end:
            return
        self._consumer.assign([TopicPartition(self._topic, partition, start)])
        ended, silent_since = False, self._clock.monotonic()
        while not ended:
            messages: list[Message] = []
            # Nobody closes a consumer that a thread still asks.
            await to_the_end(self._consume(messages))
            page: list[Record] = []
            for message in messages:
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's own codes are spelt so
                        ended = True
                        continue
                    raise broker_error(KafkaException(error))
                record = record_of(message)
                if record.offset >= end:
                    ended = True
                    break
                page.append(record)
            if page:
                silent_since = self._clock.monotonic()
                ended = ended or page[-1].offset + 1 >= end
                yield page
            elif not ended and self._clock.monotonic() - silent_since > _TIMEOUT_SECONDS:
                raise BrokerError(f"the brokers do not send what lies in {self._topic}/{partition}")

    async def offsets_at(self, moment: datetime, partitions: Mapping[int, int]) -> dict[int, int]:
        """Return the first offset of each partition that was logged at a time or later; its end if none was.

        Args:
            moment: The time.
            partitions: Where each ends.

        Raises:
            BrokerError: The brokers do not answer, or refuse.
        """
        asked = [TopicPartition(self._topic, each, millis(moment)) for each in partitions]
        try:
            found = await asyncio.to_thread(self._consumer.offsets_for_times, asked, _TIMEOUT_SECONDS)
        except KafkaException as error:
            raise broker_error(error) from error
        return {
            each.partition: each.offset if each.offset >= 0 else partitions[each.partition] for each in found
        }

    async def _consume(self, into: list[Message]) -> None:
        into += await asyncio.to_thread(self._some)

    def _some(self) -> list[Message]:
        """Return what is there, once there is anything: a wait for a whole page would end every partition."""
        first = self._consumer.poll(_POLL_SECONDS)
        return [] if first is None else [first, *self._consumer.consume(_PAGE - 1, 0)]


async def statements(
    settings: PublishingSettings, topic: Topic, ends: Mapping[int, int], clock: Clock
) -> AsyncIterator[Statement[Event] | None]:
    """Yield what a compacted topic says, from its beginning; None for a record that cannot be read.

    Args:
        settings: Where the log and the registry are.
        topic: Which.
        ends: Of each partition.
        clock: Measures how long the brokers may take.

    Raises:
        BrokerError: The brokers do not answer, or refuse.
        RegistryError: The registry does not answer.
    """
    reader = RecordReader[Event](topic.records, settings.limits)
    schemas = WriterSchemas(settings.registry)
    try:
        with RetainedLog(settings.kafka, settings.topics, clock, topic) as log:
            for partition, end in sorted(ends.items()):
                async for page in log.pages(partition, 0, end):
                    known = await _fetched(schemas, page)
                    for record in page:
                        try:
                            said = statement_of(reader, record, known, topic.epoch(settings.topics))
                        except (UndecodableError, ContractError):
                            said = None
                        yield said
    finally:
        await schemas.close()


async def _fetched(schemas: WriterSchemas, page: Sequence[Record]) -> Mapping[int, WriterSchema]:
    try:
        return await schemas.fetch(schema_ids(page))
    except (SchemaRegistryError, httpx2.HTTPError) as error:
        raise registry_error(error, "what the log holds") from error


def name_of(record: Record) -> MemoryName | None:
    """Return which memory a record is about; None when its key is not ours."""
    tenant, memory_id = read_key(record.key)
    return MemoryName(tenant, memory_id) if tenant is not None and memory_id is not None else None
