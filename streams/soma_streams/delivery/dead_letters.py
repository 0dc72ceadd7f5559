"""Write dead letters: the original bytes untouched, the reason in headers, acknowledged by all replicas."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid5

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from soma_schemas.dead_letters import DeadLetterHeader, Stage
from soma_schemas.moments import of_millis
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topics import DEAD_LETTERS
from soma_streams.delivery.decode import Poison
from soma_streams.transport.records import Record

# uuid5(NAMESPACE_URL, "https://somafractalmemory.example/dead-letter"), fixed for ever.
_LETTER_NAMESPACE = UUID("831c69ce-6383-5fc8-a1f0-92c13efb9595")
_POLL_SECONDS = 0.05
_MESSAGE_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record and why it can never be applied.

    Attributes:
        attempts: How often it was tried.
        first_failed_at: UTC.
    """

    topic: str
    partition: int
    record: Record
    stage: Stage
    code: str
    message: str
    error_class: str
    attempts: int
    first_failed_at: datetime

    @classmethod
    def of(cls, poison: Poison, failed_at: datetime, attempts: int = 1) -> "DeadLetter":
        """Return the letter for a record that turned out to be poison."""
        return cls(
            topic=poison.topic,
            partition=poison.partition,
            record=poison.record,
            stage=poison.stage,
            code=poison.code,
            message=poison.message,
            error_class=poison.error_class,
            attempts=attempts,
            first_failed_at=failed_at,
        )


class DeadLetterWriter(Protocol):
    """Where dead letters go."""

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all replicas have every letter. Writing one twice is harmless: it keeps its id.

        Raises:
            KafkaException: The brokers did not take one; classified like any other failure.
        """
        ...


def letter_headers(
    letter: DeadLetter, *, group: str, epoch: int, application_version: str
) -> list[tuple[str, str | bytes | None]]:
    """Return the headers of a dead letter: the original's own, then ours.

    An older letter's headers on a replayed original are dropped: they told of another failure.
    """
    record = letter.record
    place = f"{group}/{letter.topic}/{epoch}/{letter.partition}/{record.offset}"
    ours: dict[DeadLetterHeader, str] = {
        DeadLetterHeader.ID: str(uuid5(_LETTER_NAMESPACE, place)),
        DeadLetterHeader.GROUP: group,
        DeadLetterHeader.TOPIC: letter.topic,
        DeadLetterHeader.PARTITION: str(letter.partition),
        DeadLetterHeader.OFFSET: str(record.offset),
        DeadLetterHeader.EPOCH: str(epoch),
        DeadLetterHeader.TIMESTAMP: of_millis(record.timestamp_ms).isoformat(),
        DeadLetterHeader.STAGE: letter.stage.value,
        DeadLetterHeader.ERROR_CLASS: letter.error_class,
        DeadLetterHeader.CODE: letter.code,
        DeadLetterHeader.MESSAGE: letter.message[:_MESSAGE_CHARACTERS],
        DeadLetterHeader.ATTEMPTS: str(letter.attempts),
        DeadLetterHeader.FIRST_FAILED_AT: letter.first_failed_at.isoformat(),
        DeadLetterHeader.APPLICATION_VERSION: application_version,
    }
    names = {header.value for header in ours}
    headers: list[tuple[str, str | bytes | None]] = [
        (name, value) for name, value in record.headers if name not in names
    ]
    headers.extend((header.value, text.encode()) for header, text in ours.items())
    return headers


class KafkaDeadLetterWriter:
    """Writes dead letters of one consumer group to the dead-letter topic.

    Args:
        group: The consumer group that gives up on the events.
        application_version: Of this platform, for the reader of the letter.
    """

    def __init__(
        self, kafka: KafkaSettings, topics: TopicSettings, *, group: str, application_version: str
    ) -> None:
        self._topic = DEAD_LETTERS.full_name(topics)
        self._group = group
        self._epoch = topics.epoch
        self._version = application_version
        self._producer = Producer(
            kafka.librdkafka()
            | {
                "client.id": f"{group}-dead-letters",
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "compression.type": "zstd",
                "linger.ms": 0,
                "message.max.bytes": int(DEAD_LETTERS.config(topics)["max.message.bytes"]),
                # Short, so that an outage is noticed and told here; the delivery tries again for ever.
                "delivery.timeout.ms": 10_000,
                "request.timeout.ms": 5_000,
            },
            logger=logging.getLogger("soma_streams.delivery.dead_letters"),
        )

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all replicas have every letter.

        Raises:
            KafkaException: The brokers did not take one.
        """
        await asyncio.to_thread(self._write, letters)

    def close(self) -> None:
        """Let go of the brokers; nothing is under way, because every write is awaited."""
        self._producer.flush(0)

    def _write(self, letters: Sequence[DeadLetter]) -> None:
        errors: list[KafkaError] = []
        delivered = 0

        def note(error: KafkaError | None, message: Message) -> None:
            nonlocal delivered
            del message
            if error is None:
                delivered += 1
            else:
                errors.append(error)

        for letter in letters:
            self._produce(letter, note)
        while delivered + len(errors) < len(letters):
            self._producer.poll(_POLL_SECONDS)
        if errors:
            raise KafkaException(errors[0])

    def _produce(self, letter: DeadLetter, note: "Noter") -> None:
        headers = letter_headers(
            letter, group=self._group, epoch=self._epoch, application_version=self._version
        )
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=letter.record.key,
                    value=letter.record.value,
                    headers=headers,
                    on_delivery=note,
                )
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
            else:
                return


class Noter(Protocol):
    """A delivery report's receiver."""

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Take notice of one delivery."""
        ...
