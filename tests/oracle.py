"""The judge: reads the whole log, folds it in memory, and says what both stores must hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from builders import WRITER_SCHEMAS
from soma_schemas.events import SINK_EVENTS
from soma_schemas.registry import open_registry
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_streams.delivery.decode import Decoder, WriterSchema, schema_ids
from soma_streams.delivery.fold import fold
from soma_streams.delivery.state import KnownState, MemoryName, MemoryState
from soma_streams.transport.records import Record, RecordBatch, TimestampType

_QUIET_SECONDS = 10.0


@dataclass(frozen=True)
class Expected:
    """What the log says.

    Attributes:
        events: How many records it holds.
        states: The last state of every memory, tombstones included.
        poison: The records that can never be applied, by partition and offset.
    """

    events: int
    states: Mapping[MemoryName, MemoryState]
    poison: frozenset[tuple[int, int]]


def read_log(settings: PublishingSettings) -> dict[int, list[Record]]:
    """Return every record of `memory.events` by partition, up to where each ends now."""
    topic = MEMORY_EVENTS.full_name(settings.topics)
    consumer = Consumer(settings.kafka.librdkafka() | {"group.id": "oracle", "enable.auto.commit": False})
    try:
        partitions = range(settings.topics.partitions)
        ends = {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]
            for partition in partitions
        }
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        records: dict[int, list[Record]] = {partition: [] for partition in partitions}
        missing = sum(ends.values())
        while missing:
            found = consumer.consume(min(missing, 5000), timeout=_QUIET_SECONDS)
            assert found, f"{missing} records of the log did not come"
            for message in found:
                partition, offset = message.partition(), message.offset()
                assert message.error() is None
                assert partition is not None
                assert offset is not None
                records[partition].append(
                    Record(
                        offset,
                        message.timestamp()[1],
                        TimestampType.LOG_APPEND_TIME,
                        message.key(),
                        message.value(),
                        _headers(message.headers()),
                    )
                )
                missing -= 1
    finally:
        consumer.close()
    return records


def _headers(headers: object) -> tuple[tuple[str, bytes | None], ...]:
    return tuple(headers) if isinstance(headers, list) else ()


def expected_of(settings: PublishingSettings) -> Expected:
    """Return what the stores must hold once they have caught up with the log as it is now."""
    decoder = Decoder(SINK_EVENTS, settings.limits, settings.topics.epoch)
    log = read_log(settings)
    schemas = _schemas(settings, log)
    states: dict[MemoryName, KnownState] = {}
    poison: set[tuple[int, int]] = set()
    for partition, records in log.items():
        for batch in _batches(partition, records):
            decoded = decoder.decode(batch, schemas)
            poison |= {(each.partition, each.record.offset) for each in decoded.poison}
            states |= {state.name: state for state in fold(decoded.events, states).states}
    whole = {name: state for name, state in states.items() if isinstance(state, MemoryState)}
    assert len(whole) == len(states)
    return Expected(sum(map(len, log.values())), whole, frozenset(poison))


def _batches(partition: int, records: list[Record]) -> Iterator[RecordBatch]:
    for start in range(0, len(records), 1000):
        yield RecordBatch.of(("memory.events", partition), records[start : start + 1000])


def _schemas(settings: PublishingSettings, log: Mapping[int, list[Record]]) -> dict[int, WriterSchema]:
    by_name = {schema.record: schema for schema in WRITER_SCHEMAS.values()}
    found: dict[int, WriterSchema] = {}
    with open_registry(settings.registry) as registry:
        for schema_id in schema_ids(record for records in log.values() for record in records):
            text = registry.get_schema(schema_id).schema_str or ""
            found[schema_id] = next(schema for name, schema in by_name.items() if f'"{name}"' in text)
    return found
