"""Where the log is: its topic, whether that is closed, and what is kept of earlier epochs."""

from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from rich.console import RenderableType
from rich.text import Text

from soma_cli.output import Result
from soma_schemas.log_epochs import CLOSED_MESSAGE_BYTES, SIZE_LIMIT, epochs_of, topics_in_force
from soma_schemas.settings import TopicSettings
from soma_schemas.topic_admin import broker_error, cluster_of
from soma_schemas.topics import MEMORY_EVENTS

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class LogLayout:
    """Where the log is.

    Attributes:
        topics: As they are laid out now.
        former: Of the epochs before, those whose topics are still there, the oldest first.
        closed: Whether a migration has closed the log.
    """

    topics: TopicSettings
    former: tuple[TopicSettings, ...]
    closed: bool

    @property
    def name(self) -> str:
        """The topic's name on the brokers."""
        return MEMORY_EVENTS.full_name(self.topics)


class Log(Result):
    """Where `memory.events` is.

    Attributes:
        topic: Its name on the brokers.
        closed: Whether a migration has closed it.
        former: The topics of earlier epochs that are still there.
    """

    topic: str
    epoch: int
    partitions: int
    closed: bool
    former: list[str]

    def drawn(self) -> RenderableType:
        """Return it on a line."""
        closed = ", closed by a migration that is not over" if self.closed else ""
        kept = f"; kept beside it: {', '.join(self.former)}" if self.former else ""
        return Text(
            f"the log is {self.topic}, epoch {self.epoch}, {self.partitions} partitions{closed}{kept}"
        )


def layout_of(admin: AdminClient, declared: TopicSettings) -> LogLayout:
    """Return where the log is; blocks.

    Raises:
        BrokerError: The brokers do not answer.
    """
    cluster = cluster_of(admin)
    topics = topics_in_force(cluster, declared)
    former = tuple(each for epoch, each in epochs_of(cluster, declared).items() if epoch < topics.epoch)
    name = MEMORY_EVENTS.full_name(topics)
    there = name in cluster.topics
    return LogLayout(topics, former, there and _size_limit(admin, name) == CLOSED_MESSAGE_BYTES)


def log_of(layout: LogLayout) -> Log:
    """Return where the log is as a result to show."""
    return Log(
        topic=layout.name,
        epoch=layout.topics.epoch,
        partitions=layout.topics.partitions,
        closed=layout.closed,
        former=[MEMORY_EVENTS.full_name(each) for each in layout.former],
    )


def _size_limit(admin: AdminClient, name: str) -> str | None:
    asked = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name)], request_timeout=_ANSWER_SECONDS
    )
    try:
        (entries,) = [future.result(timeout=_ANSWER_SECONDS) for future in asked.values()]
    except KafkaException as error:
        raise broker_error(error) from error
    value: str | None = entries[SIZE_LIMIT].value
    return value
