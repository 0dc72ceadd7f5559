"""Reads what lies on the log and in the dead-letter topic, and the schemas that it was written under."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

RELEASED = Path(__file__).parents[2] / "schemas" / "soma_schemas" / "avro"
EVENTS_TOPIC = "memory.events"
LETTERS_TOPIC = "memory.events.dlq"

_QUIET_SECONDS = 30.0
# Called so, because a specialized call does not notice that the client failed, and the next one raises.
_HEADERS = methodcaller("headers")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_LOGGED = datetime(2000, 1, 1, tzinfo=UTC)
LAST_LOGGED = datetime(2199, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)

Place = tuple[int, int]
"""Partition and offset of a record."""


class Record(NamedTuple):
    """A record as a plain consumer gets it."""

    place: Place
    logged_at: datetime
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def schema_id(self) -> int | None:
        """The schema that the value names; None when it names none."""
        value = self.value
        if value is None or len(value) < 5 or value[0] != 0:
            return None
        return int.from_bytes(value[1:5], "big")


class Topic(NamedTuple):
    """A topic as it is now."""

    records: list[Record]
    ends: dict[int, int]


def read_ends(brokers: str, name: str) -> dict[int, int]:
    """Return where each partition of a topic ends now."""
    consumer = _consumer(brokers)
    try:
        return _ends(consumer, name)
    finally:
        consumer.close()


def read_topic(brokers: str, name: str) -> Topic:
    """Return every committed record of a topic, in the order of each partition, and where it ends now."""
    consumer = _consumer(brokers)
    try:
        ends = _ends(consumer, name)
        consumer.assign([TopicPartition(name, each, OFFSET_BEGINNING) for each in ends])
        records: list[Record] = []
        reading = set(ends)
        while reading:
            message = consumer.poll(_QUIET_SECONDS)
            assert message is not None, f"partitions {sorted(reading)} of {name} say nothing"
            error = message.error()
            if error is None:
                records.append(_record(message))
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                reading.discard(message.partition())
    finally:
        consumer.close()
    return Topic(sorted(records), ends)


def _consumer(brokers: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "judge",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )


def _ends(consumer: Consumer, name: str) -> dict[int, int]:
    partitions = consumer.list_topics(name, timeout=_QUIET_SECONDS).topics[name].partitions
    return {
        each: consumer.get_watermark_offsets(TopicPartition(name, each), timeout=_QUIET_SECONDS)[1]
        for each in partitions
    }


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    try:
        headers = cast("list[tuple[str, bytes | None]]", _HEADERS(message) or [])
    except SystemError:
        headers = []  # a name that is not UTF-8, which the client does not show
    return Record(
        (partition, offset),
        when_logged(message.timestamp()[1]),
        message.key(),
        message.value(),
        tuple(headers),
    )


def when_logged(milliseconds: int) -> datetime:
    """Return when a record was logged, moved to where that can be."""
    return min(max(of_millis(milliseconds), FIRST_LOGGED), LAST_LOGGED)


def of_millis(milliseconds: int) -> datetime:
    """Return the time that the log's milliseconds mean.

    Raises:
        OverflowError: No datetime is so far away.
    """
    return _EPOCH + timedelta(milliseconds=milliseconds)


def released_schemas() -> dict[str, list[Any]]:
    """Return the released schemas of each record as JSON, oldest first, as they lie in the tree."""
    return {
        folder.name: [
            json.loads((folder / f"{number}.avsc").read_text())
            for number in sorted(int(file.stem) for file in folder.glob("*.avsc"))
        ]
        for folder in RELEASED.iterdir()
        if folder.is_dir()
    }


def registered_schemas(registry: str, records: Iterable[Record]) -> dict[int, Any]:
    """Return by id what the registry has of the schemas that records name; JSON where it is JSON."""
    found: dict[int, Any] = {}
    with httpx.Client(base_url=registry, trust_env=False, timeout=_QUIET_SECONDS) as client:
        for schema_id in {each.schema_id for each in records} - {None}:
            answer = client.get(f"/schemas/ids/{schema_id}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                continue
            answer.raise_for_status()
            assert schema_id is not None
            try:
                found[schema_id] = json.loads(answer.json()["schema"])
            except ValueError:
                found[schema_id] = answer.json()["schema"]
    return found
