"""Tells when the newest backup was made, so that somebody hears of it when that is long ago."""

from datetime import datetime

from soma_schemas.clock import Clock
from soma_schemas.metrics import MetricSet
from soma_streams.delivery.retry import Retry, Store
from soma_streams.metrics import BACKUP_MADE
from soma_streams.sinks.sessions import Pool

_NEWEST = "SELECT max(made_at) FROM public.backups"
_PAUSE_SECONDS = 60.0


class BackupAge:
    """Looks for the newest backup on record, again and again.

    Args:
        pool: Of a login with role soma_sinks.
        clock: Pauses.
        metrics: Of the process; without a backup on record they say 0, before the first look nothing.
    """

    def __init__(self, pool: Pool, clock: Clock, metrics: MetricSet) -> None:
        self._pool = pool
        self._clock = clock
        self._made: float | None = None
        metrics.read(BACKUP_MADE, lambda: [((), at) for at in [self._made] if at is not None])

    async def run(self, retry: Retry) -> None:
        """Look until cancelled.

        Args:
            retry: Waits for the database.

        Raises:
            Exception: What no later look would mend.
        """
        while True:
            await retry("look for backups", self.look, Store.POSTGRES)
            await self._clock.sleep(_PAUSE_SECONDS)

    async def look(self) -> None:
        """Look once.

        Raises:
            psycopg.Error: As the server or the connection tells it.
        """
        async with self._pool.connection() as connection:
            ((newest,),) = await (await connection.execute(_NEWEST)).fetchall()
        self._made = newest.timestamp() if isinstance(newest, datetime) else 0.0
