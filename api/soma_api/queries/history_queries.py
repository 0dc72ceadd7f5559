"""Reads the history of one memory from PostgreSQL: what each of its events said, and what became of it."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from soma_api.queries.database import Database
from soma_schemas.outcomes import Outcome

# So many events make one state. A memory that was patched more often since it was stored has no revisions.
MOST_EVENTS = 10_000

_COLUMNS = """version, logged_at, occurred_at, event_id, event_type, namespace, actor, outcome, reason,
    error_code, content::text"""

# What a memory was before it expired is over, also where it was stored again.
_AFTER_EXPIRY = """version > coalesce((
        SELECT max(version) FROM memory_history
        WHERE tenant = %(tenant)s::text AND memory_id = %(memory_id)s::uuid
            AND event_type = 'MemoryExpired' AND outcome = 'applied'
    ), 0)"""

_PAGE = f"""
SELECT {_COLUMNS}
FROM memory_history
WHERE tenant = %(tenant)s::text AND memory_id = %(memory_id)s::uuid
    AND version < %(before)s::bigint AND {_AFTER_EXPIRY}
ORDER BY version DESC
LIMIT %(limit)s::integer
"""  # noqa: S608  # columns of our own

_SINCE_STORED = f"""
SELECT {_COLUMNS}
FROM memory_history
WHERE tenant = %(tenant)s::text AND memory_id = %(memory_id)s::uuid AND outcome = 'applied'
    AND version <= %(until)s::bigint AND {_AFTER_EXPIRY}
    AND version >= coalesce((
        SELECT max(version) FROM memory_history
        WHERE tenant = %(tenant)s::text AND memory_id = %(memory_id)s::uuid
            AND event_type = 'MemoryStored' AND outcome = 'applied' AND version <= %(until)s::bigint
    ), 0)
ORDER BY version
LIMIT %(most)s::integer
"""  # noqa: S608  # columns of our own

# Of some memories, those that were there at a time. What was before a memory expired is over; what an erasure
# has cleared has no namespace.
_THERE_AT = """
SELECT wanted.id, begun.namespace, changed.version
FROM unnest(%(memory_ids)s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT namespace, event_type, version FROM memory_history
    WHERE tenant = %(tenant)s::text AND memory_id = wanted.id AND outcome = 'applied'
        AND logged_at <= %(at)s::timestamptz
        AND event_type IN ('MemoryStored', 'MemoryDeleted', 'MemoryExpired')
    ORDER BY version DESC
    LIMIT 1
) AS begun
CROSS JOIN LATERAL (
    SELECT version FROM memory_history
    WHERE tenant = %(tenant)s::text AND memory_id = wanted.id AND outcome = 'applied'
        AND logged_at <= %(at)s::timestamptz
        AND event_type IN ('MemoryStored', 'MemoryPatched', 'MemoryAccessed')
    ORDER BY version DESC
    LIMIT 1
) AS changed
WHERE begun.event_type = 'MemoryStored' AND begun.namespace IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM memory_history
        WHERE tenant = %(tenant)s::text AND memory_id = wanted.id AND outcome = 'applied'
            AND event_type = 'MemoryExpired' AND version > begun.version
    )
"""

_VERSION_AT = """
SELECT max(version) FROM memory_history
WHERE tenant = %(tenant)s::text AND memory_id = %(memory_id)s::uuid
    AND outcome = 'applied' AND logged_at <= %(at)s::timestamptz
"""


class HistoryEvent(NamedTuple):
    """An event about a memory, and what became of it.

    Attributes:
        version: Of the memory, when it was applied.
        logged_at: When the log received it.
        occurred_at: The producer's word on when it happened; None of what could not be read.
        reason: Why it was superseded.
        error_code: Why it was dead-lettered.
        content: What it said of the memory, as JSON; None of what said nothing or was not applied.
    """

    version: int
    logged_at: datetime
    occurred_at: datetime | None
    event_id: UUID | None
    event_type: str | None
    namespace: str | None
    actor: str | None
    outcome: Outcome
    reason: str | None
    error_code: str | None
    content: str | None


class PastVersion(NamedTuple):
    """What a memory was at a time: in which namespace, and with which version."""

    namespace: str
    version: int


class HistoryQueries:
    """Questions about the history of a memory, whatever became of it.

    Args:
        database: Where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant: str, memory_id: UUID, before: int, limit: int) -> list[HistoryEvent]:
        """Return events of a memory, the newest first, back to where it last expired.

        Args:
            tenant: Whose.
            memory_id: Which.
            before: Those with a lower version.
            limit: At most so many.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {"memory_id": memory_id, "before": before, "limit": limit}
        return [_event(*row) for row in await self._database.rows(tenant, _PAGE, values)]

    async def since_stored(self, tenant: str, memory_id: UUID, until: int) -> list[HistoryEvent]:
        """Return what was applied up to a version, from the last time that the memory was stored whole.

        The first is no `MemoryStored` where the history does not reach back to one. There may be one more
        than `MOST_EVENTS`, and then there are others.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {"memory_id": memory_id, "until": until, "most": MOST_EVENTS + 1}
        return [_event(*row) for row in await self._database.rows(tenant, _SINCE_STORED, values)]

    async def there_at(
        self, tenant: str, memory_ids: Collection[UUID], at: datetime
    ) -> dict[UUID, PastVersion]:
        """Return those of these memories that were there at a time, as far as the history tells.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {"memory_ids": list(memory_ids), "at": at}
        rows = await self._database.rows(tenant, _THERE_AT, values, prepare=True)
        return {memory_id: PastVersion(*past) for memory_id, *past in rows}

    async def version_at(self, tenant: str, memory_id: UUID, at: datetime) -> int | None:
        """Return which version a memory had at a time; None where the history has nothing of before.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        rows = await self._database.rows(tenant, _VERSION_AT, {"memory_id": memory_id, "at": at})
        version: int | None = rows[0][0]
        return version


def _event(*row: object) -> HistoryEvent:
    event = HistoryEvent(*row)  # type: ignore[arg-type]  # as the statement selects them
    return event._replace(outcome=Outcome(event.outcome))
