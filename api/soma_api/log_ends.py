"""What the API asks the brokers: where the log ends. Publishing is the producer's."""

import asyncio
from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from soma_api.problems import LogUnavailableError
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.progress import LogIdentity

_ANSWER_SECONDS = 5.0
_CRITICAL = 2  # of syslog's levels


class KafkaLogEnds:
    """Asks the brokers for the ends of `memory.events`.

    Args:
        kafka: The brokers.
        topics: How the topic is laid out.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        # What goes wrong is raised; a line for every try to connect would come out beside the log.
        self._config = kafka.librdkafka() | {"client.id": "soma-api", "log_level": _CRITICAL}
        self._admin = AdminClient(self._config)
        self._name = MEMORY_EVENTS.full_name(topics)
        self._partitions = range(MEMORY_EVENTS.partitions(topics))
        self._epoch = topics.epoch

    def close(self) -> None:
        """Let go of the brokers."""
        _let_go(self._admin)

    async def ends(self) -> Mapping[int, int]:
        """Return the next offset of every partition.

        Records of a transaction that is still open count: behind them may lie what was acknowledged, and no
        sink gets to it before the transaction ends.

        Raises:
            LogUnavailableError: The brokers do not answer.
        """
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client has no types here
        asked = {TopicPartition(self._name, partition): latest for partition in self._partitions}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answers = self._admin.list_offsets(asked, request_timeout=_ANSWER_SECONDS)
                found = {
                    each.partition: await asyncio.wrap_future(answer) for each, answer in answers.items()
                }
        except (KafkaException, TimeoutError) as error:
            # The client asks with the leader epochs that it once learned, and never learns those of a broker
            # that came back: every question after that is refused with FENCED_LEADER_EPOCH.
            old, self._admin = self._admin, AdminClient(self._config)
            _let_go(old)
            raise LogUnavailableError("the brokers do not answer") from error
        return {partition: result.offset for partition, result in found.items()}

    async def identity(self) -> LogIdentity:
        """Return which log this is.

        Raises:
            LogUnavailableError: The brokers do not answer.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                asked = self._admin.describe_topics(
                    TopicCollection([self._name]), request_timeout=_ANSWER_SECONDS
                )
                described = await asyncio.wrap_future(asked[self._name])
        except (KafkaException, TimeoutError) as error:
            raise LogUnavailableError("the brokers do not answer") from error
        return LogIdentity(str(described.topic_id), self._epoch)


def _let_go(admin: AdminClient) -> None:
    # The client has no `close`; left to the collector, its threads go on knocking at brokers that are gone.
    with admin:
        pass
