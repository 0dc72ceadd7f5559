"""Reads originals back from the dead-letter topic, and from the log what their dead letters do not keep."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from operator import methodcaller
from typing import Self, cast
from uuid import UUID

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from soma_schemas.clock import Clock
from soma_schemas.dead_letters import DEAD_LETTER_HEADERS, OMITTED_HEADER, Omitted
from soma_schemas.groups import SinkGroup
from soma_schemas.moments import of_timestamp
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import BrokerError, broker_error
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS
from soma_streams.replay.stored_dead_letters import StoredDeadLetter
from soma_streams.sinks.dead_letter_rows import dead_letter_row
from soma_streams.transport.records import Record, TimestampType

_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.2
# Called so, because a call that the interpreter has specialized does not notice that the client failed: the
# error then comes up at whatever is called next.
_HEADERS = methodcaller("headers")
# Reading on is cheaper than asking the brokers anew for a place that is so near.
_NEAR_OFFSETS = 500
# The client's own bound on what it decompresses.
_UNDECOMPRESSED = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG})  # noqa: SLF001  # its codes are spelt so


class Gone(StrEnum):
    """Why an original cannot be had any more."""

    TRIMMED = "trimmed"  # the dead-letter topic no longer keeps what is so old
    REPLACED = "replaced"  # the topic was made anew: something else lies there, or nothing
    NOT_IN_LOG = "not_in_log"  # the dead letter does not keep it, and the log no longer has it
    UNREADABLE = "unreadable_record"  # the log has it, but it is too large to be read


class _UndecompressedError(Exception):
    """A record is larger than the client reads."""


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
        self._log = MEMORY_EVENTS.full_name(topics)
        self._epoch = topics.epoch
        self._partitions = DEAD_LETTERS.partitions(topics)
        self._clock = clock
        self._consumer = Consumer(
            kafka.librdkafka(silent=True)
            | {
                "client.id": "soma-dead-letter-reader",
                "group.id": f"{SinkGroup.DEAD_LETTERS.on_brokers(topics)}-reader",
                "enable.auto.commit": False,
                # A place that was trimmed meanwhile shows by the later record that comes instead.
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    async def read(self, dead_letters: Iterable[StoredDeadLetter]) -> Mapping[UUID, Record | Gone]:
        """Return the record of every dead letter, as it lies in the dead-letter topic, or why it is gone.

        What a dead letter does not keep of its original is read from the log.

        Raises:
            BrokerError: The brokers do not answer.
        """
        return await asyncio.to_thread(self._read, list(dead_letters))

    async def begins(self) -> Mapping[int, int]:
        """Return where each partition of the dead-letter topic begins now.

        Raises:
            BrokerError: The brokers do not answer.
        """
        return await asyncio.to_thread(
            lambda: {
                partition: self._bounds(self._topic, partition)[0] for partition in range(self._partitions)
            }
        )

    async def ends(self) -> Mapping[int, int]:
        """Return where each partition of the dead-letter topic ends now.

        Raises:
            BrokerError: The brokers do not answer.
        """
        return await asyncio.to_thread(
            lambda: {
                partition: self._bounds(self._topic, partition)[1] for partition in range(self._partitions)
            }
        )

    def _read(self, dead_letters: Sequence[StoredDeadLetter]) -> dict[UUID, Record | Gone]:
        found: dict[UUID, Record | Gone] = {}
        ordered = sorted(
            dead_letters, key=lambda dead_letter: (dead_letter.dlq_partition, dead_letter.dlq_offset)
        )
        for partition, group in groupby(ordered, key=lambda dead_letter: dead_letter.dlq_partition):
            wanted = list(group)
            records = self._records(
                self._topic, partition, [dead_letter.dlq_offset for dead_letter in wanted]
            )
            for dead_letter in wanted:
                found[dead_letter.id] = self._checked(dead_letter, records[dead_letter.dlq_offset])
        for dead_letter in ordered:
            record = found[dead_letter.id]
            if isinstance(record, Record) and _omitted(record):
                found[dead_letter.id] = self._completed(dead_letter, record)
        return found

    def _checked(self, dead_letter: StoredDeadLetter, record: Record | Gone) -> Record | Gone:
        if isinstance(record, Gone):
            return record
        # Whatever else lies at this place must not be taken for the dead letter.
        same = dead_letter_row(self._topic, dead_letter.dlq_partition, record).id == dead_letter.id
        return record if same else Gone.REPLACED

    def _completed(self, dead_letter: StoredDeadLetter, record: Record) -> Record | Gone:
        """Return a dead letter with what the log has of its original."""
        partition, offset = dead_letter.partition, dead_letter.log_offset
        if (
            (dead_letter.topic, dead_letter.epoch) != (self._log, self._epoch)
            or partition is None
            or offset is None
        ):
            return Gone.NOT_IN_LOG
        try:
            original = self._records(self._log, partition, [offset])[offset]
        except _UndecompressedError:
            return Gone.UNREADABLE
        if isinstance(original, Gone) or of_timestamp(original.timestamp_ms) != dead_letter.logged_at:
            return Gone.NOT_IN_LOG
        ours = tuple(
            (name, value)
            for name, value in record.headers
            if name in DEAD_LETTER_HEADERS and name != OMITTED_HEADER
        )
        return record._replace(key=original.key, value=original.value, headers=original.headers + ours)

    def _records(self, topic: str, partition: int, offsets: Sequence[int]) -> dict[int, Record | Gone]:
        """Return what lies at these offsets, which come in order."""
        low, high = self._bounds(topic, partition)
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
                self._go_to(topic, partition, offset)
                held = None
            while held is None or held.offset < offset:
                held = self._next(topic, partition, offset)
            position = held.offset + 1
            found[offset] = held if held.offset == offset else Gone.TRIMMED
        return found

    def _each_bound(self, which: int) -> dict[int, int]:
        return {number: self._bounds(self._topic, number)[which] for number in range(self._partitions)}

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        try:
            bounds = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=_TIMEOUT_SECONDS
            )
        except KafkaException as error:
            raise broker_error(error) from error
        if bounds is None:
            raise BrokerError(f"the brokers do not tell what {topic} holds")
        return bounds

    def _go_to(self, topic: str, partition: int, offset: int) -> None:
        try:
            self._consumer.assign([TopicPartition(topic, partition, offset)])
        except KafkaException as error:
            raise broker_error(error) from error

    def _next(self, topic: str, partition: int, offset: int) -> Record:
        deadline = self._clock.monotonic() + _TIMEOUT_SECONDS
        while self._clock.monotonic() < deadline:
            message = self._consumer.poll(_POLL_SECONDS)
            if message is None:
                continue
            if (error := message.error()) is not None:
                if error.code() in _UNDECOMPRESSED and topic == self._log:
                    raise _UndecompressedError
                raise broker_error(KafkaException(error))
            return record_of(message)
        raise BrokerError(f"the brokers do not send what lies in {topic} at {partition}:{offset}")


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
    try:
        # A consumer gives pairs; that headers may be written as a mapping too concerns producers.
        return tuple(cast("list[tuple[str, bytes | None]]", _HEADERS(message) or []))
    except SystemError:
        # So the client says that a name is no text. It gives none of them then.
        return ()


def _omitted(record: Record) -> bool:
    """Say whether a dead letter lacks more of its original than how its headers' names were spelt."""
    omitted = dict(record.headers).get(OMITTED_HEADER) or b""
    return not {*omitted.decode(errors="replace").split(",")} <= {"", Omitted.HEADER_NAMES}
