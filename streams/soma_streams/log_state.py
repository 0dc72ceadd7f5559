"""What the brokers tell of a log: which one it is, and where its partitions begin and end."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from soma_schemas.admin_client import EARLIEST, LATEST
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import broker_error, described_topic, open_admin
from soma_schemas.topics import MEMORY_EVENTS, Topic
from soma_schemas.vectors.progress import LogIdentity

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LogState:
    """A log, by partition.

    Attributes:
        starts: The first offset that it still has.
        ends: The next offset that it will have.
    """

    identity: LogIdentity
    starts: Mapping[int, int]
    ends: Mapping[int, int]


def log_state(kafka: KafkaSettings, topics: TopicSettings, topic: Topic = MEMORY_EVENTS) -> LogState:
    """Return how a topic is; blocks.

    Raises:
        BrokerError: The brokers cannot be reached or refuse to tell.
    """
    name = topic.full_name(topics)
    with open_admin(kafka) as admin:
        described = described_topic(admin, name)
        partitions = [TopicPartition(name, number) for number in range(len(described.partitions))]
        return LogState(
            LogIdentity(str(described.topic_id), topic.epoch(topics)),
            _offsets(admin, partitions, EARLIEST),
            _offsets(admin, partitions, LATEST),
        )


def _offsets(admin: AdminClient, partitions: list[TopicPartition], which: OffsetSpec) -> dict[int, int]:
    try:
        asked: dict[TopicPartition, Future[Any]] = admin.list_offsets(
            dict.fromkeys(partitions, which), request_timeout=_TIMEOUT_SECONDS
        )
        return {
            place.partition: answer.result(2 * _TIMEOUT_SECONDS).offset for place, answer in asked.items()
        }
    except KafkaException as error:
        raise broker_error(error) from error
