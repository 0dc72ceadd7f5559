"""Publishes originals again: key, value and headers untouched, with the place that they had first."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from soma_schemas.dead_letters import (
    DEAD_LETTER_HEADERS,
    REPLAY_EPOCH_HEADER,
    REPLAY_GROUP_HEADER,
    REPLAY_OFFSET_HEADER,
    REPLAY_PARTITION_HEADER,
    REPLAY_TIMESTAMP_HEADER,
)
from soma_schemas.log_epochs import says_closed
from soma_schemas.moments import millis
from soma_schemas.producer import LogClosedError
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import broker_error
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.versions import Position, pack_version
from soma_streams.delivery.dead_letters import MOST_CLIENT_BYTES
from soma_streams.delivery.failures import RECORD_REFUSALS
from soma_streams.delivery.first_place import FirstPlace, first_place
from soma_streams.replay.stored_dead_letters import StoredDeadLetter, place_of
from soma_streams.transport.records import Record

_POLL_SECONDS = 0.05
_DELIVERY_MILLISECONDS = 30_000

Headers = tuple[tuple[str, bytes | None], ...]


class Refusal(StrEnum):
    """Why the brokers do not take an event that they once had."""

    TOO_LARGE = "too_large"  # with the headers that tell its place it is beyond the topic's limit
    REFUSED = "refused"  # for anything else that it is


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An original as it is published again.

    Attributes:
        partition: Where its key's other events are; None lets the key decide.
        version: What it had and keeps.
        logged_at: When the log received it first, UTC; a sink files it there.
    """

    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    version: int
    logged_at: datetime


def original_headers(record: Record) -> Headers:
    """Return the headers that a record had before it became a dead letter."""
    return tuple((name, value) for name, value in record.headers if name not in DEAD_LETTER_HEADERS)


def outgoing(dead_letter: StoredDeadLetter, record: Record, topics: TopicSettings) -> Outgoing:
    """Return the original of a dead letter as it is published again.

    One that was replayed before and failed again keeps the place that it had at the very first.

    Args:
        dead_letter: Names the place.
        record: As the dead-letter topic has it.
        topics: As they are now.

    Raises:
        ValueError: The dead letter does not say where the original lay.
    """
    place = place_of(dead_letter)
    if dead_letter.logged_at is None:
        raise ValueError("the dead letter does not say when the log received its event")
    headers = original_headers(record)
    first = first_place(headers)
    if first is None:
        ours = {
            REPLAY_PARTITION_HEADER: str(place.partition),
            REPLAY_OFFSET_HEADER: str(place.log_offset),
            REPLAY_EPOCH_HEADER: str(place.epoch),
            REPLAY_TIMESTAMP_HEADER: str(millis(dead_letter.logged_at)),
            REPLAY_GROUP_HEADER: dead_letter.consumer_group or "",
        }
        headers += tuple((name, text.encode()) for name, text in ours.items())
        first = FirstPlace(
            place.log_offset, pack_version(place.epoch, place.log_offset), dead_letter.logged_at
        )
    # After a repartitioning the key's events are where the key leads now; before, they stay together there.
    same_layout = place.epoch == topics.epoch and place.partition < topics.partitions
    return Outgoing(
        partition=place.partition if same_layout else None,
        key=record.key,
        value=record.value,
        headers=headers,
        version=first.version,
        logged_at=first.logged_at,
    )


class Republisher:
    """Writes to `memory.events`, acknowledged by all replicas. Close it when done.

    Args:
        kafka: The brokers.
        topics: Names the topic.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        self._topics = topics
        self._topic = MEMORY_EVENTS.full_name(topics)
        self._producer = Producer(
            kafka.librdkafka(silent=True)
            | {
                "client.id": "soma-replay",
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "compression.type": "zstd",
                "linger.ms": 0,
                # Whatever the dead-letter topic held is offered; the brokers say what is too large.
                "message.max.bytes": MOST_CLIENT_BYTES,
                "delivery.timeout.ms": _DELIVERY_MILLISECONDS,
            },
            logger=logging.getLogger("soma_streams.replay"),
        )

    async def publish(self, events: Sequence[Outgoing]) -> list[Position | Refusal]:
        """Return when all replicas have every event that the brokers take, in the order given.

        Raises:
            BrokerError: The brokers do not answer, or let nobody write; some may have been written.
            LogClosedError: The log is being migrated; some may have been written.
        """
        return await asyncio.to_thread(self._publish, events)

    def close(self) -> None:
        """Let go of the brokers; nothing is under way, because every event is awaited."""
        self._producer.flush(0)

    def _publish(self, events: Sequence[Outgoing]) -> list[Position | Refusal]:
        answers: dict[int, _Told] = {}
        for number, event in enumerate(events):
            self._produce(number, event, answers)
        while len(answers) < len(events):
            self._producer.poll(_POLL_SECONDS)
        settled: list[Position | Refusal] = []
        for number in range(len(events)):
            answer = answers[number]
            if isinstance(answer, KafkaError):
                raise broker_error(KafkaException(answer))
            if isinstance(answer, LogClosedError):
                raise answer
            settled.append(answer)
        return settled

    def _produce(self, number: int, event: Outgoing, answers: "dict[int, _Told]") -> None:
        def note(error: KafkaError | None, message: Message) -> None:
            if error is not None and says_closed(error, message, self._topics):
                answers[number] = LogClosedError("the log takes no events at the moment")
            else:
                answers[number] = _answer(error, message, self._topics.epoch)

        # The client takes -1 for "the key decides".
        partition = -1 if event.partition is None else event.partition
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=event.key,
                    value=event.value,
                    headers=list(event.headers),
                    partition=partition,
                    on_delivery=note,
                )
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                answers[number] = _refusal(error.args[0])
                return
            else:
                return


_Told = Position | Refusal | KafkaError | LogClosedError


def _answer(error: KafkaError | None, message: Message, epoch: int) -> Position | Refusal | KafkaError:
    if error is not None:
        return _refusal(error)
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        return KafkaError(KafkaError._BAD_MSG, "acknowledged without a position")  # noqa: SLF001  # librdkafka's own codes are spelt so
    return Position(partition, offset, epoch)


def _refusal(error: KafkaError) -> Refusal | KafkaError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return Refusal.TOO_LARGE
    return Refusal.REFUSED if error.code() in RECORD_REFUSALS else error
