"""Reads erasures: what was asked for, how far it is, and receipts."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from soma_api.queries.database import Database
from soma_api.queries.erasure_selection import ErasureSelection
from soma_schemas.events import ErasureScope

_COLUMNS = """
    request_id, scope, selector, selector_sha256, state, waits_for, actor, requested_at, accepted_at,
    completed_at, memories, history_rows, links, dead_letters, outbox_rows, notices, data_keys, receipt
"""
_GET = (
    "SELECT"
    + _COLUMNS
    + "FROM erasures WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid"
)
_OPEN = """
SELECT request_id, scope, selector, selector_sha256 FROM erasures
WHERE tenant = %(tenant)s::text AND state <> 'completed'
"""
_PAGE = (
    "SELECT"
    + _COLUMNS
    + """
FROM erasures
WHERE tenant = (SELECT %(tenant)s::text)
    AND (
        %(after_id)s::uuid IS NULL
        OR (requested_at, request_id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)
    )
ORDER BY requested_at DESC, request_id DESC
LIMIT %(limit)s::integer
"""
)


class StoredErasure(NamedTuple):
    """An erasure as the table has it.

    Attributes:
        selector: None for a whole tenant, and once it is complete.
        waits_for: What keeps it from going on, or None.
        receipt: Signed, as JSON; None before it is complete.
    """

    request_id: UUID
    scope: str
    selector: str | None
    selector_sha256: str | None
    state: str
    waits_for: str | None
    actor: str
    requested_at: datetime
    accepted_at: datetime
    completed_at: datetime | None
    memories: int
    history_rows: int
    links: int
    dead_letters: int
    outbox_rows: int
    notices: int
    data_keys: int
    receipt: str | None


class ErasureQueries:
    """Questions about erasures."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant: str, request_id: UUID) -> StoredErasure | None:
        """Return one erasure, or None.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        rows = await self._database.rows(tenant, _GET, {"request_id": request_id}, prepare=True)
        return StoredErasure(*rows[0]) if rows else None

    async def open(self, tenant: str) -> list[ErasureSelection]:
        """Return what the erasures select that are not complete.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        rows = await self._database.rows(tenant, _OPEN, {}, prepare=True)
        return [
            ErasureSelection(request_id, ErasureScope(scope), selector, digest)
            for request_id, scope, selector, digest in rows
        ]

    async def page(self, tenant: str, *, after: tuple[str, UUID] | None, limit: int) -> list[StoredErasure]:
        """Return at most `limit` erasures, newest first.

        Args:
            tenant: Whose.
            after: When the erasure was requested after which the page begins, and its id.
            limit: How many.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        after_time, after_id = (None, None) if after is None else after
        values = {"after_time": after_time, "after_id": after_id, "limit": limit}
        return [
            StoredErasure(*row) for row in await self._database.rows(tenant, _PAGE, values, prepare=False)
        ]
