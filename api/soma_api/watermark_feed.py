"""Tells what PostgreSQL tells of: watermarks, also by polling while nobody listens, and changed policies."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from soma_api.policies_in_force import PoliciesInForce
from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.clock import Clock
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS

_POLL_SECONDS = 0.25
# Proves that a quiet connection is alive, and mends whatever a notification may have missed.
_REREAD_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_RECONNECT_SECONDS_MAX = 5.0
_RECONNECT_SECONDS_FIRST = 0.1

_POLICIES_CHANGED = "soma_policies"
_LISTEN = f"LISTEN soma_watermarks; LISTEN {_POLICIES_CHANGED}"

_WATERMARKS = """
SELECT consumer_group, partition, next_offset FROM sink_watermarks
WHERE topic = %(topic)s::text AND epoch = %(epoch)s::integer
"""

log = structlog.get_logger(__name__)

Connect = Callable[[], Awaitable[psycopg.AsyncConnection]]


class WatermarkFeed:
    """Keeps informed who waits and who knows policies. One connection a process listens, and reconnects.

    Args:
        connect: Opens the listening connection, in autocommit.
        pool: Asked every 250 ms while nobody listens and somebody waits.
        topics: Name the log.
        waiter: Is told of watermarks.
        policies: Are told of changes, and whether they are told.
        clock: Paces the polling and the reconnecting.
        random: Spreads reconnecting processes.
    """

    def __init__(
        self,
        *,
        connect: Connect,
        pool: AsyncConnectionPool,
        topics: TopicSettings,
        waiter: WatermarkWaiter,
        policies: PoliciesInForce,
        clock: Clock,
        random: Random,
    ) -> None:
        self._connect = connect
        self._pool = pool
        self._topics = topics
        self._waiter = waiter
        self._policies = policies
        self._clock = clock
        self._random = random
        self._deaf = asyncio.Event()
        self._deaf.set()

    def follow(self, topics: TopicSettings) -> None:
        """Tell of another epoch's log from now on."""
        self._topics = topics

    async def run(self) -> None:
        """Feed the waiter until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen_for_ever())
            tasks.create_task(self._poll_while_deaf())

    async def _listen_for_ever(self) -> None:
        attempt = 0
        while True:
            try:
                async with await self._connect() as connection:
                    await self._listen(connection)
            except (psycopg.Error, TimeoutError, OSError) as error:
                if not self._deaf.is_set():
                    attempt = 0
                # Once per outage: an operator wants to know that it began, not how often we tried.
                if attempt == 0:
                    log.warning("watermarks_not_heard", error=type(error).__name__)
                self._deaf.set()
                self._policies.told(whether=False)
            longest = min(_RECONNECT_SECONDS_MAX, _RECONNECT_SECONDS_FIRST * 2.0 ** min(attempt, 32))
            await self._clock.sleep(self._random.uniform(0.0, longest))
            attempt += 1

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        async with asyncio.timeout(_ANSWER_SECONDS):
            # Listening first, reading second: what is settled in between is heard twice rather than never.
            await connection.execute(_LISTEN)
            await self._read(connection)
        self._deaf.clear()
        self._policies.told(whether=True)
        log.info("watermarks_heard")
        while True:
            async for notification in connection.notifies(timeout=_REREAD_SECONDS):
                self._heard(notification)
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._read(connection)

    def _heard(self, notification: psycopg.Notify) -> None:
        if notification.channel == _POLICIES_CHANGED:
            self._policies.forget(notification.payload)
            return
        try:
            group, epoch, partition, next_offset = notification.payload.rsplit(":", 3)
            self._waiter.advance(group, int(partition), int(next_offset), int(epoch))
        except ValueError:
            log.warning("watermark_not_understood", payload=notification.payload)

    async def _read(self, connection: psycopg.AsyncConnection) -> None:
        topics = self._topics
        place = {"topic": MEMORY_EVENTS.full_name(topics), "epoch": topics.epoch}
        found = await connection.execute(_WATERMARKS, place)
        for group, partition, next_offset in await found.fetchall():
            self._waiter.advance(group, partition, next_offset, topics.epoch)
        self._waiter.informed = True

    async def _poll_while_deaf(self) -> None:
        while True:
            await self._deaf.wait()
            await self._waiter.somebody_waits()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS), self._pool.connection() as connection:
                    await self._read(connection)
            except (psycopg.Error, TimeoutError, OSError) as error:
                log.debug("watermarks_not_polled", error=type(error).__name__)
            await self._clock.sleep(_POLL_SECONDS)
