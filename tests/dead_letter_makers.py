"""Makes what becomes dead letters: written with a plain Kafka client, because no producer of ours would."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import fastavro
from confluent_kafka import Producer, TopicPartition

from builders import A_TENANT, stored
from soma_schemas.avro_schemas import latest
from soma_schemas.events import MemoryEvent, SealedEvent
from soma_schemas.registry import EventSerializer, open_registry
from soma_schemas.settings import PublishingSettings
from soma_schemas.topic_admin import open_admin
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.embedders import PACKAGED_MODEL
from soma_schemas.versions import Position

_NOTHING: Mapping[str, Any] = MappingProxyType({})
UNKNOWN_SCHEMA_ID = 2**31 - 2


@dataclass(frozen=True)
class Raw:
    """A record as it is sent."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class RawLog:
    """`memory.events`, written byte by byte."""

    def __init__(self, settings: PublishingSettings) -> None:
        self._topic = MEMORY_EVENTS.full_name(settings.topics)
        self._settings = settings

    def send(
        self, records: Sequence[Raw], partition: int | None = None, config: Mapping[str, Any] = _NOTHING
    ) -> list[Position]:
        """Write records in order and return where they lie; the client is set up with `config` besides."""
        producer = Producer(
            self._settings.kafka.librdkafka() | {"partitioner": "murmur2_random"} | dict(config)
        )
        found: dict[int, Position] = {}

        def note(number: int, error: object, message: Any) -> None:
            assert error is None, error
            found[number] = Position(message.partition(), message.offset())

        for number, record in enumerate(records):
            producer.produce(
                self._topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                partition=-1 if partition is None else partition,
                on_delivery=partial(note, number),
            )
        producer.flush()
        return [found[number] for number in range(len(records))]

    def forget(self, position: Position) -> None:
        """Have the log drop everything up to a place, as its retention does."""
        admin = open_admin(self._settings.kafka)
        place = TopicPartition(self._topic, position.partition, position.offset + 1)
        for done in admin.delete_records([place]).values():
            done.result(20)

    def encoded(self, event: MemoryEvent | SealedEvent, **changes: Any) -> bytes:
        """Return an event in wire format; changed fields are not held to the contract, only to the schema."""
        with open_registry(self._settings.registry) as registry:
            value = EventSerializer(registry).serialize(event, self._topic)
        if not changes:
            return value
        body = io.BytesIO()
        schema = fastavro.parse_schema(latest(type(event).__name__).parsed())
        fastavro.schemaless_writer(body, schema, event.model_dump() | changes)
        return value[:5] + body.getvalue()

    def an_event(self, event: MemoryEvent) -> Raw:
        """Return a good event."""
        return Raw(event.log_key(), self.encoded(event))

    def poison(self, code: str, number: int, tenant: str = A_TENANT) -> Raw:
        """Return a record that fails with this code; another number is another memory."""
        event = stored(tenant=tenant, key=f"{code}-{number}", text=f"poison {code} {number}")
        match code:
            case "not_wire_format":
                plain = json.dumps({"namespace": event.namespace, "key": event.key, "text": event.text})
                return Raw(event.log_key(), plain.encode())
            case "unknown_schema_id":
                value = self.encoded(event)
                return Raw(event.log_key(), value[:1] + UNKNOWN_SCHEMA_ID.to_bytes(4, "big") + value[5:])
            case "avro":
                return Raw(event.log_key(), self.encoded(event)[:-3])
            case "key_mismatch":
                return Raw(f"{tenant}/somebody".encode(), self.encoded(event))
            case "out_of_range":
                return Raw(event.log_key(), self.encoded(event, importance=7.0))
            case "embedding_dimensions":
                event = stored(
                    tenant=tenant,
                    key=f"{code}-{number}",
                    text=f"poison {code} {number}",
                    embedding=[0.5, 0.5],
                    embedding_model=PACKAGED_MODEL,
                )
                return self.an_event(event)
            case _:
                raise ValueError(f"no way is known to make {code}")


def handover_settings(environment: Mapping[str, str]) -> PublishingSettings:
    """Return the settings that a local stack's client_file names, for a producer."""
    parts: dict[str, dict[str, str]] = {"kafka": {}, "registry": {}}
    for name, value in environment.items():
        part, _, field = name.removeprefix("SOMA_").lower().partition("__")
        if part in parts:
            parts[part][field] = value
    return PublishingSettings.model_validate(parts)
