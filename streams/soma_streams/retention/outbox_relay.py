"""Takes last states from the outbox to memory.expired, the oldest first, and then out of the table."""

from soma_schemas.events import ExpiredMemory
from soma_schemas.limits import Limits
from soma_schemas.topics import MEMORY_EXPIRED
from soma_streams.metrics import RetentionMetrics
from soma_streams.retention.publishing import Publishing
from soma_streams.sinks.sessions import Connection

# Taken out and published in one transaction: until it commits, nobody else takes or erases them.
_TAKE = """
DELETE FROM public.outbox
WHERE id = ANY (ARRAY(SELECT id FROM public.outbox ORDER BY id LIMIT %(most)s::bigint))
RETURNING id, content
"""
_COUNT = "SELECT count(*) FROM public.outbox"
_ROWS_AT_ONCE = 100
# They were within the limits of their time.
_NO_LIMITS = Limits(**dict.fromkeys(Limits.model_fields, 2**31))


class OutboxRelay:
    """Empties the outbox. After a crash what was published comes once more, under the same event id.

    Args:
        publishing: Sends the last states.
        metrics: Where it counts.
    """

    def __init__(self, publishing: Publishing, metrics: RetentionMetrics) -> None:
        self._publishing = publishing
        self._metrics = metrics

    async def relay(self, connection: Connection) -> None:
        """Publish all that the outbox has.

        Args:
            connection: In autocommit, of a login with role soma_sinks.

        Raises:
            psycopg.Error: As the server or the connection tells it.
            ProducerError: The brokers refuse a last state; it stays in the outbox.
        """
        while await self._page(connection) == _ROWS_AT_ONCE:
            pass
        row = await (await connection.execute(_COUNT)).fetchone()
        self._metrics.outbox_rows.set(row[0] if row is not None else 0)

    async def _page(self, connection: Connection) -> int:
        async with connection.transaction():
            rows = await (await connection.execute(_TAKE, {"most": _ROWS_AT_ONCE})).fetchall()
            if rows:
                states = [ExpiredMemory.validated(content, _NO_LIMITS) for _, content in sorted(rows)]
                await self._publishing.publish(states, MEMORY_EXPIRED)
        self._metrics.archived.inc(len(rows))
        return len(rows)
