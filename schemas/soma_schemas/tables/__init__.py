"""The tables: how a process sees that a database has the shape that this version needs.

`migrations` brings a database to that shape; Alembic is there and nowhere else, because it takes half a
second to import and every process checks at its start.
"""

from importlib.resources import files
from typing import Any

import psycopg

from soma_schemas.errors import MismatchError

# Oldest first, as the files in `versions/` are named; the last is what this version needs.
REVISIONS = tuple(
    sorted(
        file.name.partition("_")[0]
        for file in (files("soma_schemas.tables") / "versions").iterdir()
        if file.name.endswith(".py")
    )
)
HEAD = REVISIONS[-1]


def check_head(dsn: str) -> None:
    """Return when the database is at the revision that this program needs.

    Raises:
        MismatchError: It is not; the remedy says what to do.
        psycopg.OperationalError: It cannot be reached.
    """
    with psycopg.connect(dsn) as connection:
        database = connection.info.dbname
        found = revision(connection)
        require_whole(connection)
    if found == HEAD:
        return
    if found is None:
        raise MismatchError(
            f"database `{database}` holds no tables of ours; this program needs revision {HEAD}",
            remedy="Run `soma migrate` as the owner of the database.",
        )
    if found in REVISIONS:
        raise MismatchError(
            f"database `{database}` is at revision {found}; this program needs revision {HEAD}",
            remedy="Run `soma migrate` as the owner of the database.",
        )
    raise MismatchError(
        f"database `{database}` is at revision {found}, which is newer than this program; it knows {HEAD}",
        remedy="Start the release that ran `soma migrate` on this database, or a newer one.",
    )


def revision(connection: psycopg.Connection[Any]) -> str | None:
    """Return the revision that a database says it is at; None when it says nothing."""
    if not _has(connection, "alembic_version"):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row is not None else None


def half_restored(connection: psycopg.Connection[Any]) -> bool:
    """Say whether a restore has filled the tables and not ended: it writes the revision last."""
    return (
        _has(connection, "alembic_version") and _has(connection, "memories") and revision(connection) is None
    )


def require_whole(connection: psycopg.Connection[Any]) -> None:
    """Refuse a database that is half restored.

    Raises:
        MismatchError: It is.
    """
    if half_restored(connection):
        raise MismatchError(
            f"database `{connection.info.dbname}` is half restored",
            remedy="Run `soma restore` with the same archive again: it goes on where it was interrupted.",
        )


def _has(connection: psycopg.Connection[Any], table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]).fetchone()
    return row == (True,)
