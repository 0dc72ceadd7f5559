"""Reads the audit log of a tenant, and adds to it what only the API knows."""

from datetime import datetime
from typing import Any, NamedTuple

from soma_api.queries.database import Database

_PAGE = """
SELECT id, happened_at, actor, action, subject, details, request_id
FROM audit_log
WHERE tenant = (SELECT %(tenant)s::text)
    AND (%(before)s::bigint IS NULL OR id < %(before)s::bigint)
    AND (%(action)s::text IS NULL OR action = %(action)s::text)
    AND (%(subject)s::text IS NULL OR subject = %(subject)s::text)
ORDER BY id DESC
LIMIT %(limit)s::integer
"""
_ADD = """
INSERT INTO audit_log (tenant, actor, action, subject, request_id)
VALUES (%(tenant)s::text, %(actor)s::text, %(action)s::text, %(subject)s::text, %(request_id)s::text)
"""


class AuditEntry(NamedTuple):
    """One administrative act.

    Attributes:
        subject: What it was done to: the id of a key, of a dead letter or of an erasure, or a namespace.
        details: What was allowed or set; no content and no secret.
    """

    id: int
    happened_at: datetime
    actor: str
    action: str
    subject: str | None
    details: dict[str, Any]
    request_id: str | None


class AuditLogQueries:
    """Questions about administrative acts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, tenant: str, *, action: str | None, subject: str | None, before: int | None, limit: int
    ) -> list[AuditEntry]:
        """Return at most `limit` acts, newest first.

        Args:
            tenant: Whose.
            action: Of this kind alone.
            subject: Done to this alone.
            before: The id of the act after which the page begins.
            limit: How many.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {"action": action, "subject": subject, "before": before, "limit": limit}
        rows = await self._database.rows(tenant, _PAGE, values, prepare=False)
        return [AuditEntry(*row) for row in rows]

    async def add(
        self, tenant: str, *, actor: str, action: str, subject: str | None, request_id: str
    ) -> None:
        """Put an act on record. One may stand there twice, if the database went away after it had it.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {"actor": actor, "action": action, "subject": subject, "request_id": request_id}
        await self._database.write(tenant, _ADD, values)
