"""Until when the brokers keep what they have now, by their own configuration."""

from collections.abc import Sequence
from datetime import timedelta

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import BrokerError, broker_error, open_admin
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS, MEMORY_EXPIRED
from soma_streams.erasure.receipts import Copy

_TIMEOUT_SECONDS = 10.0
# A segment goes when its newest record is too old, and takes records for a time of its own before.
_KEEP = ("retention.ms", "segment.ms", "file.delete.delay.ms")
# How often a broker looks, as brokers are delivered (log.retention.check.interval.ms).
_BROKERS_LOOK_EVERY = timedelta(minutes=5)
# The topics whose records hold content.
_WITH_CONTENT = (MEMORY_EVENTS, DEAD_LETTERS, MEMORY_EXPIRED)


def log_copies(kafka: KafkaSettings, topics: TopicSettings) -> Sequence[Copy]:
    """Return how long each topic with content keeps a record that was written now; blocks.

    Raises:
        BrokerError: The brokers cannot be reached, refuse to tell, or keep records for ever.
    """
    names = [topic.full_name(topics) for topic in _WITH_CONTENT]
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    copies = []
    try:
        with open_admin(kafka) as admin:
            for resource, asked in admin.describe_configs(
                resources, request_timeout=_TIMEOUT_SECONDS
            ).items():
                entries = asked.result(2 * _TIMEOUT_SECONDS)
                milliseconds = [int(entries[name].value) for name in _KEEP]
                if min(milliseconds) < 0:
                    raise BrokerError(
                        f"{resource.name} keeps records for ever: no erasure can tell when copies are gone",
                        remedy="Run `soma topics apply`.",
                    )
                keeps = timedelta(milliseconds=sum(milliseconds)) + _BROKERS_LOOK_EVERY
                copies.append(Copy(resource.name, keeps, resource.name != MEMORY_EXPIRED.full_name(topics)))
    except KafkaException as error:
        raise broker_error(error) from error
    return sorted(copies, key=lambda copy: names.index(copy.topic))
