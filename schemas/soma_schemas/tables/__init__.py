"""The tables: how a database is brought to the shape that this version needs, and how a process checks it.

Alembic keeps the revisions in `versions/`; the SQL in them is written by hand. Only this subpackage imports
Alembic, SQLAlchemy and psycopg.
"""

from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from soma_schemas.errors import MismatchError

# Any constant will do, as long as every migrator takes the same one.
_MIGRATION_LOCK = 0x50_4D_41_01


def migrate(dsn: str) -> list[str]:
    """Bring a database to the newest revision and return the revisions that were applied, oldest first.

    A second migrator waits for the first and then finds nothing to do. A revision that fails leaves the
    database as it was.

    Args:
        dsn: How to log in as the owner of the database, who may create roles.

    Raises:
        sqlalchemy.exc.OperationalError: The database cannot be reached.
        psycopg.Error: The database refuses a statement.
    """
    return _run(dsn, lambda config: command.upgrade(config, "head"))


def downgrade(dsn: str, revision: str) -> list[str]:
    """Take a database back to an older revision, or to `base`, and return the revisions that were undone.

    What a later revision added is dropped together with its rows. The roles stay: they belong to the cluster.
    """
    return _run(dsn, lambda config: command.downgrade(config, revision))


def head() -> str:
    """Return the revision that this version of the program needs."""
    newest = _scripts().get_current_head()
    if newest is None:
        raise RuntimeError("the package holds no migrations")
    return newest


def check_head(dsn: str) -> None:
    """Return when the database is at the revision that this program needs.

    Raises:
        MismatchError: It is not; the remedy says what to do.
        psycopg.OperationalError: It cannot be reached.
    """
    wanted = head()
    with psycopg.connect(dsn) as connection:
        database = connection.info.dbname
        found = _revision(connection)
    if found == wanted:
        return
    if found is None:
        raise MismatchError(
            f"database `{database}` holds no tables of ours; this program needs revision {wanted}",
            remedy="Run `soma migrate` as the owner of the database.",
        )
    if found in {script.revision for script in _scripts().walk_revisions()}:
        raise MismatchError(
            f"database `{database}` is at revision {found}; this program needs revision {wanted}",
            remedy="Run `soma migrate` as the owner of the database.",
        )
    raise MismatchError(
        f"database `{database}` is at revision {found}, which is newer than this program; it knows {wanted}",
        remedy="Start the release that ran `soma migrate` on this database, or a newer one.",
    )


def _revision(connection: psycopg.Connection) -> str | None:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return row[0] if row is not None else None


def _run(dsn: str, act: Callable[[Config], None]) -> list[str]:
    passed: list[str] = []
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection:
        # Of the session, not of the transaction: it must outlive a revision that commits on its own.
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        act(_config(connection=connection, passed=passed))
        connection.commit()
    return passed


def _config(**attributes: Any) -> Config:
    config = Config(attributes=attributes)
    config.set_main_option("script_location", "soma_schemas:tables")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
