"""Puts acts on the whole installation on record in the audit log, where no table's change does it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

_RECORD = """
INSERT INTO audit_log (happened_at, actor, action, subject, details)
VALUES (coalesce(%(at)s::timestamptz, now()), 'operator', %(action)s, %(subject)s, %(details)s)
"""


def record_act(
    connection: psycopg.Connection[Any],
    action: str,
    subject: str,
    details: Mapping[str, Any],
    at: datetime | None = None,
) -> None:
    """Put an act on record, in the transaction of a connection.

    Args:
        connection: Of a login that may add to the audit log: the owner's, or a worker's.
        action: What was done, as `soma audit --action` takes it.
        subject: To what.
        details: More about it; no secrets and no content.
        at: When; None is when the transaction began.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    values = {"at": at, "action": action, "subject": subject, "details": Jsonb(dict(details))}
    connection.execute(_RECORD, values)


def record_acts(dsn: str, action: str, subjects: Sequence[str], details: Mapping[str, Any]) -> None:
    """Put on record what has been done to each of some subjects elsewhere than in the database; blocks.

    Args:
        dsn: Of a login as `record_act` takes it.
        action: Likewise.
        subjects: Likewise, each of its own act.
        details: Likewise, the same of all.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    with psycopg.connect(dsn) as connection:
        for subject in subjects:
            record_act(connection, action, subject, details)
