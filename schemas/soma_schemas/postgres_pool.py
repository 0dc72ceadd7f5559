"""A pool of PostgreSQL connections: it soon finds a server that is back, and tells why it has none."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from soma_schemas.postgres_access import explained
from soma_schemas.settings import PostgresSettings

Connection = psycopg.AsyncConnection[TupleRow]

# psycopg's pool doubles its pause up to minutes. Given up after two seconds and begun anew, it is one second.
_RECONNECT_SECONDS = 2.0


class PostgresPool(AsyncConnectionPool[Connection]):
    """psycopg's pool waits for a connection in silence; this one says why the last attempt failed.

    Args:
        settings: Where the database is.
        conninfo: Returns how to log in as libpq has it, with the password in it. Asked at each connection: a
            password may be replaced meanwhile.
        **options: Of psycopg's pool.
    """

    def __init__(self, settings: PostgresSettings, conninfo: Callable[[], str], **options: Any) -> None:
        self._settings = settings
        self._refusal: psycopg.OperationalError | None = None
        super().__init__(
            conninfo,
            connection_class=_connection_class(self),
            open=False,
            reconnect_timeout=_RECONNECT_SECONDS,
            reconnect_failed=_begin_anew,
            **options,
        )

    def note(self, refusal: psycopg.OperationalError | None) -> None:
        """Keep how the last attempt to connect ended."""
        self._refusal = refusal

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109  # psycopg's signature
        """Return a connection.

        Raises:
            DatabaseAccessError: There will be none until an operator acts.
            psycopg.OperationalError: Why there is none.
            PoolTimeout: All are in use, or the server has not answered.
        """
        try:
            return await super().getconn(timeout)
        except PoolTimeout as error:
            if self._refusal is not None:
                raise await explained(self._settings, type(self._refusal)(*self._refusal.args)) from error
            raise


def _connection_class(pool: PostgresPool) -> type[Connection]:
    """Return a class of connections that tell a pool how each attempt ended."""

    class Noted(psycopg.AsyncConnection[TupleRow]):
        @classmethod
        async def connect(cls, *args: Any, **options: Any) -> Self:
            try:
                connection = await super().connect(*args, **options)
            except psycopg.OperationalError as error:
                pool.note(error)
                raise
            pool.note(None)
            return connection

    return Noted


async def _begin_anew(pool: AsyncConnectionPool[Any]) -> None:
    # Checking makes a pool without connections grow.
    await pool.check()


@asynccontextmanager
async def open_pool(
    settings: PostgresSettings, *, conninfo: Callable[[], str] | None = None, **options: Any
) -> AsyncIterator[PostgresPool]:
    """Yield a pool; it connects in the background, and again whenever a connection is lost.

    Args:
        settings: Where the database is, how many connections there may be, and how long to wait for one.
        conninfo: How to log in where it differs from what the settings say.
        **options: Of psycopg's pool.
    """
    pool = PostgresPool(
        settings,
        conninfo or settings.conninfo,
        max_size=settings.pool_size,
        timeout=settings.connect_timeout.total_seconds(),
        **{"min_size": 1, **options},
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()
