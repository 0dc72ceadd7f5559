"""Until when the brokers keep what they have now, by their own configuration."""

from collections.abc import Sequence
from datetime import timedelta

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from soma_schemas.log_epochs import epochs_of
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import BrokerError, broker_error, cluster_of, open_admin
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS, MEMORY_EXPIRED, MEMORY_KEYS, Topic
from soma_streams.erasure.receipts import Copy, Holds

_TIMEOUT_SECONDS = 10.0
# Brokers have the largest number of 64 bits for a time that never comes.
_FOR_EVER = 2**62
# A segment goes when its newest record is too old, and takes records for a time of its own before.
_KEEP = ("retention.ms", "segment.ms", "file.delete.delay.ms")
# A destroyed key goes when its segment was closed, was dirty for so long, and is rewritten.
_KEEP_KEYS = ("segment.ms", "max.compaction.lag.ms", "file.delete.delay.ms")
# How often a broker looks, as brokers are delivered (log.retention.check.interval.ms). The cleaner needs
# another record behind what it cleans, which comes within a minute, and looks every 15 seconds.
_BROKERS_LOOK_EVERY = timedelta(minutes=5)
_HOLD: dict[Topic, Holds] = {
    MEMORY_EVENTS: Holds.SEALED_EVENTS,
    DEAD_LETTERS: Holds.SEALED_EVENTS,
    MEMORY_EXPIRED: Holds.PLAIN_EVENTS,
    MEMORY_KEYS: Holds.WRAPPED_KEYS,
}


def log_copies(kafka: KafkaSettings, topics: TopicSettings) -> Sequence[Copy]:
    """Return how long each topic with content keeps a record that was written now at the latest; blocks.

    The logs of earlier epochs are among them, those that are still there.

    Raises:
        BrokerError: The brokers cannot be reached, refuse to tell, or keep records for ever.
    """
    held = {topic.full_name(topics): holds for topic, holds in _HOLD.items()}
    copies = {}
    try:
        with open_admin(kafka) as admin:
            former = epochs_of(cluster_of(admin, _TIMEOUT_SECONDS), topics.declared)
            held |= {
                MEMORY_EVENTS.full_name(each): _HOLD[MEMORY_EVENTS]
                for epoch, each in former.items()
                if epoch < topics.epoch
            }
            resources = [ConfigResource(ResourceType.TOPIC, name) for name in held]
            for resource, asked in admin.describe_configs(
                resources, request_timeout=_TIMEOUT_SECONDS
            ).items():
                entries, holds = asked.result(2 * _TIMEOUT_SECONDS), held[resource.name]
                keep = _KEEP_KEYS if holds is Holds.WRAPPED_KEYS else _KEEP
                milliseconds = [int(entries[name].value) for name in keep]
                if not all(0 <= each < _FOR_EVER for each in milliseconds):
                    raise BrokerError(
                        f"{resource.name} keeps records for ever: no erasure can tell when copies are gone",
                        remedy="Run `soma topics apply`.",
                    )
                keeps = timedelta(milliseconds=sum(milliseconds)) + _BROKERS_LOOK_EVERY
                copies[resource.name] = Copy(resource.name, keeps, holds)
    except KafkaException as error:
        raise broker_error(error) from error
    return [copies[name] for name in held]
