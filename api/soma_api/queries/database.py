"""Access to PostgreSQL: every query runs for one tenant, in one round trip."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from soma_api.problems import QueryTimeoutError, StoreUnavailableError
from soma_api.query_time import query_time
from soma_schemas import tracing
from soma_schemas.postgres_pool import PostgresPool, open_pool
from soma_schemas.settings import PostgresSettings
from soma_schemas.tracing import SpanKind

Statement = LiteralString | sql.Composed
Ask = Callable[[psycopg.AsyncConnection], Awaitable[list[TupleRow]]]
# What the server raises when it is the one that gives up: a timeout, a shutdown, too little memory.
_UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError, OSError)

_SET_TENANT = "SELECT set_config('soma.tenant', %(tenant)s, true)"
_SET_TENANT_AND_TIME = (
    "SELECT set_config('soma.tenant', %(tenant)s, true),"
    " set_config('statement_timeout', %(milliseconds)s, true)"
)


def connection_string(settings: PostgresSettings, statement_timeout: timedelta) -> str:
    """Return how the API logs in, with the password in it: never log it."""
    milliseconds = round(statement_timeout.total_seconds() * 1000)
    return make_conninfo(
        settings.conninfo(),
        # No statement reads a whole table because it was small when its plan was made. Costs are guessed for
        # a tenant that owns the table, so they are no reason to compile.
        options=f"-c statement_timeout={milliseconds} -c timezone=UTC -c enable_seqscan=off -c jit=off",
        # A server that vanished without a word is noticed within seconds, not hours.
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
    )


def database_pool(
    settings: PostgresSettings, statement_timeout: timedelta
) -> AbstractAsyncContextManager[PostgresPool]:
    """Return a pool that is open within the block.

    Args:
        settings: Where the database is.
        statement_timeout: Longest run of one statement.
    """
    return open_pool(
        settings,
        conninfo=partial(connection_string, settings, statement_timeout),
        kwargs={"autocommit": True},
        min_size=min(2, settings.pool_size),
        name="soma-api",
    )


class Database:
    """Asks questions on behalf of one tenant at a time.

    Row-level security holds every question to the tenant that is set for its transaction; the statements
    name the tenant as well, so that neither guard stands alone.

    Args:
        pool: Logged in as a member of `soma_readers`, in autocommit.
    """

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def rows(
        self, tenant: str, statement: Statement, values: Mapping[str, Any], *, prepare: bool | None = None
    ) -> list[TupleRow]:
        """Return the rows that a statement gives within a tenant.

        Args:
            tenant: Set for the transaction; also the parameter `tenant` of the statement.
            statement: Reads only.
            values: Its other parameters.
            prepare: True for short statements that are always planned alike; False where the plan depends
                on the values.

        Raises:
            StoreUnavailableError: The database does not answer.
            QueryTimeoutError: It does not in the time that is left to the request.
        """
        time = query_time()
        settings = {"tenant": tenant}
        if time is not None:
            # 0 would be no limit.
            settings["milliseconds"] = str(max(1, int(time.left / timedelta(milliseconds=1))))

        async def ask(connection: psycopg.AsyncConnection) -> list[TupleRow]:
            try:
                # Spelt out: `connection.transaction()` would wait for the server three times, this does once.
                async with connection.pipeline():
                    await connection.execute("BEGIN READ ONLY")
                    await connection.execute(
                        _SET_TENANT if time is None else _SET_TENANT_AND_TIME, settings, prepare=True
                    )
                    cursor = await connection.execute(
                        statement, {**values, "tenant": tenant}, prepare=prepare
                    )
                    await connection.execute("COMMIT")
            except psycopg.Error:
                if not connection.closed:
                    await connection.rollback()
                raise
            return await cursor.fetchall()

        with nullcontext() if time is None else time.spent():
            return await self._answer(ask)

    async def write(self, tenant: str, statement: LiteralString, values: Mapping[str, Any]) -> None:
        """Run a statement that adds a row within a tenant; it may run twice, when the answer is lost.

        Args:
            tenant: Set for the transaction; also the parameter `tenant` of the statement.
            statement: One that the login may run.
            values: Its other parameters.

        Raises:
            StoreUnavailableError: The database does not answer, or not in time.
        """

        async def add(connection: psycopg.AsyncConnection) -> list[TupleRow]:
            async with connection.transaction():
                await connection.execute(_SET_TENANT, {"tenant": tenant})
                await connection.execute(statement, {**values, "tenant": tenant})
            return []

        await self._answer(add)

    async def rows_without_tenant(
        self, statement: LiteralString, values: Mapping[str, Any]
    ) -> list[TupleRow]:
        """Return rows of what is asked for no tenant: about API keys.

        Raises:
            StoreUnavailableError: The database does not answer, or not in time.
        """

        async def ask(connection: psycopg.AsyncConnection) -> list[TupleRow]:
            cursor = await connection.execute(statement, values, prepare=True)
            return await cursor.fetchall()

        return await self._answer(ask)

    async def _answer(self, ask: Ask) -> list[TupleRow]:
        try:
            with tracing.part("postgresql", SpanKind.CLIENT, tracing.POSTGRESQL):
                return await self._ask(ask)
        except psycopg.errors.QueryCanceled as error:
            raise QueryTimeoutError("the database was not done in time") from error
        except _UNAVAILABLE as error:
            raise StoreUnavailableError("the database does not answer") from error

    async def _ask(self, ask: Ask) -> list[TupleRow]:
        async with self._pool.connection() as connection:
            try:
                return await ask(connection)
            except _UNAVAILABLE:
                if not connection.closed:
                    raise
        # The server was restarted since this connection was last used, and others in the pool may be as
        # dead. What only reads can be asked again.
        await self._pool.check()
        async with self._pool.connection() as connection:
            return await ask(connection)
