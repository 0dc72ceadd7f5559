"""What the API asks the brokers: where the log ends. Publishing is the producer's."""

import asyncio
from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicCollection, TopicPartition

from soma_api.problems import LogUnavailableError
from soma_schemas.admin_client import LATEST, RenewableAdmin
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.progress import LogIdentity

_ANSWER_SECONDS = 5.0


class KafkaLogEnds:
    """Asks the brokers for the ends of `memory.events`.

    Args:
        kafka: The brokers.
        topics: How the topic is laid out.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        self._admin = RenewableAdmin(kafka, "soma-api")
        self._name = MEMORY_EVENTS.full_name(topics)
        self._partitions = range(MEMORY_EVENTS.partitions(topics))
        self._epoch = topics.epoch

    def close(self) -> None:
        """Let go of the brokers."""
        self._admin.close()

    async def ends(self) -> Mapping[int, int]:
        """Return the next offset of every partition.

        Records of a transaction that is still open count: behind them may lie what was acknowledged, and no
        sink gets to it before the transaction ends.

        Raises:
            LogUnavailableError: The brokers do not answer.
        """
        asked = {TopicPartition(self._name, partition): LATEST for partition in self._partitions}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answers = self._admin.client.list_offsets(asked, request_timeout=_ANSWER_SECONDS)
                found = {
                    each.partition: await asyncio.wrap_future(answer) for each, answer in answers.items()
                }
        except (KafkaException, TimeoutError) as error:
            self._admin.renew()
            raise LogUnavailableError("the brokers do not answer") from error
        return {partition: result.offset for partition, result in found.items()}

    async def identity(self) -> LogIdentity:
        """Return which log this is.

        Raises:
            LogUnavailableError: The brokers do not answer.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                asked = self._admin.client.describe_topics(
                    TopicCollection([self._name]), request_timeout=_ANSWER_SECONDS
                )
                described = await asyncio.wrap_future(asked[self._name])
        except (KafkaException, TimeoutError) as error:
            raise LogUnavailableError("the brokers do not answer") from error
        return LogIdentity(str(described.topic_id), self._epoch)
