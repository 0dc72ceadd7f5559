"""Watermarks from a real database: heard, read again, and polled while nobody is heard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from random import Random

import psycopg
import pytest
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from conftest import LocalParts
from fakes import FakeClock
from soma_api.policies_in_force import PoliciesInForce
from soma_api.queries.database import Database, connection_string, database_pool
from soma_api.queries.policy_queries import PolicyQueries
from soma_api.watermark_feed import WatermarkFeed
from soma_api.watermark_waiter import READABLE, WatermarkWaiter
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.fields import Kind
from soma_schemas.groups import SinkGroup
from soma_schemas.retention import TenantPolicies
from soma_schemas.settings import PostgresSettings, TopicSettings
from soma_schemas.versions import Position
from waiting import eventually

TOPIC = "memory.events"
LONG = 10.0


class Sink:
    """Writes watermarks as a sink does."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def move(self, next_offset: int, *, topic: str = TOPIC, notify: bool = True) -> None:
        with psycopg.connect(self._dsn) as connection:
            connection.execute(
                "INSERT INTO sink_watermarks"
                " (consumer_group, topic, partition, epoch, next_offset, updated_at)"
                " VALUES ('soma-postgres', %s, 0, 1, %s, now())"
                " ON CONFLICT (consumer_group, topic, partition)"
                " DO UPDATE SET next_offset = excluded.next_offset",
                [topic, next_offset],
            )
            if notify:
                connection.execute(
                    "SELECT pg_notify('soma_watermarks', %s)", [f"soma-postgres:1:0:{next_offset}"]
                )


@pytest.fixture
def sink(worker_dsn: str) -> Sink:
    return Sink(worker_dsn)


@pytest.fixture
async def waiter() -> WatermarkWaiter:
    return WatermarkWaiter()


@pytest.fixture
async def pool(local_parts: LocalParts, api_dsn: str) -> AsyncIterator[AsyncConnectionPool]:
    del api_dsn
    async with database_pool(login(local_parts), timedelta(seconds=5)) as pool:
        yield pool


def login(local_parts: LocalParts) -> PostgresSettings:
    return local_parts.parts.postgres.settings(Login.API)


async def unasked(tenant: str) -> TenantPolicies:
    """A test of watermarks has no policies."""
    raise NotImplementedError(tenant)


@asynccontextmanager
async def fed(
    waiter: WatermarkWaiter,
    pool: AsyncConnectionPool,
    connect: Callable[[], object],
    policies: PoliciesInForce | None = None,
) -> AsyncIterator[None]:
    feed = WatermarkFeed(
        connect=connect,  # type: ignore[arg-type]  # a fault is injected here
        pool=pool,
        topics=TopicSettings(),
        waiter=waiter,
        policies=policies or PoliciesInForce(unasked, SystemClock()),
        clock=SystemClock(),
        random=Random(7),
    )
    running = asyncio.create_task(feed.run())
    yield
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def listening(local_parts: LocalParts) -> Callable[[], object]:
    conninfo = connection_string(login(local_parts), timedelta(seconds=5))
    return lambda: psycopg.AsyncConnection.connect(conninfo, autocommit=True, application_name="listener")


def deaf() -> object:
    raise psycopg.OperationalError("no connection for listening")


async def test_what_was_settled_before_is_known_at_once(
    waiter: WatermarkWaiter, pool: AsyncConnectionPool, local_parts: LocalParts, sink: Sink
) -> None:
    sink.move(7, notify=False)

    async with fed(waiter, pool, listening(local_parts)):
        assert await waiter.wait(READABLE, [Position(0, 6)], LONG)


async def test_a_notification_wakes_who_waits(
    waiter: WatermarkWaiter, pool: AsyncConnectionPool, local_parts: LocalParts, sink: Sink
) -> None:
    sink.move(1, notify=False)
    async with fed(waiter, pool, listening(local_parts)):
        await waiter.wait(READABLE, [Position(0, 0)], LONG)
        waiting = asyncio.create_task(waiter.wait(READABLE, [Position(0, 41)], LONG))

        await asyncio.to_thread(sink.move, 42)

        assert await waiting


