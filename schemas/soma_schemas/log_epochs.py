"""Which topic `memory.events` is now: each epoch has its own, and the newest that exists is in force.

The brokers alone say so, so that whoever can write to the log, or read it, also knows which one it is. A
topic is closed before the next one is made: nothing gets into the log of an epoch that is over.
"""

from confluent_kafka import KafkaError, Message
from confluent_kafka.admin import ClusterMetadata

from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.versions import FIRST_EPOCH

# The brokers refuse every batch that is larger. No event fits in: a batch has 61 bytes before its first
# record, and an event's key at least 38. What ends a transaction does, with 78.
CLOSED_MESSAGE_BYTES = "100"
SIZE_LIMIT = "max.message.bytes"
# What a batch has beside its only record, and a record beside its parts; far more than both.
_ROOM_BYTES = 4096


def epochs_of(cluster: ClusterMetadata, topics: TopicSettings) -> dict[int, TopicSettings]:
    """Return how the topics are laid out in each epoch that still has its topic, the oldest first.

    Args:
        cluster: What the brokers tell of all their topics.
        topics: As declared.
    """
    found = {
        epoch: len(topic.partitions)
        for name, topic in cluster.topics.items()
        if (epoch := MEMORY_EVENTS.epoch_of(name, topics)) is not None and topic.error is None
    }
    return {epoch: topics.at(epoch, found[epoch]) for epoch in sorted(found)}


def topics_in_force(cluster: ClusterMetadata, topics: TopicSettings) -> TopicSettings:
    """Return how the topics are laid out now: in the newest epoch that the brokers have, or that is declared.

    The first epoch is as declared, whatever the brokers have.

    Args:
        cluster: What the brokers tell of all their topics.
        topics: As declared, or as they were in force before.
    """
    epochs = epochs_of(cluster, topics)
    newest = max(epochs, default=FIRST_EPOCH)
    return topics if newest == FIRST_EPOCH or newest < topics.epoch else epochs[newest]


def says_closed(error: KafkaError, message: Message, topics: TopicSettings) -> bool:
    """Say whether the brokers refused a message because the log of its epoch takes nothing any more.

    Args:
        error: What they said.
        message: To which.
        topics: How the topic is declared.
    """
    if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
        return False
    parts = [message.key(), message.value(), *(part for header in message.headers() or () for part in header)]
    size = sum(len(part) for part in parts if part is not None)
    return size + _ROOM_BYTES < int(MEMORY_EVENTS.config(topics)[SIZE_LIMIT])
