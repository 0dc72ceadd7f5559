"""What the API asks the brokers: which log there is, and where it ends. Publishing is the producer's."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition

from soma_api.problems import LogUnavailableError
from soma_schemas.admin_client import LATEST, RenewableAdmin
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError, told
from soma_schemas.refusals import AccessError
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import BrokerError, log_in_force
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.progress import LogIdentity

_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 5.0
# What this login may not see it could not read either.
_NOT_THERE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED})

log = structlog.get_logger(__name__)

Follow = Callable[[TopicSettings], Awaitable[None]]


class KafkaLogEnds:
    """Asks the brokers for the ends of `memory.events`, and goes over to the log that follows it.

    Args:
        kafka: The brokers.
        topics: How the topics are laid out, as far as is known.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        self._admin = RenewableAdmin(kafka, "soma-api")
        self._follow: Follow | None = None
        self.topics = topics

    def close(self) -> None:
        """Let go of the brokers."""
        self._admin.close()

    async def look(self) -> None:
        """Find the log that is in force now, and have everybody else know.

        Raises:
            SomaError: The brokers do not answer.
        """
        found = await asyncio.to_thread(log_in_force, self._admin.client, self.topics, _ANSWER_SECONDS)
        if found.epoch == self.topics.epoch:
            return
        log.info("log_followed", epoch=found.epoch, topic=MEMORY_EVENTS.full_name(found))
        self.topics = found
        if self._follow is not None:
            await self._follow(found)

    async def run(self, follow: Follow, clock: Clock) -> None:
        """Look now and then until cancelled.

        Args:
            follow: Hears of another log.
            clock: Paces the looking.
        """
        self._follow = follow
        while True:
            await clock.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except AccessError as error:
                log.error("brokers_refuse_the_api", reason=told(error))  # noqa: TRY400  # a trace tells no more
            except SomaError as error:
                log.debug("next_log_unknown", error=type(error).__name__)

    async def ends(self) -> Mapping[int, int]:
        """Return the next offset of every partition.

        Records of a transaction that is still open count: behind them may lie what was acknowledged, and no
        sink gets to it before the transaction ends.

        Raises:
            LogUnavailableError: The brokers do not answer.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                # Where there is a next one, this may be over, and its end says nothing.
                if await self._has_next():
                    await self.look()
                return await self._ends(self.topics)
        except (KafkaException, TimeoutError, BrokerError) as error:
            self._admin.renew()
            raise LogUnavailableError("the brokers do not answer") from error

    async def identity(self) -> LogIdentity:
        """Return which log this is.

        Raises:
            LogUnavailableError: The brokers do not answer.
        """
        name, epoch = MEMORY_EVENTS.full_name(self.topics), self.topics.epoch
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                asked = self._admin.client.describe_topics(
                    TopicCollection([name]), request_timeout=_ANSWER_SECONDS
                )
                described = await asyncio.wrap_future(asked[name])
        except (KafkaException, TimeoutError) as error:
            raise LogUnavailableError("the brokers do not answer") from error
        return LogIdentity(str(described.topic_id), epoch)

    async def _ends(self, topics: TopicSettings) -> Mapping[int, int]:
        name = MEMORY_EVENTS.full_name(topics)
        places = [TopicPartition(name, number) for number in range(MEMORY_EVENTS.partitions(topics))]
        asked = self._admin.client.list_offsets(
            dict.fromkeys(places, LATEST), request_timeout=_ANSWER_SECONDS
        )
        found = {place.partition: await asyncio.wrap_future(answer) for place, answer in asked.items()}
        return {partition: result.offset for partition, result in found.items()}

    async def _has_next(self) -> bool:
        name = MEMORY_EVENTS.full_name(self.topics, self.topics.epoch + 1)
        asked = self._admin.client.describe_topics(TopicCollection([name]), request_timeout=_ANSWER_SECONDS)
        try:
            await asyncio.wrap_future(asked[name])
        except KafkaException as error:
            if error.args[0].code() in _NOT_THERE:
                return False
            raise
        return True
