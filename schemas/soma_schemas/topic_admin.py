"""Create the declared topics, and tell where the brokers' topics differ from the declaration."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from soma_schemas.admin_client import BrokerAdmin
from soma_schemas.broker_access import broker_refusal, refusal_of
from soma_schemas.clock import SystemClock
from soma_schemas.errors import MismatchError, SomaError
from soma_schemas.log_epochs import CLOSED_MESSAGE_BYTES, SIZE_LIMIT, topics_in_force
from soma_schemas.refusals import AccessError
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topics import TOPICS, Topic

_TIMEOUT_SECONDS = 30.0
_FIRST_LOOK_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 0.1
_NOT_KNOWN_YET = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE}

T = TypeVar("T")


class BrokerError(SomaError):
    """The brokers did not do what was asked."""

    code = "broker"
    remedy = "Check that the brokers run and that SOMA_KAFKA__BOOTSTRAP_SERVERS names them."


class BrokerAccessError(BrokerError, AccessError):
    """The brokers do not let this process in."""


@dataclass(frozen=True)
class TopicDifference:
    """One way in which a topic is not as declared."""

    topic: str
    what: str
    declared: str
    found: str | None

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.topic} is missing"
        return f"{self.topic}: {self.what} is {self.found}, declared is {self.declared}"


def open_admin(settings: KafkaSettings) -> AdminClient:
    """Return a client for administration. It connects when first asked."""
    return BrokerAdmin(settings, "soma-admin")


def described_topic(admin: AdminClient, name: str) -> TopicDescription:
    """Return what the brokers tell of a topic: one that is made anew under its name has another id.

    Raises:
        BrokerError: The brokers cannot be reached, or have no such topic.
    """
    asked = admin.describe_topics(TopicCollection([name]), request_timeout=_TIMEOUT_SECONDS)
    described: TopicDescription = _await(asked[name])
    return described


def cluster_of(admin: AdminClient, timeout_seconds: float = _TIMEOUT_SECONDS) -> ClusterMetadata:
    """Return what the brokers tell of all their topics; blocks.

    Raises:
        BrokerError: The brokers cannot be reached or refuse to tell.
        BrokerAccessError: They do not let this process in.
    """
    kafka = admin.kafka if isinstance(admin, BrokerAdmin) else None
    clock = SystemClock()
    began = clock.monotonic()
    # Brokers that do not let this process in leave it without an answer: soon they are asked why.
    first = timeout_seconds if kafka is None else min(timeout_seconds, _FIRST_LOOK_SECONDS)
    try:
        return admin.list_topics(timeout=first)
    except KafkaException as error:
        told = broker_error(error, kafka)
        left = timeout_seconds - (clock.monotonic() - began)
        if kafka is None or isinstance(told, BrokerAccessError) or left <= 0:
            raise told from error
    try:
        return admin.list_topics(timeout=left)
    except KafkaException as error:
        raise broker_error(error) from error


def log_in_force(
    admin: AdminClient, settings: TopicSettings, timeout_seconds: float = _TIMEOUT_SECONDS
) -> TopicSettings:
    """Return how the topics are laid out now; blocks.

    Raises:
        BrokerError: The brokers cannot be reached or refuse to tell.
    """
    return topics_in_force(cluster_of(admin, timeout_seconds), settings)


def topic_differences(
    admin: AdminClient,
    settings: TopicSettings,
    topics: Sequence[Topic] = TOPICS,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> list[TopicDifference]:
    """Return every difference between the declaration and the brokers, without changing anything.

    Raises:
        BrokerError: The brokers cannot be reached or refuse to tell.
    """
    found = cluster_of(admin, timeout_seconds).topics
    differences: list[TopicDifference] = []
    present = []
    for topic in topics:
        name = topic.full_name(settings)
        if name not in found:
            differences.append(TopicDifference(name, "topic", "present", None))
            continue
        present.append(topic)
        partitions = found[name].partitions
        if len(partitions) != topic.partitions(settings):
            wanted = str(topic.partitions(settings))
            differences.append(TopicDifference(name, "partitions", wanted, str(len(partitions))))
        replicas = {len(partition.replicas) for partition in partitions.values()}
        if replicas != {settings.replication_factor}:
            copies = ", ".join(str(count) for count in sorted(replicas))
            wanted = str(settings.replication_factor)
            differences.append(TopicDifference(name, "replication factor", wanted, copies))
    return differences + _config_differences(admin, settings, present, timeout_seconds)


def topics_remedy(differences: Sequence[TopicDifference]) -> str:
    """Return what to do about differences."""
    if any(each.found is None for each in differences):
        return "run `soma topics apply`"
    return "run `soma topics apply`; partitions and replicas are changed by hand"


def apply_topics(
    admin: AdminClient, settings: TopicSettings, topics: Sequence[Topic] = TOPICS
) -> tuple[list[str], list[TopicDifference]]:
    """Create missing topics and correct configuration values.

    Partitions and replicas of an existing topic are never changed: keys would move, and their order be lost.

    Returns:
        What was done, in words; and the differences that remain.

    Raises:
        BrokerError: The brokers cannot be reached or refuse.
    """
    done: list[str] = []
    differences = topic_differences(admin, settings, topics)
    missing = {difference.topic for difference in differences if difference.found is None}
    by_name = {topic.full_name(settings): topic for topic in topics}
    if missing:
        created = admin.create_topics(
            [
                NewTopic(
                    name,
                    num_partitions=by_name[name].partitions(settings),
                    replication_factor=settings.replication_factor,
                    config=by_name[name].config(settings),
                )
                for name in by_name
                if name in missing
            ]
        )
        for name, future in created.items():
            _await_created(future)
            done.append(f"created {name}")
    for difference in differences:
        declared = by_name[difference.topic].config(settings)
        if difference.what in declared and difference.found is not None:
            entry = ConfigEntry(
                difference.what, difference.declared, incremental_operation=AlterConfigOpType.SET
            )
            resource = ConfigResource(ResourceType.TOPIC, difference.topic, incremental_configs=[entry])
            for future in admin.incremental_alter_configs([resource]).values():
                _await(future)
            done.append(f"set {difference.what} of {difference.topic} to {difference.declared}")
    return done, _differences_once_known(admin, settings, topics, set(missing))


def _differences_once_known(
    admin: AdminClient, settings: TopicSettings, topics: Sequence[Topic], created: set[str]
) -> list[TopicDifference]:
    """Return the differences as soon as whichever broker is asked knows the topics that were just made."""
    clock = SystemClock()
    deadline = clock.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            differences = topic_differences(admin, settings, topics)
        except BrokerError as error:
            cause = error.__cause__
            late = isinstance(cause, KafkaException) and cause.args[0].code() in _NOT_KNOWN_YET
            if not (created and late) or clock.monotonic() > deadline:
                raise
        else:
            if not {each.topic for each in differences} & created or clock.monotonic() > deadline:
                return differences
        clock.block(_LOOK_AGAIN_SECONDS)


def require_topics(admin: AdminClient, settings: TopicSettings, topics: Sequence[Topic] = TOPICS) -> None:
    """Refuse to go on unless the topics are as declared.

    Raises:
        MismatchError: They are not; the differences are named.
        BrokerError: The brokers cannot be reached.
    """
    differences = topic_differences(admin, settings, topics)
    if differences:
        raise MismatchError(
            "; ".join(str(difference) for difference in differences),
            remedy=topics_remedy(differences),
        )


def broker_error(error: KafkaException, kafka: KafkaSettings | None = None) -> BrokerError:
    """Translate what the Kafka client raises.

    Args:
        error: What it raised.
        kafka: The brokers, who are asked why where the error does not tell. That takes seconds.
    """
    cause = error.args[0]
    refusal = refusal_of(cause, kafka) if isinstance(cause, KafkaError) else None
    if refusal is None and kafka is not None:
        refusal = broker_refusal(kafka)
    if refusal is not None:
        return BrokerAccessError.of(refusal)
    return BrokerError(
        f"the brokers do not answer as hoped: {cause.str() if isinstance(cause, KafkaError) else error}"
    )


def _config_differences(
    admin: AdminClient, settings: TopicSettings, topics: Sequence[Topic], timeout_seconds: float
) -> list[TopicDifference]:
    if not topics:
        return []
    resources = {ConfigResource(ResourceType.TOPIC, topic.full_name(settings)): topic for topic in topics}
    differences = []
    for resource, future in admin.describe_configs(list(resources), request_timeout=timeout_seconds).items():
        entries = _await(future)
        topic = next(topic for topic in topics if topic.full_name(settings) == resource.name)
        for name, declared in topic.config(settings).items():
            value = entries[name].value
            # Closed by a migration, which alone opens it again or makes the next one.
            closed = topic.per_epoch and (name, value) == (SIZE_LIMIT, CLOSED_MESSAGE_BYTES)
            if value != declared and not closed:
                differences.append(TopicDifference(resource.name, name, declared, str(value)))
    return differences


def _await(future: "Future[T]") -> T:
    try:
        return future.result(timeout=_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise broker_error(error) from error


def _await_created(future: "Future[None]") -> None:
    try:
        future.result(timeout=_TIMEOUT_SECONDS)
    except KafkaException as error:
        # Two installations may apply at once: what the other has just made is as good.
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise broker_error(error) from error
