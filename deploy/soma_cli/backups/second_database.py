"""Makes a database beside the live one, for a dump to come back into."""

from typing import Any

import psycopg
from psycopg import sql

from soma_cli.backups.backup_errors import BackupError


def create_database(connection: psycopg.Connection[Any], name: str) -> None:
    """Make an empty database.

    Args:
        connection: In autocommit, to the server's live database.
        name: Of the new one.

    Raises:
        BackupError: The login may not create a database.
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    user = connection.info.user
    try:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise BackupError(
            f"user `{user}` may not create a database",
            remedy=f"as a superuser: ALTER ROLE {user} CREATEDB",
        ) from error
