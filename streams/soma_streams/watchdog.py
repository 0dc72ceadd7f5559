"""Notices a consumer group that stands still although its log goes on, which only a restart can mend."""

import asyncio
import threading
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import NamedTuple, Protocol

import structlog
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition

from soma_schemas.admin_client import LATEST, RenewableAdmin
from soma_schemas.broker_access import broker_refusal, refusal_of
from soma_schemas.clock import Clock
from soma_schemas.errors import told
from soma_schemas.settings import KafkaSettings
from soma_schemas.topic_admin import BrokerAccessError
from soma_streams.committed import onlooker
from soma_streams.delivery.retry import StoreAvailability

_TIMEOUT_SECONDS = 3.0


class Standing(NamedTuple):
    """Where a group is in one partition, as the brokers tell it.

    Attributes:
        committed: The next offset to settle; None when nothing was committed yet.
        end: Where the partition ends.
    """

    committed: int | None
    end: int

    @property
    def behind(self) -> bool:
        """Whether there is something to settle."""
        return (self.committed or 0) < self.end


class Stillness:
    """Measures for how long partitions have not moved although there was something to settle: pure.

    A partition counts from the first look that found it behind at the offset where it still is.
    """

    def __init__(self) -> None:
        self._since: dict[int, tuple[int | None, float]] = {}

    def look(self, standings: Mapping[int, Standing], now: float) -> float:
        """Take a new look, and return the longest stillness in seconds; 0 when everything moves.

        Args:
            standings: Of the partitions that this process has to move.
            now: Seconds that never run backwards.
        """
        behind = {number: found for number, found in standings.items() if found.behind}
        self._since = {
            number: self._since[number]
            if number in self._since and self._since[number][0] == found.committed
            else (found.committed, now)
            for number, found in behind.items()
        }
        return max((now - since for _, since in self._since.values()), default=0.0)

    def forget(self) -> None:
        """Begin anew: what was still had a reason to be."""
        self._since.clear()


class Watched(Protocol):
    """The consumer group, seen from inside."""

    @property
    def availability(self) -> StoreAvailability:
        """Whether its store answers."""
        ...

    def own(self, partitions: Collection[int]) -> Collection[int]:
        """Return those of all partitions that this process has to move."""
        ...


class Brokers(Protocol):
    """The consumer group, seen by the brokers."""

    def standings(self) -> Mapping[int, Standing]:
        """Return where the group is in every partition; blocks.

        Raises:
            KafkaException: The brokers do not answer.
            TimeoutError: They take too long.
        """
        ...

    def refusal(self, error: Exception) -> BrokerAccessError | None:
        """Return why the brokers do not let this process in; None where that is not why. Blocks."""
        ...


class Watchdog:
    """Asks the brokers now and then how far a group is, and remembers since when it has not moved.

    It does not believe the worker's own books: a consumer that has lost its way to the brokers, or was never
    given a partition back, has nothing in flight and so looks idle from inside.

    Args:
        brokers: What the brokers say.
        watched: The group in this process.
        clock: Measures and sleeps.
        every: Between two looks.
        refused_patience: How long the brokers may refuse this process: they know a new password for some time
            before every process does.
    """

    def __init__(
        self,
        brokers: Brokers,
        watched: Watched,
        clock: Clock,
        every: timedelta,
        refused_patience: timedelta = timedelta(seconds=60),
    ) -> None:
        self._brokers = brokers
        self._watched = watched
        self._clock = clock
        self._every = every.total_seconds()
        self._refused_patience = refused_patience.total_seconds()
        self._stillness = Stillness()
        self._still_seconds = 0.0
        self._refused_since: float | None = None
        self._log = structlog.get_logger("soma_streams.watchdog")

    @property
    def still_seconds(self) -> float:
        """For how long nothing was settled although there was something to settle, at the latest look."""
        return self._still_seconds

    async def run(self) -> None:
        """Look, again and again, until cancelled.

        Raises:
            BrokerAccessError: The brokers do not let this process in.
        """
        while True:
            await self.look()
            await self._clock.sleep(self._every)

    async def look(self) -> None:
        """Take one look.

        Raises:
            BrokerAccessError: The brokers do not let this process in.
        """
        try:
            standings = await asyncio.to_thread(self._brokers.standings)
        except (KafkaException, TimeoutError) as error:
            # Without brokers nobody moves, and no restart brings them back.
            self._log.warning("watchdog_cannot_look", error=type(error).__name__)
            self._rest()
            await self._require_access(error)
            return
        self._refused_since = None
        if self._watched.availability is StoreAvailability.UNAVAILABLE:
            self._rest()
            return
        mine = {number: standings[number] for number in self._watched.own(standings) if number in standings}
        self._still_seconds = self._stillness.look(mine, self._clock.monotonic())

    async def _require_access(self, error: Exception) -> None:
        """Return while the brokers may only be away, or have refused this process for a short time.

        Raises:
            BrokerAccessError: They do not let it in, and have not for longer than a rotation takes.
        """
        refusal = await asyncio.to_thread(self._brokers.refusal, error)
        if refusal is None:
            self._refused_since = None
            return
        now = self._clock.monotonic()
        self._refused_since = now if self._refused_since is None else self._refused_since
        self._log.error("brokers_refuse", reason=told(refusal), seconds=round(now - self._refused_since, 1))
        if now - self._refused_since >= self._refused_patience:
            raise refusal

    def _rest(self) -> None:
        self._stillness.forget()
        self._still_seconds = 0.0


class GroupOnBrokers:
    """Asks the brokers about one group and topic. Made once: it keeps its connections.

    Args:
        kafka: The brokers.
        group: The group's name on the brokers.
        topic: The topic's name on the brokers.
    """

    def __init__(self, kafka: KafkaSettings, group: str, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._admin = RenewableAdmin(kafka, "soma-watchdog")
        self._consumer = onlooker(kafka, group)
        # A look that is given up goes on in its thread, and the client must not be closed under it.
        self._looking = threading.Lock()

    def standings(self) -> Mapping[int, Standing]:
        """Return where the group is in every partition; blocks.

        Raises:
            KafkaException: The brokers do not answer.
            TimeoutError: They take too long.
        """
        with self._looking:
            try:
                return self._standings()
            except (KafkaException, TimeoutError):
                self._admin.renew()
                raise

    def refusal(self, error: Exception) -> BrokerAccessError | None:
        """Return why the brokers do not let this process in; None where that is not why. Blocks."""
        known = refusal_of(error.args[0], self._kafka) if isinstance(error, KafkaException) else None
        refusal = known or broker_refusal(self._kafka)
        return None if refusal is None else BrokerAccessError.of(refusal)

    def close(self) -> None:
        """Let go of the brokers, after a look that is under way: at most some seconds."""
        with self._looking:
            self._consumer.close()
            self._admin.close()

    def _standings(self) -> Mapping[int, Standing]:
        described = self._admin.client.list_topics(self._topic, timeout=_TIMEOUT_SECONDS).topics[self._topic]
        partitions = [TopicPartition(self._topic, number) for number in described.partitions]
        # Up to the last stable offset: what an open transaction holds back cannot be settled by anybody.
        asked = self._admin.client.list_offsets(
            dict.fromkeys(partitions, LATEST),
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_TIMEOUT_SECONDS,
        )
        ends = {
            partition.partition: answer.result(2 * _TIMEOUT_SECONDS).offset
            for partition, answer in asked.items()
        }
        found = self._consumer.committed(partitions, timeout=_TIMEOUT_SECONDS)
        return {
            each.partition: Standing(each.offset if each.offset >= 0 else None, ends[each.partition])
            for each in found
        }
