"""The whole audit log, read by the owner of the database."""

import psycopg
from psycopg.rows import class_row

from soma_cli.audit_log import AuditEntries, AuditEntry

_NEWEST = """
SELECT happened_at, tenant, actor, action, subject, details, request_id
FROM audit_log
WHERE %(action)s::text IS NULL OR action = %(action)s::text
ORDER BY id DESC
LIMIT %(limit)s::bigint
"""


def newest_entries(dsn: str, action: str | None, limit: int) -> AuditEntries:
    """Return the newest acts of every tenant, and of the installation.

    Args:
        dsn: Of the database's owner.
        action: Of this kind alone.
        limit: How many.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=class_row(AuditEntry)) as cursor:
        found = cursor.execute(_NEWEST, {"action": action, "limit": limit}, prepare=False).fetchall()
    return AuditEntries(entries=found)
