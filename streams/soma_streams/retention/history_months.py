"""Makes the months of the history ahead, and drops those that are older than they are kept."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta

import psycopg
import structlog

from soma_schemas.clock import Clock
from soma_streams.metrics import RetentionMetrics
from soma_streams.retention.policies_read import database_time
from soma_streams.sinks.sessions import Connection

_MONTHS = """
SELECT to_date(right(relname, 7), 'YYYY_MM') AS month
FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'public.memory_history'::regclass
ORDER BY month
"""
_MAKE = "SELECT public.soma_ensure_history_partition(%(month)s::date)"
_DROP = "SELECT public.soma_drop_history_partition(%(month)s::date)"

# A month's length matters little: the next one is made weeks before its first event.
_AHEAD = timedelta(days=28)
_LOOK_EVERY_SECONDS = 3600.0


class HistoryMonths:
    """The partitions of the history, looked at once an hour.

    A month goes when all of it is older than it is kept, and older than all that can be delivered again: a
    record of the log, or a dead letter of one. What is in use is left for the next look, so that nobody waits
    for it.

    Args:
        kept: How long the history is kept; None for ever.
        replayable: Tells how old an event can be that comes again, as the brokers are configured now.
        clock: Says what time it is.
        metrics: Where it counts.
    """

    def __init__(
        self,
        kept: timedelta | None,
        *,
        replayable: Callable[[], Awaitable[timedelta]],
        clock: Clock,
        metrics: RetentionMetrics,
    ) -> None:
        self._kept = kept
        self._replayable = replayable
        self._clock = clock
        self._metrics = metrics
        self._looked_at: float | None = None
        self._log = structlog.get_logger("soma_streams.retention.history_months")

    async def look(self, connection: Connection) -> None:
        """Make and drop what it is time for, unless the last look was within the hour.

        Args:
            connection: In autocommit, of a login with role soma_sinks.

        Raises:
            psycopg.Error: As the server or the connection tells it.
            BrokerError: The brokers do not tell how long they keep records, and there is a month to drop.
        """
        began = self._clock.monotonic()
        if self._looked_at is not None and began - self._looked_at < _LOOK_EVERY_SECONDS:
            return
        now = min(self._clock.now(), await database_time(connection))
        for moment in (now, now + _AHEAD):
            await connection.execute(_MAKE, {"month": moment.date()})
        months = await _months(connection)
        if self._kept is not None:
            months = months[await self._drop(connection, months, self._kept, now) :]
        self._metrics.history_months.set(len(months))
        self._looked_at = began

    async def _drop(self, connection: Connection, months: list[date], kept: timedelta, now: datetime) -> int:
        """Return how many of the months, oldest first, are gone."""
        if not _older(months, now - kept):
            return 0
        old = _older(months, now - max(kept, await self._replayable()))
        for number, month in enumerate(old):
            try:
                await connection.execute(_DROP, {"month": month})
            except psycopg.errors.LockNotAvailable:
                self._log.warning("history_in_use", month=f"{month:%Y-%m}")
                return number
            self._metrics.history_months_dropped.inc()
            self._log.info("history_dropped", month=f"{month:%Y-%m}")
        return len(old)


async def _months(connection: Connection) -> list[date]:
    rows = await connection.execute(_MONTHS)
    return [month for (month,) in await rows.fetchall()]


def _older(months: list[date], moment: datetime) -> list[date]:
    """Return those of the months that have ended by then."""
    return [month for month in months if month < moment.date().replace(day=1)]
