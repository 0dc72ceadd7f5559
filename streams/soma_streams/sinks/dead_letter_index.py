"""Indexes the dead-letter topic into a table, so that letters can be listed; the topic keeps the events."""

import structlog

from soma_schemas.remedies import UNREADABLE_HEADERS
from soma_streams.delivery.state import Watermark
from soma_streams.sinks.dead_letter_rows import DeadLetterRow, dead_letter_row
from soma_streams.sinks.sessions import Pool, RowType, Sessions
from soma_streams.sinks.statements import statement
from soma_streams.sinks.watermarks import advance
from soma_streams.transport.records import RecordBatch


class DeadLetterIndex:
    """The table of dead letters.

    Args:
        pool: Connections of a login with role soma_sinks, straight to the server, as `Sessions` wants them.
    """

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool, RowType("dead_letter_row", DeadLetterRow))
        self._log = structlog.get_logger("soma_streams.sinks.dead_letter_index")

    async def apply(self, batch: RecordBatch, watermark: Watermark) -> int:
        """Index the dead letters of a batch with its watermark, and return how many were new.

        Applying it again changes nothing. A record that is no dead letter of ours is indexed too, under code
        `unreadable_headers`: nothing in the dead-letter topic is passed over.

        Raises:
            psycopg.Error: As the server or the connection tells it; nothing was indexed.
        """
        rows = [dead_letter_row(batch.topic, batch.partition, record) for record in batch.records]
        async with self._sessions.borrow() as connection, connection.transaction():
            offered = self._sessions.parameter(connection, "dead_letter_row", rows)
            indexed = await connection.execute(statement("index_dead_letters"), {"rows": offered})
            await advance(connection, [watermark])
        for row in rows:
            if row.code == UNREADABLE_HEADERS:
                self._log.warning(
                    "dead_letter_unreadable", partition=row.dlq_partition, offset=row.dlq_offset
                )
        return indexed.rowcount
