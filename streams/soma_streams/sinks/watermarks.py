"""How far each sink has come, kept in Postgres and told to whoever waits for it."""

import asyncio
from collections.abc import Collection

import structlog

from soma_schemas.clock import Clock
from soma_schemas.versions import NO_VERSION, pack_version
from soma_streams.cancellation import end
from soma_streams.delivery.retry import Retry, Store
from soma_streams.delivery.state import Watermark
from soma_streams.sinks.sessions import Connection, Pool
from soma_streams.sinks.statements import statement

_Place = tuple[str, str, int]

_ONE_AT_A_TIME = """
SELECT pg_advisory_xact_lock(
    hashtextextended(concat_ws('/', %(group)s::text, %(topic)s::text, %(partition)s::int), 0)
)
"""
_HELD = """
SELECT epoch, next_offset FROM public.sink_watermarks
WHERE consumer_group = %(group)s::text AND topic = %(topic)s::text AND partition = %(partition)s::int
"""


async def advance(connection: Connection, watermarks: Collection[Watermark]) -> None:
    """Raise watermarks as part of the connection's transaction; who waits for one is told when it commits.

    One that would fall within its epoch, or that has an older epoch, stays as it is, and nobody is told.

    Args:
        connection: In the transaction that the watermarks tell of.
        watermarks: At most one per group, topic and partition.
    """
    if not watermarks:
        return
    await connection.execute(
        statement("advance_watermarks"),
        {
            "groups": [each.group for each in watermarks],
            "topics": [each.topic for each in watermarks],
            "partitions": [each.partition for each in watermarks],
            "epochs": [each.epoch for each in watermarks],
            "offsets": [each.next_offset for each in watermarks],
        },
    )


async def settled_below(connection: Connection, watermark: Watermark) -> int:
    """Return below which version everything is settled in a watermark's partition, as the tables have it.

    Whoever asks for the same partition afterwards waits until the connection's transaction has ended.

    Args:
        connection: In the transaction that will raise the watermark.
        watermark: Names group, topic and partition.
    """
    place = {"group": watermark.group, "topic": watermark.topic, "partition": watermark.partition}
    await connection.execute(_ONE_AT_A_TIME, place)
    row = await (await connection.execute(_HELD, place)).fetchone()
    return pack_version(*row) if row is not None else NO_VERSION


class PostgresWatermarks:
    """Writes the watermarks of a sink that must not wait for Postgres, as soon as Postgres takes them.

    Only the highest watermark of each partition waits, so an outage costs no memory.

    Args:
        pool: Connections of a login with role soma_sinks.
        retry: Waits out an outage; it says nothing about the sink's own store.
        clock: Measures how long closing may take.
    """

    def __init__(self, pool: Pool, retry: Retry, clock: Clock) -> None:
        self._pool = pool
        self._retry = retry
        self._clock = clock
        self._waiting: dict[_Place, Watermark] = {}
        self._offered = asyncio.Event()
        self._closing = asyncio.Event()
        self._giving_up = asyncio.Event()
        self._finished = asyncio.Event()
        self._log = structlog.get_logger("soma_streams.sinks.watermarks")

    def offer(self, watermark: Watermark) -> None:
        """Have a watermark written soon, unless a higher one waits already."""
        place = (watermark.group, watermark.topic, watermark.partition)
        known = self._waiting.get(place)
        if known is None or _height(known) < _height(watermark):
            self._waiting[place] = watermark
            self._offered.set()

    async def run(self) -> None:
        """Write what is offered until `close` is called; belongs in a task of its own.

        Raises:
            Exception: Postgres refuses for good, for example because the table is missing.
        """
        writing = asyncio.create_task(self._write_until_closed())
        giving_up = asyncio.create_task(self._giving_up.wait())
        try:
            await asyncio.wait({writing, giving_up}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            await end(writing, giving_up)
            self._finished.set()

    async def close(self, seconds: float) -> bool:
        """Write what waits, make `run` return, and say whether everything was written.

        What was not written is overtaken by the partition's next watermark, whoever offers it.

        Args:
            seconds: When to give up.
        """
        self._closing.set()
        self._offered.set()
        finished = asyncio.create_task(self._finished.wait())
        too_late = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({finished, too_late}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._giving_up.set()
            await end(finished, too_late)
        if self._waiting:
            self._log.warning("watermarks_not_written", partitions=len(self._waiting))
        return not self._waiting

    async def _write_until_closed(self) -> None:
        while True:
            await self._offered.wait()
            self._offered.clear()
            if self._waiting:
                await self._retry("write watermarks", self._write, Store.POSTGRES)
            if self._closing.is_set() and not self._waiting:
                return

    async def _write(self) -> None:
        watermarks = list(self._waiting.values())
        async with self._pool.connection() as connection:
            await advance(connection, watermarks)
        for written in watermarks:
            place = (written.group, written.topic, written.partition)
            if self._waiting[place] == written:
                del self._waiting[place]


def _height(watermark: Watermark) -> tuple[int, int]:
    return watermark.epoch, watermark.next_offset
