"""Looks at the brokers, the topics, and what our login may do with them. Everything here blocks."""

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, OffsetSpec

from soma_cli.diagnosis import judgements
from soma_cli.diagnosis.findings import Health, Verdict, ok
from soma_schemas.clock import Clock
from soma_schemas.settings import TopicSettings
from soma_schemas.topic_admin import BrokerError, broker_error, cluster_of, topic_differences, topics_remedy
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS, TOPICS

# So much less than a check may take that there is time to find out why they do not answer.
ANSWER_SECONDS = 4.0
_NEWEST = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]  # confluent-kafka leaves it untyped

_WANTED = (
    (MEMORY_EVENTS, AclOperation.WRITE, "`soma dlq replay` publishes to it"),
    (DEAD_LETTERS, AclOperation.READ, "`soma dlq show` reads it"),
)


def brokers(admin: AdminClient) -> Sequence[Verdict]:
    """Say whether every partition has a leader and all its replicas.

    Raises:
        BrokerError: No broker answers.
        BrokerAccessError: They do not let us in.
    """
    cluster = cluster_of(admin, ANSWER_SECONDS)
    partitions = [
        (f"{topic}/{number}", each)
        for topic, described in cluster.topics.items()
        for number, each in described.partitions.items()
    ]
    leaderless = [name for name, each in partitions if each.leader < 0]
    lagging = [name for name, each in partitions if len(each.isrs) < len(each.replicas)]
    found = "1 broker answers" if len(cluster.brokers) == 1 else f"{len(cluster.brokers)} brokers answer"
    if leaderless:
        return [
            Verdict(
                Health.FAILED,
                f"{found}; without a leader: {_some(leaderless)}",
                "start the brokers that are missing: docs/runbooks/broker-outage.md",
            )
        ]
    if lagging:
        return [
            Verdict(
                Health.WARNING,
                f"{found}; without all replicas: {_some(lagging)}",
                "start the brokers that are missing, or wait until they have caught up",
            )
        ]
    return [ok(f"{found}, all {len(partitions)} partitions have a leader and their replicas")]


def topics(admin: AdminClient, settings: TopicSettings) -> Sequence[Verdict]:
    """Say where the topics differ from their declaration.

    Raises:
        BrokerError: The brokers do not answer.
    """
    differences = topic_differences(admin, settings, timeout_seconds=ANSWER_SECONDS)
    if differences:
        return [
            Verdict(Health.FAILED, str(each), topics_remedy(differences), each.topic) for each in differences
        ]
    return [ok(f"all {len(TOPICS)} as declared: partitions, replicas, retention")]


def rights(admin: AdminClient, settings: TopicSettings) -> Sequence[Verdict]:
    """Say what our login lacks of what the commands of an operator need.

    Raises:
        BrokerError: The brokers do not answer.
    """
    names = {topic.full_name(settings): (operation, why) for topic, operation, why in _WANTED}
    asked = admin.describe_topics(
        TopicCollection(list(names)),
        include_authorized_operations=True,
        request_timeout=ANSWER_SECONDS,
    )
    lacking = []
    for name, (operation, why) in names.items():
        allowed = answer_of(asked[name]).authorized_operations
        # No list at all: the brokers have no rules about who may do what.
        if allowed is not None and operation not in allowed:
            lacking.append(
                Verdict(
                    Health.FAILED,
                    f"our login may not {operation.name} it: {why}",
                    f"allow {operation.name} on topic {name} with kafka-acls.sh",
                    name,
                )
            )
    return lacking or [ok("our login may publish to memory.events and read dead letters")]


def clock_of_brokers(admin: AdminClient, settings: TopicSettings, clock: Clock) -> Sequence[Verdict]:
    """Say whether the brokers' clock is ahead: whether records are from the future.

    Raises:
        BrokerError: The brokers do not answer.
    """
    name = MEMORY_EVENTS.full_name(settings)
    places = [TopicPartition(name, number) for number in range(MEMORY_EVENTS.partitions(settings))]
    asked = admin.list_offsets(dict.fromkeys(places, _NEWEST), request_timeout=ANSWER_SECONDS)
    times = [answer_of(each).timestamp for each in asked.values()]
    newest = max((each for each in times if each >= 0), default=None)
    ahead = None if newest is None else newest / 1000 - clock.now().timestamp()
    return [judgements.newest_record("the brokers", ahead)]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"  # noqa: PLR2004  # as many as shown


def answer_of(future: "Future[Any]") -> Any:
    """Return what the brokers answer.

    Raises:
        BrokerError: They do not, or not in time.
    """
    try:
        return future.result(ANSWER_SECONDS)
    except KafkaException as error:
        raise broker_error(error) from error
    except FutureTimeoutError as error:
        raise BrokerError("the brokers do not answer in time") from error
