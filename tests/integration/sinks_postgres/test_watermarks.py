"""Watermarks of sinks that do not write to Postgres: never waited for, never lost while somebody lives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from random import Random

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from builders import logged, stored
from fakes import FakeClock
from postgres_tables import a_watermark, deliver, rows
from soma_schemas.clock import SystemClock
from soma_schemas.groups import SinkGroup
from soma_streams.delivery.retry import Retry, StoreAvailability
from soma_streams.delivery.state import Watermark
from soma_streams.settings import RetrySettings
from soma_streams.sinks import watermarks
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.sinks.sessions import Connection, Pool
from soma_streams.sinks.watermarks import PostgresWatermarks

Advance = Callable[[Connection, Collection[Watermark]], Awaitable[None]]


class Nobody:
    def availability_changed(self, state: StoreAvailability) -> None:
        """Take no notice."""


def writer(pool: Pool, clock: FakeClock) -> PostgresWatermarks:
    return PostgresWatermarks(pool, Retry(RetrySettings(), clock, Random(1), Nobody()), clock)


@asynccontextmanager
async def running(marks: PostgresWatermarks) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(marks.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def offsets(dsn: str) -> dict[int, int]:
    return {
        row["partition"]: row["next_offset"]
        for row in rows(dsn, "SELECT partition, next_offset FROM sink_watermarks")
    }


@asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN soma_watermarks")
        yield connection


async def heard(connection: psycopg.AsyncConnection, count: int) -> list[str]:
    return [notice.payload async for notice in connection.notifies(timeout=60, stop_after=count)]


async def test_a_rise_is_told_when_the_batch_is_committed(
    sink: PostgresSink, worker_dsn: str, api_dsn: str
) -> None:
    del worker_dsn
    async with listening(api_dsn) as connection:
        await deliver(sink, [logged(stored(key="a"), 41, partition=3)])
        await deliver(sink, [logged(stored(key="a"), 41, partition=3)])
        await deliver(sink, [logged(stored(key="a"), 42, partition=3)])

        payloads = await heard(connection, 2)

    assert payloads == ["test-postgres:1:3:42", "test-postgres:1:3:43"]


async def test_an_offered_watermark_is_written_and_told(pool: Pool, api_dsn: str, owner_dsn: str) -> None:
    marks = writer(pool, FakeClock())
    async with listening(api_dsn) as connection, running(marks):
        marks.offer(a_watermark(7, partition=2, group=SinkGroup.VECTORS))

        payloads = await heard(connection, 1)

    assert payloads == ["soma-vectors:1:2:7"]
    (row,) = rows(owner_dsn, "SELECT consumer_group, partition, epoch, next_offset FROM sink_watermarks")
    assert tuple(row.values()) == ("soma-vectors", 2, 1, 7)


async def test_only_the_highest_of_each_partition_is_written(
    pool: Pool, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[set[tuple[int, int]]] = []
    monkeypatch.setattr(watermarks, "advance", noting(watermarks.advance, written))
    marks = writer(pool, FakeClock(skips=False))
    for partition, offset in [(0, 5), (0, 9), (0, 7), (1, 3)]:
        marks.offer(a_watermark(offset, partition=partition))
    async with running(marks):
        assert await marks.close(5)

    assert written == [{(0, 9), (1, 3)}]
    assert offsets(owner_dsn) == {0: 9, 1: 3}


def noting(original: Advance, written: list[set[tuple[int, int]]]) -> Advance:
    async def advance(connection: Connection, marks: Collection[Watermark]) -> None:
        written.append({(mark.partition, mark.next_offset) for mark in marks})
        await original(connection, marks)

    return advance


def failing(original: Advance, error: Exception, times: int) -> Advance:
    faults = [error] * times

    async def advance(connection: Connection, marks: Collection[Watermark]) -> None:
        if faults:
            raise faults.pop()
        await original(connection, marks)

    return advance


async def test_an_outage_is_waited_out_and_what_is_offered_meanwhile_is_written_after_it(
    pool: Pool, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(skips=False)
    monkeypatch.setattr(watermarks, "advance", failing(watermarks.advance, PoolTimeout("away"), 1))
    marks = writer(pool, clock)
    marks.offer(a_watermark(5))
    async with running(marks):
        await until(lambda: bool(clock.slept))
        marks.offer(a_watermark(8))
        marks.offer(a_watermark(2, partition=1))
        clock.advance(60)
        await until(lambda: offsets(owner_dsn) == {0: 8, 1: 2})

    assert len(clock.slept) == 1
    assert clock.slept[0] <= RetrySettings().backoff_initial.total_seconds()


async def test_what_is_refused_for_good_ends_the_task_with_its_error(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = psycopg.errors.InsufficientPrivilege("permission denied")
    monkeypatch.setattr(watermarks, "advance", failing(watermarks.advance, refusal, 1))
    marks = writer(pool, FakeClock())
    marks.offer(a_watermark(5))

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await marks.run()

    assert not await marks.close(1)


async def test_closing_writes_what_waits_and_ends_the_task(pool: Pool, owner_dsn: str) -> None:
    marks = writer(pool, FakeClock(skips=False))
    marks.offer(a_watermark(5))
    async with running(marks) as task:
        assert await marks.close(5)
        await task

    assert offsets(owner_dsn) == {0: 5}


async def test_closing_gives_up_in_time_when_postgres_is_away(
    pool: Pool, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(skips=False)
    monkeypatch.setattr(watermarks, "advance", failing(watermarks.advance, PoolTimeout("away"), 1000))
    marks = writer(pool, clock)
    marks.offer(a_watermark(5))
    async with running(marks) as task:
        await until(lambda: bool(clock.slept))
        closing = asyncio.create_task(marks.close(5))
        await until(lambda: 5 in clock.slept)
        clock.advance(5)

        assert not await closing
        await task

    assert offsets(owner_dsn) == {}


async def test_closing_what_never_ran_ends_in_time(pool: Pool) -> None:
    marks = writer(pool, FakeClock())
    marks.offer(a_watermark(5))

    assert not await marks.close(5)


async def until(holds: Callable[[], bool]) -> None:
    """Return when something holds."""
    clock = SystemClock()
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(holds):
            await clock.sleep(0.005)
