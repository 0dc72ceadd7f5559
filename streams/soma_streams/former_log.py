"""Tells whether an index has everything of a log that is over, so that it can go on with the next one."""

import asyncio

from soma_schemas.clock import Clock
from soma_schemas.log_epochs import epochs_of
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topic_admin import cluster_of, open_admin
from soma_schemas.vectors.progress import Held
from soma_streams.audit.retained_log import RetainedLog
from soma_streams.log_state import LogState, log_state


class FormerLog:
    """The log of the epoch before this one, where the brokers still have it.

    Args:
        kafka: The brokers.
        topics: As they are now.
        clock: Measures how long the brokers may take.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings, clock: Clock) -> None:
        self._kafka = kafka
        self._topics = topics
        self._clock = clock

    async def is_in(self, held: Held, present: LogState) -> bool:
        """Say whether an index that held that log has everything of it.

        Raises:
            BrokerError: The brokers do not answer, or refuse.
        """
        if held.header.log.epoch + 1 != present.identity.epoch:
            return False
        former = await asyncio.to_thread(self._former, held.header.log.epoch)
        if former is None:
            return False
        state = await asyncio.to_thread(log_state, self._kafka, former)
        if state.identity != held.header.log:
            return False
        with RetainedLog(self._kafka, former, self._clock) as retained:
            for partition, end in state.ends.items():
                stands = held.progress.get(partition, 0)
                if stands < state.starts[partition]:
                    return False
                # What ends a transaction is no event, and may lie after the last one.
                async for _ in retained.pages(partition, stands, end):
                    return False
        return True

    def _former(self, epoch: int) -> TopicSettings | None:
        with open_admin(self._kafka) as admin:
            return epochs_of(cluster_of(admin), self._topics.declared).get(epoch)
