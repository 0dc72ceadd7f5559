"""Ends memories whose time has come, and tells of it before: by publishing, nothing here writes a memory."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import structlog

from soma_schemas.clock import Clock
from soma_schemas.events import MemoryExpired, MemoryExpiring
from soma_schemas.groups import SinkGroup
from soma_schemas.retention import Deadline, TenantPolicies
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS, MEMORY_EXPIRING
from soma_schemas.versions import Position
from soma_streams.metrics import RetentionMetrics
from soma_streams.retention.due_memories import (
    AgingMemory,
    Page,
    ended_by_policy,
    ended_by_themselves,
    moved,
    untold_by_policy,
    untold_by_themselves,
)
from soma_streams.retention.policies_read import database_time, next_tenant, policies_of
from soma_streams.retention.publishing import Publishing
from soma_streams.retention.surplus import (
    CrowdedNamespace,
    SurplusMemory,
    SurplusPage,
    crowded,
    due_surplus,
    untold_surplus,
)
from soma_streams.settings import RetentionSettings
from soma_streams.sinks.sessions import Connection

ACTOR = "retention"

# uuid5(NAMESPACE_URL, "https://somafractalmemory.example/expiry" and ".../notice"), fixed for ever.
_EXPIRY_NAMESPACE = UUID("e1e5baa8-01d2-5cca-86a2-7f7143cf5644")
_NOTICE_NAMESPACE = UUID("76654d79-25b1-5ad7-9cc2-84d773501f84")

_REMEMBER = """
INSERT INTO public.retention_notices (tenant, memory_id, deadline, told_at, seen_updated_at)
SELECT tenant, memory_id, deadline, %(now)s::timestamptz, seen_updated_at
FROM unnest(
    %(tenants)s::text[], %(memory_ids)s::uuid[], %(deadlines)s::timestamptz[], %(seen)s::timestamptz[]
) AS told (tenant, memory_id, deadline, seen_updated_at)
ON CONFLICT (tenant, memory_id, deadline) DO NOTHING
"""
_FORGET = """
DELETE FROM public.retention_notices AS told
USING (
    SELECT tenant, memory_id, deadline FROM public.retention_notices
    WHERE deadline <= %(now)s::timestamptz
    ORDER BY deadline
    LIMIT %(most)s::bigint
) AS past
WHERE told.tenant = past.tenant AND told.memory_id = past.memory_id AND told.deadline = past.deadline
"""
_REACHED = """
SELECT partition, next_offset FROM public.sink_watermarks
WHERE consumer_group = %(group)s::text AND topic = %(topic)s::text AND epoch = %(epoch)s::int
"""
_SETTLING_SECONDS = 0.05
_LOOKS_A_PERIOD = 100


class Sweeper:
    """Looks for memories whose time has come. Stopped at any line and begun anew, it does nothing twice.

    A memory has ended, or is to be told of, when both this process's clock and the database's say so: a clock
    that runs ahead on one machine ends nothing before its time.

    Args:
        publishing: Sends events and notices.
        clock: Says what time it is, and keeps the pace.
        settings: How much at once, and how fast.
        topics: As they are now.
        metrics: Where it counts.
    """

    def __init__(
        self,
        *,
        publishing: Publishing,
        clock: Clock,
        settings: RetentionSettings,
        topics: TopicSettings,
        metrics: RetentionMetrics,
    ) -> None:
        self._publishing = publishing
        self._clock = clock
        self._settings = settings
        self._topics = topics
        self._metrics = metrics
        self._oldest_due: datetime | None = None
        self._look_again: dict[CrowdedNamespace, datetime] = {}
        self._log = structlog.get_logger("soma_streams.retention.sweeper")
        metrics.read_overdue(self._overdue_seconds)

    async def sweep(self, connection: Connection) -> None:
        """End what is to end and tell of what will, once through everything.

        Args:
            connection: In autocommit and UTC, of a login with role soma_sinks; its loss ends the sweep.

        Raises:
            psycopg.Error: As the server or the connection tells it.
            ProducerError: The brokers refuse what is published.
        """
        ended = told = 0
        began, most = await self._now(connection), self._settings.page_memories
        async for page in ended_by_themselves(connection, began, most):
            ended += await self._end(connection, page)
        # How long before an end somebody is told, of each tenant where anybody is.
        notices: dict[str, int] = {}
        async for tenant, policies in _tenants(connection):
            now = await self._now(connection)
            async for page in ended_by_policy(connection, tenant, policies, now, most):
                ended += await self._end(connection, page)
            self._oldest_due = None
            async for place in crowded(connection, tenant, policies):
                async for surplus in due_surplus(connection, place, now, most):
                    ended += await self._end_surplus(connection, surplus)
                if self._is_to_be_looked_at(place, now):
                    async for surplus in untold_surplus(connection, place, most):
                        told += await self._tell_surplus(connection, surplus)
            longest = max((reach.decides.rule.notice_seconds for reach in policies.reaches()), default=0)
            if longest:
                notices[tenant] = longest
                async for page in untold_by_policy(connection, tenant, policies, now, most):
                    told += await self._tell(connection, page)
        if notices:
            now, longest = await self._now(connection), max(notices.values())
            async for page in untold_by_themselves(connection, notices, now, longest, most):
                told += await self._tell(connection, page)
        self._oldest_due = None
        # What a notice was for is done by now, unless its deadline came during this sweep.
        await self._forget(connection, began)
        if ended or told:
            self._log.info("memories_swept", ended=ended, told=told)

    def _is_to_be_looked_at(self, place: CrowdedNamespace, now: datetime) -> bool:
        """Say whether to look for what to tell of above a cap, which goes through all that waits already.

        The period begins with the notice, so that a later look takes nothing of it.
        """
        if now < self._look_again.get(place, now):
            return False
        self._look_again = {other: at for other, at in self._look_again.items() if now < at}
        self._look_again[place] = now + timedelta(seconds=place.cap.notice_seconds / _LOOKS_A_PERIOD)
        return True

    async def _end(self, connection: Connection, page: Page) -> int:
        """Publish the ends of those of a page whose deadline has passed, and wait until they are applied."""
        began = self._clock.monotonic()
        now = await self._now(connection)
        due = [(memory, at) for memory, at in await _judged(connection, page) if at.at <= now]
        if not due:
            return 0
        oldest = min(at.at for _, at in due)
        self._oldest_due = min(oldest, self._oldest_due or oldest)
        await self._publish_ends(connection, [_expiry(memory, at, now) for memory, at in due])
        await self._pace(len(due), began)
        return len(due)

    async def _end_surplus(self, connection: Connection, page: SurplusPage) -> int:
        """Publish the ends of those of a page that are still above a cap, and wait until they are applied."""
        began = self._clock.monotonic()
        now = await self._now(connection)
        due = await _still_capped(connection, page)
        if due:
            await self._publish_ends(connection, [_surplus_expiry(memory, now) for memory in due])
            await self._pace(len(due), began)
        return len(due)

    async def _publish_ends(self, connection: Connection, ends: Sequence[MemoryExpired]) -> None:
        positions = await self._publishing.publish(ends, MEMORY_EVENTS)
        self._metrics.expiries.inc(len(ends))
        await self._applied(connection, positions)

    async def _tell(self, connection: Connection, page: Page) -> int:
        """Publish notices of those of a page whose notice period has begun, then remember them."""
        began = self._clock.monotonic()
        now = await self._now(connection)
        judged = await _judged(connection, page)
        due = [(memory, at) for memory, at in judged if at.notice_at <= now < at.at]
        if not due:
            return 0
        notices = [_notice(memory, at, now) for memory, at in due]
        await self._publish_notices(connection, notices, [None] * len(due), now)
        await self._pace(len(due), began)
        return len(due)

    async def _tell_surplus(self, connection: Connection, page: SurplusPage) -> int:
        """Publish notices of those of a page that are still above a cap, then remember them."""
        began = self._clock.monotonic()
        now = await self._now(connection)
        due = await _still_capped(connection, page)
        if due:
            notices = [_surplus_notice(memory, now) for memory in due]
            await self._publish_notices(connection, notices, [memory.updated_at for memory in due], now)
            await self._pace(len(due), began)
        return len(due)

    async def _publish_notices(
        self,
        connection: Connection,
        notices: Sequence[MemoryExpiring],
        seen: Sequence[datetime | None],
        now: datetime,
    ) -> None:
        await self._publishing.publish(notices, MEMORY_EXPIRING)
        told = {
            "tenants": [notice.tenant for notice in notices],
            "memory_ids": [notice.memory_id for notice in notices],
            "deadlines": [notice.expires_at for notice in notices],
            "seen": seen,
        }
        await connection.execute(_REMEMBER, {"now": now, **told})
        self._metrics.notices.inc(len(notices))

    async def _applied(self, connection: Connection, positions: Sequence[Position]) -> None:
        """Wait until the sink of the tables has settled what was published: it is not found again then."""
        wanted: dict[int, int] = {}
        for position in positions:
            wanted[position.partition] = max(wanted.get(position.partition, 0), position.offset)
        place = {
            "group": SinkGroup.POSTGRES.value,
            "topic": MEMORY_EVENTS.full_name(self._topics),
            "epoch": self._topics.epoch,
        }
        while True:
            rows = await connection.execute(_REACHED, place)
            reached: dict[int, int] = dict(await rows.fetchall())
            if all(reached.get(partition, 0) > offset for partition, offset in wanted.items()):
                return
            await self._clock.sleep(_SETTLING_SECONDS)

    async def _forget(self, connection: Connection, now: datetime) -> None:
        """Take notices of deadlines that had passed by then out of the table."""
        past = {"now": now, "most": self._settings.page_memories}
        while (await connection.execute(_FORGET, past)).rowcount == self._settings.page_memories:
            pass

    async def _pace(self, memories: int, began: float) -> None:
        pause = memories / self._settings.memories_per_second - (self._clock.monotonic() - began)
        if pause > 0:
            await self._clock.sleep(pause)

    async def _now(self, connection: Connection) -> datetime:
        return min(self._clock.now(), await database_time(connection))

    def _overdue_seconds(self) -> float:
        if self._oldest_due is None:
            return 0.0
        return max(0.0, (self._clock.now() - self._oldest_due).total_seconds())


async def _tenants(connection: Connection) -> AsyncIterator[tuple[str, TenantPolicies]]:
    """Yield the tenants that have policies, each with those that are in force when it is its turn."""
    tenant = await next_tenant(connection, "")
    while tenant is not None:
        yield tenant, (await policies_of(connection, [tenant]))[tenant]
        tenant = await next_tenant(connection, tenant)


async def _judged(connection: Connection, page: Page) -> list[tuple[AgingMemory, Deadline]]:
    """Return the memories of a page that end at all, with when they do by the policies in force now."""
    policies = await policies_of(connection, {memory.tenant for memory in page})
    judged = [(memory, policies[memory.tenant].deadline_of(memory)) for memory in page]
    return [(memory, at) for memory, at in judged if at is not None]


async def _still_capped(connection: Connection, page: SurplusPage) -> list[SurplusMemory]:
    """Return the memories of a page whose namespace has the same cap by the policies in force now."""
    policies = await policies_of(connection, {memory.tenant for memory in page})
    return [memory for memory in page if policies[memory.tenant].cap_for(memory.namespace) == memory.cap]


def _expiry(memory: AgingMemory, deadline: Deadline, now: datetime) -> MemoryExpired:
    name = f"{memory.tenant}/{memory.memory_id}/{memory.version}/{deadline.at.isoformat()}"
    return MemoryExpired(
        event_id=uuid5(_EXPIRY_NAMESPACE, name),
        tenant=memory.tenant,
        occurred_at=now,
        actor=ACTOR,
        namespace=memory.namespace,
        memory_id=memory.memory_id,
        expires_at=deadline.at,
        updated_at=memory.updated_at if deadline.by_policy else None,
        archive=deadline.archive,
    )


def _notice(memory: AgingMemory, deadline: Deadline, now: datetime) -> MemoryExpiring:
    return MemoryExpiring(
        event_id=uuid5(_NOTICE_NAMESPACE, f"{memory.tenant}/{memory.memory_id}/{deadline.at.isoformat()}"),
        tenant=memory.tenant,
        occurred_at=now,
        actor=ACTOR,
        namespace=memory.namespace,
        memory_id=memory.memory_id,
        expires_at=deadline.at,
        version=memory.version,
    )


def _surplus_expiry(memory: SurplusMemory, now: datetime) -> MemoryExpired:
    return MemoryExpired(
        event_id=uuid5(_EXPIRY_NAMESPACE, f"{memory.tenant}/{memory.memory_id}/{memory.version}/cap"),
        tenant=memory.tenant,
        occurred_at=now,
        actor=ACTOR,
        namespace=memory.namespace,
        memory_id=memory.memory_id,
        # Its own deadline where it has one: a memory that has another by then has changed.
        expires_at=memory.expires_at or memory.told or now,
        updated_at=memory.updated_at,
        archive=memory.cap.archive,
    )


def _surplus_notice(memory: SurplusMemory, now: datetime) -> MemoryExpiring:
    return MemoryExpiring(
        event_id=uuid5(_NOTICE_NAMESPACE, f"{memory.tenant}/{memory.memory_id}/{memory.version}/cap"),
        tenant=memory.tenant,
        occurred_at=now,
        actor=ACTOR,
        namespace=memory.namespace,
        memory_id=memory.memory_id,
        expires_at=moved(now, memory.cap.notice_seconds),
        version=memory.version,
    )
