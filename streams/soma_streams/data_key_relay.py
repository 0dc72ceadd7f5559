"""Takes to memory.keys what the table of data keys says and the log does not: wrapped anew, or destroyed.

Keys of before there was the topic are among these, and what a process that died had just made. Rows are held
while their records are on their way, so that the last record of a key says what its row says.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from functools import partial

import structlog

from soma_schemas.clock import Clock
from soma_schemas.encryption.key_log import COLUMNS, NOTE_LOGGED, KeptKey, ids_of, wrapped_event
from soma_schemas.encryption.master_keys import MasterKeys
from soma_schemas.events import DataKeyWrapped
from soma_schemas.producer import EventPublisher, Sendable, Tombstone
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import MEMORY_KEYS, Topic
from soma_schemas.versions import Position
from soma_streams.delivery.retry import Retry
from soma_streams.record_publishing import publish
from soma_streams.sinks.sessions import Connection, Pool, Sessions

_AT_ONCE = 500
_ROUND_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 0.25
# Brokers close and compact what they have only when something is written after it.
_STIR_SECONDS = 60.0
_STIRRED_FOR = timedelta(hours=1)

_TAKE_DESTROYED = f"""
SELECT {COLUMNS} FROM data_keys WHERE logged_at IS NULL AND destroyed_at IS NOT NULL
ORDER BY key_id LIMIT %(limit)s::integer FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # constant columns
_TAKE_WRAPPED = f"""
SELECT {COLUMNS} FROM data_keys
WHERE logged_at IS NULL AND master_key_id = ANY (%(master_key_ids)s::text[])
ORDER BY key_id LIMIT %(limit)s::integer FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # constant columns
_LEFT = """
SELECT count(*) FROM data_keys
WHERE logged_at IS NULL AND destroyed_at IS NULL AND master_key_id <> ALL (%(master_key_ids)s::text[])
"""
_PENDING = """
SELECT EXISTS (
    SELECT FROM data_keys
    WHERE logged_at IS NULL
        AND (destroyed_at IS NOT NULL OR master_key_id = ANY (%(master_key_ids)s::text[]))
)
"""
_LAST = f"""
SELECT {COLUMNS} FROM data_keys
WHERE logged_at > coalesce(now() - %(within)s::interval, '-infinity')
    AND (destroyed_at IS NOT NULL OR master_key_id = ANY (%(master_key_ids)s::text[]))
ORDER BY logged_at DESC LIMIT 1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # constant columns

_log = structlog.get_logger("soma_streams.data_key_relay")

# Publishes records and returns where they lie, once all replicas have them.
PublishKeys = Callable[[Sequence[Sendable], Topic], Awaitable[Sequence[Position]]]


class DataKeyRelay:
    """Brings data keys to the log. Any number of them may run at once.

    Args:
        pool: Connections of a login with role soma_sinks, or of the owner.
        publish: Writes to the log.
        masters: Unwrap what is to be published; without them tombstones alone are.
        clock: Paces it.
    """

    def __init__(self, pool: Pool, publish: PublishKeys, masters: MasterKeys | None, clock: Clock) -> None:
        self._sessions = Sessions(pool)
        self._publish = publish
        self._masters = masters
        self._clock = clock

    async def run(self, retry: Retry) -> None:
        """Bring over what comes up until cancelled, and have the brokers compact what it replaces.

        Args:
            retry: Waits out what is away.
        """
        left, next_stir, begun = 0, self._clock.monotonic(), self._clock.monotonic()
        while True:
            await retry("publish data keys", self.round)
            if (found := await retry("count data keys", self.left)) != left:
                left = found
                _log.warning("data_keys_without_master_key", data_keys=left)
            if (now := self._clock.monotonic()) >= next_stir:
                next_stir = now + _STIR_SECONDS
                # Whoever ran before may have ended before the brokers were through.
                within = _STIRRED_FOR if now - begun > _STIRRED_FOR.total_seconds() else None
                await retry("stir data keys", partial(self.stir, within))
            await self._clock.sleep(_ROUND_SECONDS)

    async def round(self) -> int:
        """Bring over all that can be, and return how many keys that were.

        Raises:
            MasterKeyError: A wrapped key was changed where it is kept.
            ProducerError: The log did not take them; they come again.
            psycopg.Error: As the server or the connection tells it.
        """
        async with self._sessions.borrow() as connection:
            count = await self._all(connection, _TAKE_DESTROYED)
            return count + await self._all(connection, _TAKE_WRAPPED)

    async def finish(self) -> None:
        """Bring over all that can be, also what another has begun to.

        Raises:
            As of `round`.
        """
        while await self.round() or await self._pending():
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)

    async def left(self) -> int:
        """Return how many keys cannot come to the log, for want of the master key that wrapped them."""
        async with self._sessions.borrow() as connection:
            row = await (await connection.execute(_LEFT, {"master_key_ids": self._ids})).fetchone()
            return int(row[0]) if row is not None else 0

    async def _pending(self) -> bool:
        async with self._sessions.borrow() as connection:
            row = await (await connection.execute(_PENDING, {"master_key_ids": self._ids})).fetchone()
            return row is not None and bool(row[0])

    async def stir(self, within: timedelta | None) -> None:
        """Say the last word again, if it was said within a time; None: whenever it was."""
        async with self._sessions.borrow() as connection, connection.transaction():
            values = {"within": within, "master_key_ids": self._ids}
            rows = await (await connection.execute(_LAST.encode(), values)).fetchall()
            await self._send([KeptKey(*row) for row in rows])

    @property
    def _ids(self) -> list[str]:
        return [] if self._masters is None else list(self._masters.ids_now())

    async def _all(self, connection: Connection, take: str) -> int:
        total = 0
        while True:
            async with connection.transaction():
                values = {"master_key_ids": self._ids, "limit": _AT_ONCE}
                rows = await (await connection.execute(take.encode(), values)).fetchall()
                keys = [KeptKey(*row) for row in rows]
                await self._send(keys)
                await connection.execute(NOTE_LOGGED, ids_of(keys))
            total += len(keys)
            if len(keys) < _AT_ONCE:
                return total

    async def _send(self, keys: Sequence[KeptKey]) -> None:
        if keys:
            await self._publish([self._record(key) for key in keys], MEMORY_KEYS)

    def _record(self, key: KeptKey) -> Sendable:
        if key.wrapped is None:
            return Tombstone(key.key_id, DataKeyWrapped.key_of(key.tenant, key.key_id))
        if self._masters is None:
            raise ValueError("a wrapped key was taken without the master key that wrapped it")
        return wrapped_event(key, self._masters)


@asynccontextmanager
async def open_relay(
    settings: PublishingSettings, pool: Pool, masters: MasterKeys | None, clock: Clock
) -> AsyncIterator[DataKeyRelay]:
    """Yield what brings data keys to the log of an installation."""
    with closing(EventPublisher(settings)) as publisher:
        yield DataKeyRelay(pool, partial(publish, publisher), masters, clock)
