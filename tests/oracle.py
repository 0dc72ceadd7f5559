"""The judge: reads the whole log, folds it event by event in memory, and says what both stores must hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError

from builders import WRITER_SCHEMAS
from soma_schemas.dead_letters import DeadLetterHeader
from soma_schemas.events import SINK_EVENTS, MemoryLinked, MemoryUnlinked
from soma_schemas.groups import SinkGroup
from soma_schemas.limits import Limits
from soma_schemas.registry import open_registry
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS, Topic
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL
from soma_schemas.versions import pack_version
from soma_streams.delivery.decode import Decoder, Poison, schema_ids
from soma_streams.delivery.fold import fold
from soma_streams.delivery.settle import write_code
from soma_streams.delivery.state import (
    Content,
    KnownState,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Outcome,
    SupersededReason,
)
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.errors import PoisonError
from soma_streams.sinks.vectors.errors import EmbeddingDimensionsError
from soma_streams.transport.records import Record, RecordBatch, TimestampType

_QUIET_SECONDS = 10.0

Place = tuple[int, int]
"""Partition and offset of a record."""
Edge = tuple[str, UUID, str, UUID]
"""Tenant, from, link type, to."""


@dataclass
class Model:
    """What one sink makes of the log, one event at a time.

    Attributes:
        states: The last state of every memory, tombstones included.
        letters: The code of every record that can never be applied.
        outcomes: What became of every record, and why it was superseded.
        links: The version and the weight of every edge; a weight of None ends it.
    """

    group: SinkGroup
    limits: Limits
    states: dict[MemoryName, MemoryState] = field(default_factory=dict)
    letters: dict[Place, str] = field(default_factory=dict)
    outcomes: dict[Place, tuple[Outcome, SupersededReason | None]] = field(default_factory=dict)
    links: dict[Edge, tuple[int, float | None]] = field(default_factory=dict)
    _ended: dict[MemoryName, int] = field(default_factory=dict)

    @property
    def living_links(self) -> dict[Edge, float]:
        """The edges that a reader sees: not ended, nor older than the end of the memory they begin at."""
        return {
            edge: weight
            for edge, (version, weight) in self.links.items()
            if weight is not None and version >= self._ended.get(MemoryName(edge[0], edge[1]), 0)
        }

    def apply(self, item: LoggedEvent | Poison) -> None:
        """Take the next record of a partition."""
        if isinstance(item, Poison):
            self._bury((item.partition, item.record.offset), item.code)
            return
        place = (item.position.partition, item.position.offset)
        current: dict[MemoryName, KnownState] = {}
        if item.name in self.states:
            current[item.name] = self.states[item.name]
        try:
            folded = fold([item], current, self.limits)
            for state in folded.states:
                self._require_indexable(state.content)
        except PoisonError as error:
            self._bury(place, write_code(error))
            return
        (settlement,) = folded.settlements
        self.outcomes[place] = (settlement.outcome, settlement.reason)
        for state in folded.states:
            assert isinstance(state, MemoryState)
            self.states[state.name] = state
            if state.content is None:
                self._ended[state.name] = state.version
        event = item.event
        if settlement.outcome is Outcome.APPLIED and isinstance(event, MemoryLinked | MemoryUnlinked):
            edge = (event.tenant, event.memory_id, event.link_type, event.to_memory_id)
            self.links[edge] = (item.version, event.weight if isinstance(event, MemoryLinked) else None)

    def _require_indexable(self, content: Content | None) -> None:
        if (
            self.group is SinkGroup.VECTORS
            and content is not None
            and content.embedding is not None
            and content.embedding_model == PACKAGED_MODEL
            and len(content.embedding) != PACKAGED_DIMENSIONS
        ):
            raise EmbeddingDimensionsError("not of the model's size")

    def _bury(self, place: Place, code: str) -> None:
        self.letters[place] = code
        self.outcomes[place] = (Outcome.DEAD_LETTERED, None)


@dataclass(frozen=True)
class Expected:
    """What the log says.

    Attributes:
        events: How many records it holds.
        ends: Where each partition ends.
        postgres: What the tables must hold.
        vectors: What the index must hold.
    """

    events: int
    ends: Mapping[int, int]
    postgres: Model
    vectors: Model


def expected_of(settings: PublishingSettings) -> Expected:
    """Return what the stores must hold once they have caught up with the log as it is now."""
    decoder = Decoder(SINK_EVENTS, settings.limits, settings.topics.epoch)
    log = read_topic(settings, MEMORY_EVENTS)
    with open_registry(settings.registry) as registry:
        schemas = _schemas(registry, log)
    postgres = Model(SinkGroup.POSTGRES, settings.limits)
    vectors = Model(SinkGroup.VECTORS, settings.limits)
    for partition, records in log.items():
        for batch in _batches(partition, records):
            for item in decoder.decode(batch, schemas).items:
                postgres.apply(item)
                vectors.apply(item)
    ends = {partition: records[-1].offset + 1 if records else 0 for partition, records in log.items()}
    return Expected(sum(map(len, log.values())), ends, postgres, vectors)


@dataclass(frozen=True)
class Letter:
    """A record of the dead-letter topic, as far as it is to be judged."""

    id: str
    place: Place
    code: str
    original: tuple[bytes | None, bytes | None]


def read_letters(settings: PublishingSettings) -> dict[str, list[Letter]]:
    """Return every dead letter by the group that gave up."""
    letters: dict[str, list[Letter]] = {}
    for records in read_topic(settings, DEAD_LETTERS).values():
        for record in records:
            headers = {name: (value or b"").decode() for name, value in record.headers}
            place = (int(headers[DeadLetterHeader.PARTITION]), int(headers[DeadLetterHeader.OFFSET]))
            letter = Letter(
                headers[DeadLetterHeader.ID],
                place,
                headers[DeadLetterHeader.CODE],
                (record.key, record.value),
            )
            letters.setdefault(headers[DeadLetterHeader.GROUP], []).append(letter)
    return letters


def version_of(settings: PublishingSettings, place: Place) -> Place:
    """Return the partition and the version under which a store keeps what lies at a place of the log."""
    return place[0], pack_version(settings.topics.epoch, place[1])


def read_ends(settings: PublishingSettings, declared: Topic) -> dict[int, int]:
    """Return where each partition of a topic ends now."""
    topic = declared.full_name(settings.topics)
    consumer = Consumer(settings.kafka.librdkafka() | {"group.id": "oracle", "enable.auto.commit": False})
    try:
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]
            for partition in range(declared.partitions(settings.topics))
        }
    finally:
        consumer.close()


def read_topic(settings: PublishingSettings, declared: Topic) -> dict[int, list[Record]]:
    """Return every record of a topic by partition, up to where each ends now."""
    topic = declared.full_name(settings.topics)
    ends = read_ends(settings, declared)
    records: dict[int, list[Record]] = {partition: [] for partition in ends}
    consumer = Consumer(settings.kafka.librdkafka() | {"group.id": "oracle", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
        missing = sum(ends.values())
        while missing:
            found = consumer.consume(min(missing, 5000), timeout=_QUIET_SECONDS)
            assert found, f"{missing} records of {topic} did not come"
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


def _batches(partition: int, records: list[Record]) -> Iterator[RecordBatch]:
    for start in range(0, len(records), 1000):
        yield RecordBatch.of(("memory.events", partition), records[start : start + 1000])


def _schemas(registry: SchemaRegistryClient, log: Mapping[int, list[Record]]) -> dict[int, WriterSchema]:
    by_name = {schema.record: schema for schema in WRITER_SCHEMAS.values()}
    found: dict[int, WriterSchema] = {}
    for schema_id in schema_ids(record for records in log.values() for record in records):
        try:
            text = registry.get_schema(schema_id).schema_str or ""
        except SchemaRegistryError:
            continue  # nobody knows it: its records are poison
        found[schema_id] = next(schema for name, schema in by_name.items() if f'"{name}"' in text)
    return found
