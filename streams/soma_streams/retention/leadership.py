"""One process of many does what must not be done twice at once: whoever holds a lock of the database."""

from collections.abc import Awaitable, Callable

import psycopg
import structlog

from soma_schemas.clock import Clock
from soma_streams.delivery.retry import Retry, Store
from soma_streams.sinks.sessions import Connection

# Any number that nobody else uses in this database.
_LOCK = 0x736F6D615F72
_TRY = "SELECT pg_try_advisory_lock(%(lock)s::bigint)"


class Leadership:
    """Does some work again and again while this process is the one that may, and stands by otherwise.

    The lock is held by the session on which the work is done: with the session both are lost.

    Args:
        conninfo: Of a login with role soma_sinks, straight to the server.
        retry: Waits for the database.
        clock: Pauses.
        pause_seconds: Between two turns, and between two tries to lead.
        tell: Hears whether this process leads.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        retry: Retry,
        clock: Clock,
        pause_seconds: float,
        tell: Callable[[bool], None],
    ) -> None:
        self._conninfo = conninfo
        self._retry = retry
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._tell = tell
        self._session: Connection | None = None
        self._leads = False
        self._log = structlog.get_logger("soma_streams.retention.leadership")

    async def run(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        """Work until cancelled.

        Args:
            work: One turn, on the session that leads; it is in autocommit and UTC.

        Raises:
            Exception: What no later turn would mend.
        """
        try:
            while True:
                await self._retry("retention turn", lambda: self._turn(work), Store.POSTGRES)
                await self._clock.sleep(self._pause_seconds)
        finally:
            await self._resign()

    async def _turn(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        try:
            session = self._session = self._session or await self._connected()
            if not self._leads:
                row = await (await session.execute(_TRY, {"lock": _LOCK})).fetchone()
                if row is None or not row[0]:
                    return
                self._leads = True
                self._tell(True)
                self._log.info("retention_leads")
            await work(session)
        except BaseException:
            await self._resign()
            raise

    async def _connected(self) -> Connection:
        session: Connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        await session.execute("SET TIME ZONE 'UTC'")
        # A plan is kept from when a table was empty, and must not read the whole of it later.
        await session.execute("SET enable_seqscan = off")
        return session

    async def _resign(self) -> None:
        session, self._session = self._session, None
        if self._leads:
            self._leads = False
            self._tell(False)
        if session is not None:
            await session.close()
