"""Reads originals back from the dead-letter topic, one place after the other."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from typing import Self, cast
from uuid import UUID

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaException, Message, TopicPartition

from soma_schemas.clock import Clock
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import BrokerError, broker_error
from soma_schemas.topics import DEAD_LETTERS
from soma_streams.replay.letters import Letter
from soma_streams.sinks.letter_rows import letter_row
from soma_streams.transport.records import Record, TimestampType

_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.2
_CRITICAL = 2  # of syslog's levels
# Reading on is cheaper than asking the brokers anew for a place that is so near.
_NEAR_OFFSETS = 500


class Gone(StrEnum):
    """Why an original cannot be had any more."""

    TRIMMED = "trimmed"  # the dead-letter topic no longer keeps what is so old
    REPLACED = "replaced"  # the topic was made anew: something else lies there, or nothing


class Originals:
    """The dead-letter topic, read at the places that the index names. Close it, or use it in a `with`.

    It joins no group and commits nothing.

    Args:
        kafka: The brokers.
        topics: Names the topic.
        clock: Measures how long the brokers may take.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings, clock: Clock) -> None:
        self._topic = DEAD_LETTERS.full_name(topics)
        self._partitions = DEAD_LETTERS.partitions(topics)
        self._clock = clock
        self._consumer = Consumer(
            kafka.librdkafka()
            | {
                "client.id": "soma-dead-letter-reader",
                "group.id": f"{SinkGroup.DEAD_LETTERS.on_brokers(topics)}-reader",
                "enable.auto.commit": False,
                # A place that was trimmed meanwhile shows by the later record that comes instead.
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                # What goes wrong is raised; otherwise every try to connect writes a line to the terminal.
                "log_level": _CRITICAL,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    async def read(self, letters: Iterable[Letter]) -> Mapping[UUID, Record | Gone]:
        """Return the record of every letter, as it lies in the dead-letter topic, or why it is gone.

        Raises:
            BrokerError: The brokers do not answer.
        """
        return await asyncio.to_thread(self._read, list(letters))

    async def begins(self) -> Mapping[int, int]:
        """Return where each partition of the dead-letter topic begins now.

        Raises:
            BrokerError: The brokers do not answer.
        """
        return await asyncio.to_thread(
            lambda: {partition: self._bounds(partition)[0] for partition in range(self._partitions)}
        )

    async def ends(self) -> Mapping[int, int]:
        """Return where each partition of the dead-letter topic ends now.

        Raises:
            BrokerError: The brokers do not answer.
        """
        return await asyncio.to_thread(
            lambda: {partition: self._bounds(partition)[1] for partition in range(self._partitions)}
        )

    def _read(self, letters: Sequence[Letter]) -> dict[UUID, Record | Gone]:
        found: dict[UUID, Record | Gone] = {}
        ordered = sorted(letters, key=lambda letter: (letter.dlq_partition, letter.dlq_offset))
        for partition, group in groupby(ordered, key=lambda letter: letter.dlq_partition):
            wanted = list(group)
            records = self._records(partition, [letter.dlq_offset for letter in wanted])
            for letter in wanted:
                found[letter.id] = self._checked(letter, records[letter.dlq_offset])
        return found

    def _checked(self, letter: Letter, record: Record | Gone) -> Record | Gone:
        if isinstance(record, Gone):
            return record
        # Whatever else lies at this place must not be taken for the letter.
        same = letter_row(self._topic, letter.dlq_partition, record).id == letter.id
        return record if same else Gone.REPLACED

    def _records(self, partition: int, offsets: Sequence[int]) -> dict[int, Record | Gone]:
        """Return what lies at these offsets, which come in order."""
        low, high = self._bounds(partition)
        found: dict[int, Record | Gone] = {
            offset: Gone.TRIMMED if offset < low else Gone.REPLACED
            for offset in offsets
            if not low <= offset < high
        }
        position: int | None = None
        held: Record | None = None
        for offset in offsets:
            if offset in found:
                continue
            if position is None or not 0 <= offset - position <= _NEAR_OFFSETS:
                self._go_to(partition, offset)
                held = None
            while held is None or held.offset < offset:
                held = self._next(partition, offset)
            position = held.offset + 1
            found[offset] = held if held.offset == offset else Gone.TRIMMED
        return found

    def _bounds(self, partition: int) -> tuple[int, int]:
        try:
            bounds = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=_TIMEOUT_SECONDS
            )
        except KafkaException as error:
            raise broker_error(error) from error
        if bounds is None:
            raise BrokerError(f"the brokers do not tell what {self._topic} holds")
        return bounds

    def _go_to(self, partition: int, offset: int) -> None:
        try:
            self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        except KafkaException as error:
            raise broker_error(error) from error

    def _next(self, partition: int, offset: int) -> Record:
        deadline = self._clock.monotonic() + _TIMEOUT_SECONDS
        while self._clock.monotonic() < deadline:
            message = self._consumer.poll(_POLL_SECONDS)
            if message is None:
                continue
            if (error := message.error()) is not None:
                raise broker_error(KafkaException(error))
            return record_of(message)
        raise BrokerError(f"the brokers do not send what lies in {self._topic} at {partition}:{offset}")


def record_of(message: Message) -> Record:
    """Return a message as a record."""
    kind, milliseconds = message.timestamp()
    offset, key, value = message.offset(), message.key(), message.value()
    if offset is None or isinstance(key, str) or isinstance(value, str):
        raise TypeError("a message from the brokers has an offset and bytes")
    return Record(
        offset=offset,
        timestamp_ms=milliseconds,
        timestamp_type=(
            TimestampType.LOG_APPEND_TIME if kind == TIMESTAMP_LOG_APPEND_TIME else TimestampType.CREATE_TIME
        ),
        key=key,
        value=value,
        headers=_headers(message),
    )


def _headers(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    # A consumer gives pairs; that headers may be written as a mapping too concerns producers.
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return tuple(pairs)
