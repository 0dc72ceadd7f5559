"""Retention without brokers: what is published to memory.events is applied at once by the real sink."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from random import Random

import psycopg

from builders import logged
from fakes import FakeClock
from postgres_tables import a_watermark, memories
from soma_schemas.events import MemoryEvent, MemoryExpired, MemoryExpiring, Record, RetentionPolicySet
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS, Topic
from soma_schemas.versions import Position, pack_version
from soma_streams.checks import Waiting
from soma_streams.delivery.compacted import Statement
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.state import Settlement, Watermark
from soma_streams.metrics import RetentionMetrics
from soma_streams.retention.outbox_relay import OutboxRelay
from soma_streams.retention.policy_sink import PolicySink
from soma_streams.retention.publishing import Publishing
from soma_streams.retention.sweeper import Sweeper
from soma_streams.settings import RetentionSettings, RetrySettings
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.sinks.sessions import Connection, Pool


class KilledError(Exception):
    """The process ends here."""


class AppliedLog:
    """The topics in memory; events of memories are applied before they are acknowledged.

    Attributes:
        sent: What each topic holds, by its name.
        settled: What became of the events of memories, in their order.
        kill_before: Sends left until one is not sent, and the process ends; None for never.
        kill_after: The same, where it is sent and nobody learns of it.
        meanwhile: Is run once, just before the next records reach the log.
    """

    def __init__(self, pool: Pool) -> None:
        self._sink = PostgresSink(pool, SinkGroup.POSTGRES)
        self._policies = PolicySink(pool, SinkGroup.POLICIES)
        self._loop = asyncio.get_running_loop()
        self._offset = 0
        self._policy_offset = 0
        self.sent: defaultdict[str, list[Record]] = defaultdict(list)
        self.settled: list[Settlement] = []
        self.kill_before: int | None = None
        self.kill_after: int | None = None
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    def send(self, records: Sequence[Record], topic: Topic) -> "Future[list[Position]]":
        """Send records, as `EventPublisher` does."""
        return asyncio.run_coroutine_threadsafe(self._sent(records, topic), self._loop)

    async def tell(self, *events: MemoryEvent) -> Sequence[Settlement]:
        """Have producers publish events, and have them applied."""
        batch = [logged(event, self._offset + number) for number, event in enumerate(events)]
        self._offset += len(batch)
        settled = await self._sink.write(batch, [], a_watermark(self._offset, group=SinkGroup.POSTGRES))
        self.settled += settled
        return settled

    async def set_policy(self, policy: RetentionPolicySet) -> None:
        """Put a policy in force."""
        await self._say(policy.tenant, policy.namespace or "", policy)

    async def lift_policy(self, namespace: str | None = None) -> None:
        """Lift a policy of `acme`."""
        await self._say("acme", namespace or "", None)

    async def _say(self, tenant: str, name: str, said: RetentionPolicySet | None) -> None:
        statement = Statement(tenant, name, said, pack_version(1, self._policy_offset))
        self._policy_offset += 1
        place = Watermark(SinkGroup.POLICIES, "memory.policies", 0, 1, self._policy_offset)
        await self._policies.write([statement], place)

    async def _sent(self, records: Sequence[Record], topic: Topic) -> list[Position]:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        self.kill_before = self._counted(self.kill_before)
        first = self._offset
        self.sent[topic.name] += records
        if topic is MEMORY_EVENTS:
            await self.tell(*(each for each in records if isinstance(each, MemoryEvent)))
        self.kill_after = self._counted(self.kill_after)
        return [Position(0, first + number) for number in range(len(records))]

    def _counted(self, left: int | None) -> int | None:
        if left == 0:
            raise KilledError
        return None if left is None else left - 1


class Bench:
    """The sweeper and the relay, with a clock that a test moves.

    Args:
        log: Where they publish.
        session: On which they work.
        settings: Of retention.
    """

    def __init__(
        self, log: AppliedLog, session: Connection, settings: RetentionSettings | None = None
    ) -> None:
        self.log = log
        self.clock = FakeClock()
        self.metrics = MetricSet()
        self._session = session
        self._settings = settings or RetentionSettings.model_validate({})

    async def sweep(self) -> None:
        """Sweep as a process that has just begun does."""
        await self.sweeper().sweep(self._session)

    def sweeper(self) -> Sweeper:
        """Return the sweeper of a process that begins."""
        return Sweeper(
            publishing=self._publishing(),
            clock=self.clock,
            settings=self._settings,
            topics=TopicSettings(),
            metrics=RetentionMetrics(MetricSet()),
        )

    async def relay(self) -> None:
        """Relay as a process that has just begun does."""
        await OutboxRelay(self._publishing(), RetentionMetrics(MetricSet())).relay(self._session)

    def _publishing(self) -> Publishing:
        retry = Retry(RetrySettings.model_validate({}), self.clock, Random(1), Waiting())
        return Publishing(self.log, retry)


async def a_session(dsn: str) -> Connection:
    """A session as the leader has it."""
    session: Connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    await session.execute("SET TIME ZONE 'UTC'")
    await session.execute("SET enable_seqscan = off")
    return session


def at(bench: Bench, moment: datetime) -> None:
    """Set the clock of the sweeper's machine."""
    bench.clock.advance((moment - bench.clock.now()).total_seconds())


def living(dsn: str) -> set[str]:
    """The texts of the memories that are there."""
    return {state.content.text for state in memories(dsn).values() if state.content is not None}


def expiries(bench: Bench) -> list[MemoryExpired]:
    """What was published to end memories."""
    return [each for each in bench.log.sent["memory.events"] if isinstance(each, MemoryExpired)]


def notices(bench: Bench) -> list[MemoryExpiring]:
    """What was published before memories end."""
    return [each for each in bench.log.sent["memory.expiring"] if isinstance(each, MemoryExpiring)]
