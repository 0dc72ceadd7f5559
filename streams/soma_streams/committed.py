"""What a consumer group has committed, which proves how far its sink had come, and how to commit for it."""

from collections.abc import Mapping

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from soma_schemas.admin_client import BrokerAdmin
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import broker_error
from soma_schemas.topics import MEMORY_EVENTS
from soma_streams.delivery.state import Watermark

_TIMEOUT_SECONDS = 10.0

log = structlog.get_logger(__name__)


def onlooker(kafka: KafkaSettings, group: str) -> Consumer:
    """Return a consumer that reads what a group has committed; the caller closes it.

    It never subscribes, so it joins nothing. The admin client's request for the same crashes the process
    (librdkafka 2.16, SIGSEGV in rd_kafka_cgrp_op) while the coordinator is being found.

    Args:
        kafka: The brokers.
        group: The group's name on the brokers.
    """
    return Consumer(kafka.librdkafka(silent=True) | {"group.id": group, "enable.auto.commit": False})


def committed_watermarks(kafka: KafkaSettings, topics: TopicSettings, group: SinkGroup) -> list[Watermark]:
    """Return a watermark for each partition of `memory.events` that the group has committed for.

    Offsets are committed after the sink has made an event durable, so a worker that died before it told its
    watermark can tell it at the next start; otherwise it would stay behind until the partition's next event.

    Raises:
        BrokerError: The brokers cannot be reached or refuse to tell.
        BrokerAccessError: They do not let this process in.
    """
    topic = MEMORY_EVENTS.full_name(topics)
    consumer = onlooker(kafka, group.on_brokers(topics))
    try:
        partitions = [TopicPartition(topic, partition) for partition in range(topics.partitions)]
        found = consumer.committed(partitions, timeout=_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise broker_error(error, kafka) from error
    finally:
        consumer.close()
    return [
        Watermark(group, topic, each.partition, topics.epoch, each.offset)
        for each in found
        if each.offset >= 0
    ]


def commit_offsets(kafka: KafkaSettings, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
    """Set from where a group goes on that nobody is in; the brokers refuse while somebody is.

    Args:
        kafka: The brokers.
        group: The group's name on the brokers.
        offsets: The next offset to read, by topic and partition.

    Raises:
        BrokerError: The brokers cannot be reached or refuse; part of them may be set.
    """
    consumer = onlooker(kafka, group)
    wanted = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
    try:
        done = consumer.commit(offsets=wanted, asynchronous=False)
    except KafkaException as error:
        raise broker_error(error) from error
    finally:
        consumer.close()
    if refused := next((each.error for each in done or [] if each.error is not None), None):
        raise broker_error(KafkaException(refused))


def delete_group(kafka: KafkaSettings, group: str) -> None:
    """Delete what a group has committed, that nobody is in; blocks for seconds.

    Where the brokers refuse, or do not answer, it stays until its offsets expire, and the log says so: lag is
    told of it until then.

    Args:
        kafka: The brokers.
        group: The group's name on the brokers.
    """
    try:
        with BrokerAdmin(kafka, "soma-groups", silent=True) as admin:
            asked = admin.delete_consumer_groups([group], request_timeout=_TIMEOUT_SECONDS)
            asked[group].result(timeout=_TIMEOUT_SECONDS)
    except (KafkaException, TimeoutError) as error:
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if not isinstance(cause, KafkaError) or cause.code() != KafkaError.GROUP_ID_NOT_FOUND:
            reason = cause.name() if isinstance(cause, KafkaError) else type(error).__name__
            log.warning("group_not_deleted", group=group, reason=reason)
