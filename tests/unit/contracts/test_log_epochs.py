"""Which topic the log is, by what the brokers tell."""

from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import ClusterMetadata

from soma_schemas.log_epochs import epochs_of, says_closed, topics_in_force
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS, MEMORY_POLICIES

_DECLARED = TopicSettings(prefix="t1.", partitions=4)


def brokers(**partitions: int) -> ClusterMetadata:
    """Brokers that have these topics; two underscores stand for a dot."""
    topics = {
        name.replace("__", "."): Mock(error=None, partitions=dict.fromkeys(range(count)))
        for name, count in partitions.items()
    }
    return Mock(spec=ClusterMetadata, topics=topics)


def test_the_newest_epoch_that_there_is_is_in_force() -> None:
    cluster = brokers(
        t1__memory__events=4, t1__memory__events__e2=8, t1__memory__events__e10=12, t2__memory__events__e11=1
    )

    topics = topics_in_force(cluster, _DECLARED)

    assert (topics.epoch, topics.partitions) == (10, 12)
    assert MEMORY_EVENTS.full_name(topics) == "t1.memory.events.e10"
    assert list(epochs_of(cluster, _DECLARED)) == [1, 2, 10]


def test_what_no_migration_touches_stays_as_it_is_declared() -> None:
    topics = topics_in_force(brokers(t1__memory__events__e2=8), _DECLARED)

    assert DEAD_LETTERS.full_name(topics) == "t1.memory.events.dlq"
    assert (DEAD_LETTERS.partitions(topics), DEAD_LETTERS.epoch(topics)) == (4, 1)
    assert (MEMORY_POLICIES.partitions(topics), MEMORY_POLICIES.epoch(topics)) == (1, 1)
    assert topics_in_force(brokers(t1__memory__events__e3=9), topics).declared == _DECLARED


@pytest.mark.parametrize("declared", [_DECLARED, TopicSettings(prefix="t1.", partitions=4, epoch=3)])
def test_without_a_newer_one_the_declaration_counts(declared: TopicSettings) -> None:
    names = {"t1__memory__events": 9, "t1__memory__events__dlq": 4, "t1__memory__events__e02": 5}

    assert topics_in_force(brokers(**names), declared) is declared


@pytest.mark.parametrize(
    ("code", "size", "closed"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, 100_000, True),
        (KafkaError.MSG_SIZE_TOO_LARGE, 2 * 1024 * 1024, False),
        (KafkaError.REQUEST_TIMED_OUT, 100, False),
    ],
)
def test_what_is_refused_although_it_is_small_says_that_the_log_is_closed(
    code: int, size: int, *, closed: bool
) -> None:
    message = Mock()
    message.key.return_value, message.value.return_value, message.headers.return_value = (
        b"k",
        b"x" * size,
        None,
    )

    assert says_closed(KafkaError(code), message, _DECLARED) is closed
