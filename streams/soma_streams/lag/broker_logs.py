"""Asks the brokers about topics: which there are, where they start and end, and what came when."""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType

from soma_schemas.admin_client import EARLIEST, LATEST, RenewableAdmin
from soma_schemas.settings import KafkaSettings
from soma_schemas.topic_admin import BrokerError, broker_error
from soma_streams.lag.estimates import Retention
from soma_streams.lag.facts import Bounds, Found, Place, TopicSeen

_TIMEOUT_SECONDS = 5.0


class BrokerLogs:
    """Asks the brokers about topics. Its methods block.

    Args:
        kafka: The brokers.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._admin = RenewableAdmin(kafka, "soma-lag")

    def close(self) -> None:
        """Let go of the brokers."""
        self._admin.close()

    def renew(self) -> None:
        """Forget what was learnt of the brokers: something went wrong with it."""
        self._admin.renew()

    def topics(self, names: Collection[str]) -> Mapping[str, TopicSeen | str]:
        """Return each topic, or why it is not told; those that do not exist are left out.

        Raises:
            BrokerError: The brokers do not answer.
        """
        if not names:
            return {}
        asked = self._admin.client.describe_topics(
            TopicCollection(list(names)), request_timeout=_TIMEOUT_SECONDS
        )
        found: dict[str, TopicSeen | str] = {}
        for name, answer in asked.items():
            try:
                described = _result(answer)
                found[name] = TopicSeen(str(described.topic_id), len(described.partitions))
            except KafkaException as error:
                cause = error.args[0]
                # The client's own errors are negative: they are about the brokers, and not about this topic.
                if cause.code() < 0:
                    raise broker_error(error) from error
                if cause.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    found[name] = cause.str()
        return found

    def retention(self, names: Collection[str]) -> Mapping[str, Retention]:
        """Return how topics are cleaned up, where that is told."""
        if not names:
            return {}
        asked = self._admin.client.describe_configs(
            [ConfigResource(ResourceType.TOPIC, name) for name in names], request_timeout=_TIMEOUT_SECONDS
        )
        found = {}
        for resource, answer in asked.items():
            try:
                entries = _result(answer)
            except (KafkaException, BrokerError):
                continue  # headroom in time is not known then
            found[resource.name] = _retention({name: entry.value for name, entry in entries.items()})
        return found

    def bounds(self, places: Collection[Place]) -> Mapping[Place, Bounds | str]:
        """Return where partitions start and end, or why that is not told."""
        ends = self._offsets(dict.fromkeys(places, LATEST))
        starts = self._offsets(dict.fromkeys(places, EARLIEST))
        found: dict[Place, Bounds | str] = {}
        for place, end in ends.items():
            start = starts[place]
            if isinstance(end, str):
                found[place] = end
            elif isinstance(start, str):
                found[place] = start
            else:
                found[place] = Bounds(start.offset, end.offset)
        return found

    def first_since(self, since_ms: Mapping[Place, int]) -> Mapping[Place, Found | None]:
        """Return the first record from a time on, None where there is none; what is refused is left out."""
        answers = self._offsets({place: OffsetSpec.for_timestamp(ms) for place, ms in since_ms.items()})
        return {
            place: Found(answer.offset, answer.timestamp) if answer.offset >= 0 else None
            for place, answer in answers.items()
            if not isinstance(answer, str)
        }

    def _offsets(self, wanted: Mapping[Place, OffsetSpec]) -> dict[Place, Any]:
        """Return for each place what the brokers tell, or why they do not."""
        if not wanted:
            return {}
        asked = self._admin.client.list_offsets(
            {TopicPartition(*place): which for place, which in wanted.items()},
            request_timeout=_TIMEOUT_SECONDS,
        )
        return {Place(each.topic, each.partition): _or_why(answer) for each, answer in asked.items()}


def _or_why(answer: "Future[Any]") -> Any:
    try:
        return _result(answer)
    except KafkaException as error:
        return str(error.args[0].str())
    except BrokerError as error:
        return str(error)


def _result(answer: "Future[Any]") -> Any:
    try:
        return answer.result(2 * _TIMEOUT_SECONDS)
    except FutureTimeoutError as error:
        raise BrokerError("the brokers do not answer in time") from error


def _retention(config: Mapping[str, str]) -> Retention:
    if "delete" not in config["cleanup.policy"]:
        return Retention(seconds=None, by_size=False)
    age_ms = int(config["retention.ms"])
    return Retention(None if age_ms < 0 else age_ms / 1000, by_size=int(config["retention.bytes"]) >= 0)
