"""The names of aiokafka that the transport uses: it ships no types, so they enter here and nowhere else."""

from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]  # see above
from aiokafka.coordinator.assignors.roundrobin import (  # type: ignore[import-untyped]  # see above
    RoundRobinPartitionAssignor,
)
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
]
