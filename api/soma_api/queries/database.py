"""Access to PostgreSQL: every query runs for one tenant, in one round trip."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any, LiteralString

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from soma_api.problems import QueryTimeoutError, StoreUnavailableError
from soma_api.query_time import AskedReplica, QueryTime, query_time
from soma_schemas import tracing
from soma_schemas.postgres_pool import PostgresPool, open_pool
from soma_schemas.settings import PostgresSettings
from soma_schemas.tracing import SpanKind

Statement = LiteralString | sql.Composed
Ask = Callable[[psycopg.AsyncConnection], Awaitable[list[TupleRow]]]
# What the server raises when it is the one that gives up: a timeout, a shutdown, too little memory.
_UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError, OSError)

# Each statement sees what was there when it began, so a statement after this one sees what was replayed.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
_REPLAYED = (
    "SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() - '0/0'::pg_lsn >= %(lsn)s::bigint"
    " AND (SELECT timeline_id FROM pg_control_checkpoint()) = %(timeline)s"
)
# How long a request waits for a connection to a replica before the primary is asked.
_REPLICA_SECONDS = 0.5
_SET_TENANT = "SELECT set_config('soma.tenant', %(tenant)s, true)"
_SET_TENANT_AND_TIME = (
    "SELECT set_config('soma.tenant', %(tenant)s, true),"
    " set_config('statement_timeout', %(milliseconds)s, true)"
)

log = structlog.get_logger(__name__)


def connection_string(settings: PostgresSettings, statement_timeout: timedelta) -> str:
    """Return how the API logs in, with the password in it: never log it."""
    milliseconds = round(statement_timeout.total_seconds() * 1000)
    return make_conninfo(
        settings.conninfo(),
        # No statement reads a whole table because it was small when its plan was made. Costs are guessed for
        # a tenant that owns the table, so they are no reason to compile.
        options=f"-c statement_timeout={milliseconds} -c timezone=UTC -c enable_seqscan=off -c jit=off",
        # A server that vanished without a word is noticed within seconds, not hours: while an answer is
        # awaited, and while a question has not arrived.
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=11_000,
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


class _NotReplayedError(Exception):
    """This replica is behind the one that was looked at, or is none any more."""


class Database:
    """Asks questions on behalf of one tenant at a time.

    Row-level security holds every question to the tenant that is set for its transaction; the statements
    name the tenant as well, so that neither guard stands alone.

    Args:
        pool: Logged in as a member of `soma_readers`, in autocommit.
        by_replicas: Whether the read replica that was chosen for a request may answer `rows` in its place.
    """

    def __init__(self, pool: AsyncConnectionPool, *, by_replicas: bool = False) -> None:
        self._pool = pool
        self._by_replicas = by_replicas

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
        values = {**values, "tenant": tenant}
        if self._by_replicas and time is not None and (replica := time.replica) is not None:
            found = await self._rows_of_replica(replica, time, statement, values, prepare)
            if found is not None:
                return found
            replica.failed()
            time.replica = None
        with nullcontext() if time is None else time.spent():
            return await self._answer(_asking(time, statement, values, prepare))

    async def _rows_of_replica(
        self,
        replica: AskedReplica,
        time: QueryTime,
        statement: Statement,
        values: Mapping[str, Any],
        prepare: bool | None,  # noqa: FBT001  # as psycopg has it
    ) -> list[TupleRow] | None:
        """Return the rows, or None: whatever a replica raises, the primary has the word.

        Raises:
            QueryTimeoutError: The time of the request is over.
        """
        ask = _asking(time, statement, values, prepare, replica)
        try:
            with time.spent(), tracing.part("postgresql replica", SpanKind.CLIENT, tracing.POSTGRESQL):
                async with replica.pool.connection(timeout=_REPLICA_SECONDS) as connection:
                    return await ask(connection)
        except psycopg.errors.QueryCanceled as error:
            raise QueryTimeoutError("the database was not done in time") from error
        except (psycopg.Error, OSError, _NotReplayedError) as error:
            log.info("replica_gave_no_answer", error=type(error).__name__)
            return None

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


def _asking(
    time: QueryTime | None,
    statement: Statement,
    values: Mapping[str, Any],
    prepare: bool | None,  # noqa: FBT001  # as psycopg has it
    replica: AskedReplica | None = None,
) -> Ask:
    """Return what asks one question in a transaction of its own.

    Args:
        time: Of the request, if it has a limit.
        statement: Reads only.
        values: Its parameters, the tenant among them.
        prepare: As psycopg has it.
        replica: That is asked, for what it must have replayed; None: the primary is.
    """
    settings = {"tenant": values["tenant"]}
    if time is not None:
        # 0 would be no limit.
        settings["milliseconds"] = str(max(1, int(time.left / timedelta(milliseconds=1))))

    async def ask(connection: psycopg.AsyncConnection) -> list[TupleRow]:
        replayed = None
        try:
            # Spelt out: `connection.transaction()` would wait for the server three times, this does once.
            async with connection.pipeline():
                await connection.execute(_BEGIN)
                await connection.execute(
                    _SET_TENANT if time is None else _SET_TENANT_AND_TIME, settings, prepare=True
                )
                if replica is not None:
                    place = {"lsn": replica.lsn, "timeline": replica.timeline}
                    replayed = await connection.execute(_REPLAYED, place, prepare=True)
                cursor = await connection.execute(statement, values, prepare=prepare)
                await connection.execute("COMMIT")
        except psycopg.Error:
            if not connection.closed:
                await connection.rollback()
            raise
        if replayed is not None and await replayed.fetchone() != (True,):
            raise _NotReplayedError
        return await cursor.fetchall()

    return ask
