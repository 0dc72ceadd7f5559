"""The tables: how a process sees that a database has the shape that this version needs.

`migrations` brings a database to that shape; Alembic is there and nowhere else, because it takes half a
second to import and every process checks at its start.
"""

from collections.abc import Sequence
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
# The oldest revision whose programs run on the tables of HEAD: that of the release before. A revision that
# takes something away which they use raises it.
OLDEST_PROGRAM = "0022"

_PROGRAMS_FROM = "soma: programs from "
_OLDEST = "SELECT obj_description('alembic_version'::regclass, 'pg_class')"

POINT_IN_TIME = "soma: until "
"""How the comment on a database begins that is a point in time; a dump does not take it along."""

COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"


def check_head(dsn: str) -> None:
    """Return when the database is at the very revision of this program.

    Raises:
        MismatchError: It is not; the remedy says what to do.
        psycopg.OperationalError: It cannot be reached.
    """
    with psycopg.connect(dsn) as connection:
        require_whole(connection)
        _require_head(connection)


def check_runs_on(dsn: str) -> str:
    """Return the revision of a database on which this program runs: its own, or a later one that says so.

    The release before goes on beside the next one, and is what a rollback starts again.

    Raises:
        MismatchError: It does not run on this database; the remedy says what to do.
        psycopg.OperationalError: It cannot be reached.
    """
    with psycopg.connect(dsn) as connection:
        require_whole(connection)
        later = later_revision(connection)
        if later is None:
            _require_head(connection)
    return later or HEAD


def later_revision(connection: psycopg.Connection[Any]) -> str | None:
    """Return the revision of a database that is ahead, if this program runs on it; None if it is not ahead.

    Raises:
        MismatchError: The program does not run on it.
    """
    found = revision(connection)
    if found is None or found in REVISIONS:
        return None
    oldest = _oldest_program(connection)
    if oldest is None or oldest > HEAD:
        raise _mismatch(connection.info.dbname, found)
    return found


def note_oldest_program(connection: psycopg.Connection[Any]) -> None:
    """Have a database say which programs run on it, for those that do not know its revision."""
    connection.execute(f"COMMENT ON TABLE alembic_version IS '{_PROGRAMS_FROM}{OLDEST_PROGRAM}'".encode())


def _oldest_program(connection: psycopg.Connection[Any]) -> str | None:
    """Return the oldest revision whose programs run on a database; None where it does not say."""
    row = connection.execute(_OLDEST).fetchone()
    said = None if row is None else row[0]
    return said.removeprefix(_PROGRAMS_FROM) if said and said.startswith(_PROGRAMS_FROM) else None


def _require_head(connection: psycopg.Connection[Any]) -> None:
    if (found := revision(connection)) != HEAD:
        raise _mismatch(connection.info.dbname, found)


def _mismatch(database: str, found: str | None) -> MismatchError:
    if found is None:
        return MismatchError(
            f"database `{database}` holds no tables of ours; this program needs revision {HEAD}",
            remedy="Run `soma migrate` as the owner of the database.",
        )
    if found in REVISIONS:
        return MismatchError(
            f"database `{database}` is at revision {found}; this program needs revision {HEAD}",
            remedy="Run `soma migrate` as the owner of the database.",
        )
    return MismatchError(
        f"database `{database}` is at revision {found}, which is newer than this program; it knows {HEAD}",
        remedy="Start the release that ran `soma migrate` on this database, or the one before it.",
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
    """Refuse a database that is half restored, or a point in time.

    Raises:
        MismatchError: It is.
    """
    require_live(connection)
    if half_restored(connection):
        raise MismatchError(
            f"database `{connection.info.dbname}` is half restored",
            remedy="Run `soma restore` with the same archive again: it goes on where it was interrupted.",
        )


def point_in_time(connection: psycopg.Connection[Any]) -> str | None:
    """Return until when, and from what, a database was brought back to be looked at; None for others."""
    return _mark_in(connection.execute(COMMENT).fetchone())


def require_live(connection: psycopg.Connection[Any]) -> None:
    """Refuse a database that is a point in time: whoever works on it would apply what came after.

    Raises:
        MismatchError: It is.
    """
    require_unmarked(connection.info.dbname, connection.execute(COMMENT).fetchone())


def require_unmarked(database: str, row: Sequence[Any] | None) -> None:
    """Do the same with what `COMMENT` has returned.

    Raises:
        MismatchError: It is a point in time.
    """
    if (mark := _mark_in(row)) is not None:
        raise MismatchError(
            f"database `{database}` holds what there was until {mark.partition(' ')[0]}, "
            "to look at and to copy from",
            remedy="Name the live database with SOMA_POSTGRES__DATABASE.",
        )


def _mark_in(row: Sequence[Any] | None) -> str | None:
    comment = str(row[0] or "") if row is not None else ""
    return comment.removeprefix(POINT_IN_TIME) if comment.startswith(POINT_IN_TIME) else None


def _has(connection: psycopg.Connection[Any], table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]).fetchone()
    return row == (True,)
