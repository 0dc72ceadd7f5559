"""A pool of connections that tells why it has none: a wrong password must not be waited out for ever."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from soma_schemas.settings import PostgresSettings

Connection = psycopg.AsyncConnection[TupleRow]


class TellingPool(AsyncConnectionPool[Connection]):
    """psycopg's pool keeps the reason to itself when it cannot connect; this one asks the server."""

    def __init__(self, conninfo: str, **options: Any) -> None:
        self._given = conninfo
        super().__init__(conninfo, open=False, **options)

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109  # psycopg's signature
        """Return a connection.

        Raises:
            psycopg.OperationalError: Why there is none.
            PoolTimeout: All are in use.
        """
        try:
            return await super().getconn(timeout)
        except PoolTimeout:
            await (await psycopg.AsyncConnection.connect(self._given)).close()
            raise


@asynccontextmanager
async def open_pool(settings: PostgresSettings) -> AsyncIterator[TellingPool]:
    """Yield a pool; it connects in the background, and again whenever a connection is lost."""
    pool = TellingPool(
        settings.conninfo(),
        min_size=1,
        max_size=settings.pool_size,
        timeout=settings.connect_timeout.total_seconds(),
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()
