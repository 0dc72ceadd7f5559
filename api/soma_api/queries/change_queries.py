"""Reads what was applied to the memories of a tenant, in the order of the log's partitions."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from soma_api.queries.database import Database
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import EPOCH_SUFFIX, MEMORY_EVENTS
from soma_schemas.versions import FIRST_EPOCH, Position

# Each epoch of the log has a topic of its own.
_ENDS = f"""
SELECT partition, epoch, next_offset FROM sink_watermarks
WHERE consumer_group = %(group)s::text
    AND topic = %(topic)s::text || CASE WHEN epoch > {FIRST_EPOCH} THEN '{EPOCH_SUFFIX}' || epoch ELSE '' END
"""  # noqa: S608  # words of our own

# A replay is a change where it was applied; its row of the history is at its first place. The tenant is
# compared so that no index begins with it: what is read is a range of a partition, whoever's it is.
_CHANGES = """
SELECT
    wanted.partition, change.at_version, change.version, change.logged_at, change.event_id, change.event_type,
    change.memory_id, change.namespace, change.actor
FROM unnest(%(partitions)s::integer[], %(first)s::bigint[], %(ends)s::bigint[])
    AS wanted (partition, first, ends)
CROSS JOIN LATERAL (
    (
        SELECT version AS at_version, version, logged_at, event_id, event_type, memory_id, namespace, actor
        FROM memory_history
        WHERE partition = wanted.partition AND version >= wanted.first AND version < wanted.ends
            AND coalesce(tenant, '') = %(tenant)s::text AND outcome = 'applied'
        ORDER BY version
        LIMIT %(limit)s::integer
    )
    UNION ALL
    (
        SELECT
            replay.at_version, known.version, known.logged_at, event_id, event_type, memory_id, namespace,
            actor
        FROM memory_replays AS replay
        JOIN memory_history AS known USING (partition, version, logged_at)
        WHERE replay.at_partition = wanted.partition
            AND replay.at_version >= wanted.first AND replay.at_version < wanted.ends
            AND replay.tenant = %(tenant)s::text AND coalesce(known.tenant, '') = %(tenant)s::text
        ORDER BY replay.at_version
        LIMIT %(limit)s::integer
    )
    ORDER BY at_version
    LIMIT %(limit)s::integer
) AS change
ORDER BY wanted.partition, change.at_version
"""


class Span(NamedTuple):
    """A part of a partition: from a version to before another one, of the same epoch."""

    partition: int
    first: int
    ends: int


class AppliedChange(NamedTuple):
    """An event that was applied.

    Attributes:
        partition: Where it was applied.
        at_version: What would have been its version there; differs from its own for a replayed dead letter.
        version: Of the memory from then on; of a link's event, of the link.
        logged_at: When the log received it first.
        memory_id: About which memory; of a link, where it begins.
    """

    partition: int
    at_version: int
    version: int
    logged_at: datetime
    event_id: UUID
    event_type: str
    memory_id: UUID
    namespace: str | None
    actor: str

    @property
    def position(self) -> Position:
        """Where it was applied."""
        return Position.of_version(self.partition, self.at_version)


class ChangeQueries:
    """Questions about what was applied.

    Args:
        database: Where the history is.
        topics: Name the log.
    """

    def __init__(self, database: Database, topics: TopicSettings) -> None:
        self._database = database
        self._topic = MEMORY_EVENTS.full_name(topics, FIRST_EPOCH)

    async def ends(self) -> list[Position]:
        """Return what comes next in each partition of each epoch: everything before it is settled.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        place = {"group": SinkGroup.POSTGRES, "topic": self._topic}
        rows = await self._database.rows_without_tenant(_ENDS, place)
        return [Position(partition, offset, epoch) for partition, epoch, offset in rows]

    async def applied(self, tenant: str, spans: Sequence[Span], limit: int) -> list[AppliedChange]:
        """Return what was applied in some spans, each in its order.

        Args:
            tenant: Whose.
            spans: At most one of a partition.
            limit: At most so many of each span.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {
            "partitions": [span.partition for span in spans],
            "first": [span.first for span in spans],
            "ends": [span.ends for span in spans],
            "limit": limit,
        }
        return [AppliedChange(*row) for row in await self._database.rows(tenant, _CHANGES, values)]
