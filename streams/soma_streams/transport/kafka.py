"""What is taken from aiokafka, which ships no types: its names and records enter here and nowhere else."""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]  # see above
from aiokafka.coordinator.assignors.roundrobin import (  # type: ignore[import-untyped]  # see above
    RoundRobinPartitionAssignor,
)
from aiokafka.coordinator.protocol import ConsumerProtocol  # type: ignore[import-untyped]  # see above
from aiokafka.errors import (  # type: ignore[import-untyped]  # see above
    ConsumerStoppedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import (  # type: ignore[import-untyped]  # see above
    ConsumerRecord,
    OffsetAndMetadata,
)
from aiokafka.structs import TopicPartition as KafkaPartition

from .records import Record, TimestampType

__all__ = [
    "AIOKafkaConsumer",
    "ConsumerRecord",
    "ConsumerStoppedError",
    "IllegalGenerationError",
    "KafkaError",
    "KafkaPartition",
    "OffsetAndMetadata",
    "RebalanceInProgressError",
    "RoundRobinPartitionAssignor",
    "UnknownMemberIdError",
    "assigned_topics",
    "size_bytes",
    "to_records",
]

_TIMESTAMP_TYPES = (TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME)


def to_records(drained: Iterable[ConsumerRecord]) -> tuple[Record, ...]:
    """Convert what was drained."""
    # Inline: a call per record would show in the throughput of the loop.
    return tuple(
        [
            Record(
                record.offset,
                record.timestamp,
                _TIMESTAMP_TYPES[record.timestamp_type],
                record.key,
                record.value,
                record.headers,
            )
            for record in drained
        ]
    )


def assigned_topics(assignment: bytes) -> set[str]:
    """Return the topics that an assignment has partitions of."""
    return {topic for topic, _ in ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions()}


def size_bytes(drained: Iterable[ConsumerRecord]) -> int:
    """Weigh records; aiokafka knows the lengths of keys and values, -1 for those that are None."""
    size = 0
    for record in drained:
        if record.serialized_key_size > 0:
            size += record.serialized_key_size
        if record.serialized_value_size > 0:
            size += record.serialized_value_size
        for name, value in record.headers:
            size += len(name) + len(value or b"")
    return size