async def test_another_topics_watermarks_are_not_read(
    waiter: WatermarkWaiter, pool: AsyncConnectionPool, local_parts: LocalParts, sink: Sink
) -> None:
    sink.move(99, topic="another", notify=False)
    sink.move(7, notify=False)

    async with fed(waiter, pool, listening(local_parts)):
        await waiter.wait(READABLE, [Position(0, 6)], LONG)

    assert waiter.next_offset(SinkGroup.POSTGRES, 0) == 7


async def test_a_lost_connection_is_made_anew_and_misses_nothing(
    waiter: WatermarkWaiter, pool: AsyncConnectionPool, local_parts: LocalParts, sink: Sink
) -> None:
    sink.move(1, notify=False)
    async with fed(waiter, pool, listening(local_parts)):
        await waiter.wait(READABLE, [Position(0, 0)], LONG)

        with psycopg.connect(local_parts.parts.postgres.dsn(Login.ADMIN), autocommit=True) as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'listener'"
            ).fetchall()
        await asyncio.to_thread(sink.move, 42)

        assert ended == [(True,)]
        assert await waiter.wait(READABLE, [Position(0, 41)], LONG)


async def test_who_waits_is_served_by_polling_while_nobody_listens(
    waiter: WatermarkWaiter, pool: AsyncConnectionPool, sink: Sink
) -> None:
    async with fed(waiter, pool, deaf):
        waiting = asyncio.create_task(waiter.wait(READABLE, [Position(0, 41)], LONG))

        await asyncio.to_thread(sink.move, 42)

        assert await waiting


async def test_a_notification_that_makes_no_sense_is_passed_over(
    waiter: WatermarkWaiter, pool: AsyncConnectionPool, local_parts: LocalParts, sink: Sink, worker_dsn: str
) -> None:
    sink.move(1, notify=False)
    async with fed(waiter, pool, listening(local_parts)):
        await waiter.wait(READABLE, [Position(0, 0)], LONG)
        with psycopg.connect(worker_dsn) as connection:
            connection.execute("SELECT pg_notify('soma_watermarks', 'nonsense')")
            connection.execute("SELECT pg_notify('soma_watermarks', 'a:b:c:d')")

        await asyncio.to_thread(sink.move, 42)

        assert await waiter.wait(READABLE, [Position(0, 41)], LONG)


async def test_a_changed_policy_is_in_force_as_soon_as_it_is_told(
    waiter: WatermarkWaiter, pool: AsyncConnectionPool, local_parts: LocalParts, sink: Sink, worker_dsn: str
) -> None:
    def change(ttl: int) -> None:
        rule = {"kind": None, "ttl_seconds": ttl, "notice_seconds": 0, "archive": False}
        with psycopg.connect(worker_dsn) as connection:
            connection.execute(
                "INSERT INTO retention_policies (tenant, namespace, rules, actor, set_at, version)"
                " VALUES ('acme', '', %s, 'tester', now(), 1)"
                " ON CONFLICT (tenant, namespace) DO UPDATE SET rules = excluded.rules",
                [Jsonb([rule])],
            )
            connection.execute("SELECT pg_notify('soma_policies', 'acme')")

    async def in_force() -> int | None:
        rule = (await policies.of("acme")).rule_for("team", Kind.EPISODIC)
        return None if rule is None else rule.rule.ttl_seconds

    # Time stands still: nothing but what is told makes anybody read again.
    policies = PoliciesInForce(PolicyQueries(Database(pool)).in_force, FakeClock())
    sink.move(1, notify=False)
    async with fed(waiter, pool, listening(local_parts), policies):
        await waiter.wait(READABLE, [Position(0, 0)], LONG)
        assert await in_force() is None

        await asyncio.to_thread(change, 60)
        await eventually(in_force, lambda ttl: ttl == 60)
        await asyncio.to_thread(change, 90)
        await eventually(in_force, lambda ttl: ttl == 90)
