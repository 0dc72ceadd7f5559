"""Write dead letters: the original bytes untouched, the reason in headers, acknowledged by all replicas.

A letter that the brokers refuse as it is, is written without what made it too large: a record that cannot be
applied must not stop the log because it cannot be copied either.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol
from uuid import UUID, uuid5

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from soma_schemas.dead_letters import DEAD_LETTER_HEADERS, OMITTED_HEADER, DeadLetterHeader, Omitted, Stage
from soma_schemas.moments import of_timestamp
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topics import DEAD_LETTERS
from soma_streams.delivery.decode import Poison
from soma_streams.delivery.failures import RECORD_REFUSALS
from soma_streams.transport.records import Record, Unreadable

# uuid5(NAMESPACE_URL, "https://somafractalmemory.example/dead-letter"), fixed for ever.
_LETTER_NAMESPACE = UUID("831c69ce-6383-5fc8-a1f0-92c13efb9595")
_POLL_SECONDS = 0.05
_MESSAGE_CHARACTERS = 1000
# The most that the client allows.
MOST_CLIENT_BYTES = 1_000_000_000
# Of a letter that is refused as it is. Far below what any topic takes.
_KEPT_KEY_BYTES = 4 * 1024
_KEPT_HEADER_BYTES = 32 * 1024
_BYTES_A_HEADER = 8


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


Headers = list[tuple[str, str | bytes | None]]


@dataclass(frozen=True, slots=True)
class Copy:
    """What a letter keeps of its original.

    Attributes:
        omitted: What it does not keep.
    """

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    omitted: frozenset[Omitted]


def whole_copy(record: Record) -> Copy:
    """Return all that was read of a record."""
    omitted = set()
    value = record.value
    if isinstance(value, Unreadable):
        value = None
        omitted |= {Omitted.VALUE, Omitted.HEADERS} | ({Omitted.KEY} if record.key is None else set())
    headers = [(_as_text(name), held) for name, held in record.headers]
    if any(name != original for (name, _), (original, _) in zip(headers, record.headers, strict=True)):
        omitted.add(Omitted.HEADER_NAMES)
    return Copy(record.key, value, headers, frozenset(omitted))


def reduced_copy(record: Record) -> Copy:
    """Return what fits into a letter in any case: the key if it is short, and the first headers."""
    whole = whole_copy(record)
    key, omitted = whole.key, set(whole.omitted)
    if whole.value is not None:
        omitted.add(Omitted.VALUE)
    if key is not None and len(key) > _KEPT_KEY_BYTES:
        key = None
        omitted.add(Omitted.KEY)
    kept = []
    left = _KEPT_HEADER_BYTES
    for name, value in whole.headers:
        left -= _BYTES_A_HEADER + len(name.encode()) + len(value or b"")
        if left < 0:
            omitted.add(Omitted.HEADERS)
            break
        kept.append((name, value))
    return Copy(key, None, kept, frozenset(omitted))


def _as_text(name: str) -> str:
    """Return a header's name as the client can write it; it would end the process, or cut the name off."""
    raw = name.encode(errors="surrogateescape")
    return raw.decode(errors="backslashreplace").replace("\0", "\\x00")


def dead_letter_headers(
    letter: DeadLetter, copy: Copy, *, group: str, epoch: int, application_version: str
) -> Headers:
    """Return the headers of a dead letter: those of the original that it keeps, then ours.

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
        DeadLetterHeader.TIMESTAMP: of_timestamp(record.timestamp_ms).isoformat(),
        DeadLetterHeader.STAGE: letter.stage.value,
        DeadLetterHeader.ERROR_CLASS: letter.error_class,
        DeadLetterHeader.CODE: letter.code,
        DeadLetterHeader.MESSAGE: _message(letter, copy),
        DeadLetterHeader.ATTEMPTS: str(letter.attempts),
        DeadLetterHeader.FIRST_FAILED_AT: letter.first_failed_at.isoformat(),
        DeadLetterHeader.APPLICATION_VERSION: application_version,
    }
    headers: Headers = [(name, value) for name, value in copy.headers if name not in DEAD_LETTER_HEADERS]
    headers.extend((header.value, text.encode()) for header, text in ours.items())
    if copy.omitted:
        headers.append((OMITTED_HEADER, ",".join(sorted(copy.omitted)).encode()))
    return headers


def _message(letter: DeadLetter, copy: Copy) -> str:
    missing = ", ".join(sorted(copy.omitted - {Omitted.HEADER_NAMES}))
    note = f"; not in the letter but in the log, while it is kept there: {missing}" if missing else ""
    return letter.message[: _MESSAGE_CHARACTERS - len(note)] + note


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
                # Before compression; the brokers judge what is left after it.
                "message.max.bytes": MOST_CLIENT_BYTES,
                # Short, so that an outage is noticed and told here; the delivery tries again for ever.
                "delivery.timeout.ms": 10_000,
                "request.timeout.ms": 5_000,
            },
            logger=logging.getLogger("soma_streams.delivery.dead_letters"),
        )
        self._in_use = threading.Lock()

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all replicas have every letter, as it is or without what they refuse.

        Raises:
            KafkaException: The brokers did not take one.
        """
        await asyncio.to_thread(self._write, letters)

    def close(self) -> None:
        """Let go of the brokers without waiting: a write that was cancelled comes to its end before."""
        # In a thread of its own: to let go of a client while its brokers are away can take for ever.
        threading.Thread(target=self._let_go, name="soma-dead-letters-former", daemon=True).start()

    def _let_go(self) -> None:
        with self._in_use, suppress(KafkaException):
            self._producer.close()

    def _write(self, letters: Sequence[DeadLetter]) -> None:
        with self._in_use:
            self._write_each(letters)

    def _write_each(self, letters: Sequence[DeadLetter]) -> None:
        whole = [(letter, whole_copy(letter.record)) for letter in letters]
        for number in self._refused(whole):
            letter, copy = whole[number]
            # Alone, because a batch is refused as a whole; only then without what may be too much.
            if self._refused([(letter, copy)]):
                refused = self._refused([(letter, reduced_copy(letter.record))])
                if refused:
                    raise KafkaException(refused[0])

    def _refused(self, letters: Sequence[tuple[DeadLetter, Copy]]) -> dict[int, KafkaError]:
        """Write letters and return those that the brokers refuse for what they are, by their number.

        Raises:
            KafkaException: Something else went wrong.
        """
        answers: dict[int, KafkaError | None] = {}
        for number, (letter, copy) in enumerate(letters):
            self._produce(letter, copy, partial(answers.__setitem__, number))
        while len(answers) < len(letters):
            self._producer.poll(_POLL_SECONDS)
        errors = {number: error for number, error in answers.items() if error is not None}
        for error in errors.values():
            if error.code() not in RECORD_REFUSALS:
                raise KafkaException(error)
        return errors

    def _produce(self, letter: DeadLetter, copy: Copy, note: Callable[[KafkaError | None], None]) -> None:
        headers = dead_letter_headers(
            letter, copy, group=self._group, epoch=self._epoch, application_version=self._version
        )

        def delivered(error: KafkaError | None, message: Message) -> None:
            del message
            note(error)

        while True:
            try:
                self._producer.produce(
                    self._topic, key=copy.key, value=copy.value, headers=headers, on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                note(error.args[0])
                return
            else:
                return
