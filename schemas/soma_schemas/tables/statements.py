"""Runs the SQL of a revision as it stands: no placeholders, several statements at once."""

from typing import cast

import psycopg
from alembic import op


def run(statements: str) -> None:
    """Run statements in the transaction of the migration.

    Raises:
        psycopg.Error: The database refuses one; the migration is rolled back.
    """
    connection = cast("psycopg.Connection", op.get_bind().connection.driver_connection)
    connection.execute(statements.encode())


def commit() -> None:
    """Commit what the migration has done so far, and with it every revision before."""
    op.get_bind().commit()
