"""Puts acts on the whole installation on record in the audit log, where no table's change does it."""

from collections.abc import Mapping

import psycopg
from psycopg.types.json import Jsonb

_RECORD = """
INSERT INTO audit_log (actor, action, subject, details)
VALUES ('operator', %(action)s, %(subject)s, %(details)s)
"""


def record_act(dsn: str, action: str, subject: str, details: Mapping[str, str | int]) -> None:
    """Put an act on record that has been done; blocks.

    Args:
        dsn: Of a login that may add to the audit log: the owner's, or a worker's.
        action: What was done, as `soma audit --action` takes it.
        subject: To what.
        details: More about it; no secrets and no content.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    values = {"action": action, "subject": subject, "details": Jsonb(dict(details))}
    with psycopg.connect(dsn) as connection:
        connection.execute(_RECORD, values)
