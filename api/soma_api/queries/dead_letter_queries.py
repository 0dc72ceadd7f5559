"""Reads the index of dead letters; their content stays in the dead-letter topic."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from soma_api.queries.database import Database

_COLUMNS = """
    id, status, status_changed_at, first_failed_at, consumer_group, stage, code, message, attempts,
    application_version, memory_id, partition, log_offset, epoch, logged_at
"""

# Backwards along the index, where nulls come first: dead letters with unreadable headers want to be seen. The
# tenant is a subquery, so that it is any tenant to the planner, not one of a single dead letter.
_PAGE = (
    "SELECT"
    + _COLUMNS
    + """
FROM dead_letters
WHERE tenant = (SELECT %(tenant)s::text)
    AND status = ANY (%(statuses)s::text[])
    AND (%(consumer_group)s::text IS NULL OR consumer_group = %(consumer_group)s::text)
    AND (%(stage)s::text IS NULL OR stage = %(stage)s::text)
    AND (%(code)s::text IS NULL OR code = %(code)s::text)
    AND (%(memory_id)s::uuid IS NULL OR memory_id = %(memory_id)s::uuid)
    AND (%(failed_from)s::timestamptz IS NULL OR first_failed_at >= %(failed_from)s::timestamptz)
    AND (%(failed_before)s::timestamptz IS NULL OR first_failed_at < %(failed_before)s::timestamptz)
    AND (
        %(after_id)s::uuid IS NULL
        OR (first_failed_at, id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)
        OR (
            %(after_time)s::timestamptz IS NULL
            AND (first_failed_at IS NOT NULL OR id < %(after_id)s::uuid)
        )
    )
ORDER BY first_failed_at DESC, id DESC
LIMIT %(limit)s::integer
"""
)

# The tenant is asked outside, where it cannot open the index of all its dead letters.
_BY_ID = """
FROM (SELECT * FROM dead_letters WHERE id = %(dead_letter_id)s::uuid OFFSET 0) AS held
WHERE tenant = %(tenant)s::text
"""
_GET = "SELECT" + _COLUMNS + _BY_ID


class DeadLetter(NamedTuple):
    """A dead letter without what it holds; None where its headers do not say."""

    id: UUID
    status: str
    status_changed_at: datetime | None
    first_failed_at: datetime | None
    consumer_group: str | None
    stage: str | None
    code: str
    message: str
    attempts: int | None
    application_version: str | None
    memory_id: UUID | None
    partition: int | None
    log_offset: int | None
    epoch: int | None
    logged_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DeadLetterFilters:
    """Which dead letters a list holds; None asks nothing.

    Attributes:
        failed_from: First failed at this time or later.
        failed_before: First failed before this time.
    """

    statuses: Sequence[str]
    consumer_group: str | None = None
    stage: str | None = None
    code: str | None = None
    memory_id: UUID | None = None
    failed_from: datetime | None = None
    failed_before: datetime | None = None


class DeadLetterQueries:
    """Questions about dead letters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, tenant: str, filters: DeadLetterFilters, *, after: tuple[str | None, UUID] | None, limit: int
    ) -> list[DeadLetter]:
        """Return at most `limit` dead letters, newest first.

        Args:
            tenant: Whose.
            filters: Which.
            after: When the dead letter failed after which the page begins, and its id.
            limit: How many.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        after_time, after_id = (None, None) if after is None else after
        values = {
            "statuses": list(filters.statuses),
            "consumer_group": filters.consumer_group,
            "stage": filters.stage,
            "code": filters.code,
            "memory_id": filters.memory_id,
            "failed_from": filters.failed_from,
            "failed_before": filters.failed_before,
            "after_time": after_time,
            "after_id": after_id,
            "limit": limit,
        }
        return [DeadLetter(*row) for row in await self._database.rows(tenant, _PAGE, values, prepare=False)]

    async def get(self, tenant: str, dead_letter_id: UUID) -> DeadLetter | None:
        """Return one dead letter, or None.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        rows = await self._database.rows(tenant, _GET, {"dead_letter_id": dead_letter_id}, prepare=True)
        return DeadLetter(*rows[0]) if rows else None
