"""What becomes of the brokers' refusals. Their answers are tried on real ones."""

from collections.abc import Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType

from soma_schemas.settings import KafkaSettings
from soma_schemas.topic_admin import BrokerError
from soma_streams.lag.broker_logs import BrokerLogs
from soma_streams.lag.estimates import Retention
from soma_streams.lag.facts import Bounds, Place, TopicSeen


def refusal(code: int) -> "Future[Any]":
    answer: Future[Any] = Future()
    answer.set_exception(KafkaException(KafkaError(code)))
    return answer


def told(**fields: Any) -> "Future[Any]":
    answer: Future[Any] = Future()
    answer.set_result(SimpleNamespace(**fields))
    return answer


@pytest.fixture
def logs() -> Iterable[BrokerLogs]:
    opened = BrokerLogs(KafkaSettings())
    client = opened._admin.client
    yield opened
    opened._admin._client = client
    opened.close()


def test_a_refusal_is_the_topics_own(logs: BrokerLogs) -> None:
    answers = {
        "mine": told(topic_id="id", partitions=[0, 1]),
        "secret": refusal(KafkaError.TOPIC_AUTHORIZATION_FAILED),
        "electing": refusal(KafkaError.LEADER_NOT_AVAILABLE),
        "gone": refusal(KafkaError.UNKNOWN_TOPIC_OR_PART),
    }
    logs._admin._client = SimpleNamespace(describe_topics=lambda *_, **__: answers)  # type: ignore[assignment]

    found = logs.topics(answers)

    assert found == {
        "mine": TopicSeen("id", 2),
        "secret": "Broker: Topic authorization failed",
        "electing": "Broker: Leader not available",
    }


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError._TRANSPORT])
def test_silence_is_the_brokers(logs: BrokerLogs, code: int) -> None:
    answers = {"mine": refusal(code)}
    logs._admin._client = SimpleNamespace(describe_topics=lambda *_, **__: answers)  # type: ignore[assignment]

    with pytest.raises(BrokerError):
        logs.topics(answers)


def test_a_partition_that_is_refused_has_its_reason(logs: BrokerLogs) -> None:
    first, second = Place("topic", 0), Place("topic", 1)
    answers = {
        TopicPartition(*first): told(offset=7),
        TopicPartition(*second): refusal(KafkaError.LEADER_NOT_AVAILABLE),
    }
    logs._admin._client = SimpleNamespace(list_offsets=lambda *_, **__: answers)  # type: ignore[assignment]

    assert logs.bounds([first, second]) == {first: Bounds(7, 7), second: "Broker: Leader not available"}
    assert logs.bounds([]) == {}


@pytest.mark.parametrize(
    ("policy", "age_ms", "size", "expected"),
    [
        ("delete", "3600000", "-1", Retention(3600.0, by_size=False)),
        ("compact,delete", "-1", "1000", Retention(None, by_size=True)),
        ("compact", "3600000", "1000", Retention(None, by_size=False)),
    ],
)
def test_retention_is_read_from_the_topics_configuration(
    logs: BrokerLogs, policy: str, age_ms: str, size: str, expected: Retention
) -> None:
    config = {"cleanup.policy": policy, "retention.ms": age_ms, "retention.bytes": size}
    entries: Future[Any] = Future()
    entries.set_result({name: SimpleNamespace(value=value) for name, value in config.items()})
    answers = {
        ConfigResource(ResourceType.TOPIC, "mine"): entries,
        ConfigResource(ResourceType.TOPIC, "secret"): refusal(KafkaError.TOPIC_AUTHORIZATION_FAILED),
    }
    logs._admin._client = SimpleNamespace(describe_configs=lambda *_, **__: answers)  # type: ignore[assignment]

    assert logs.retention(["mine", "secret"]) == {"mine": expected}
