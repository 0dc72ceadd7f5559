"""Brings a database to the newest revision. Alembic keeps the revisions in `versions/`; their SQL is ours."""

from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config

from soma_schemas.tables import require_whole

# Any constant will do, as long as every migrator takes the same one.
_MIGRATION_LOCK = 0x50_4D_41_01


def migrate(dsn: str, require: Callable[[psycopg.Connection[Any]], None] = require_whole) -> list[str]:
    """Bring a database to the newest revision and return the revisions that were applied, oldest first.

    A second migrator waits for the first and then finds nothing to do. A revision that fails leaves the
    database as it was.

    Args:
        dsn: How to log in as the owner of the database, who may create roles.
        require: Refuses a database that is not to be migrated.

    Raises:
        psycopg.Error: The database cannot be reached or refuses a statement.
        MismatchError: A restore of the database has not ended, or it is a point in time.
    """
    with psycopg.connect(dsn) as connection:
        require(connection)
    return _run(dsn, lambda config: command.upgrade(config, "head"))


def downgrade(dsn: str, revision: str) -> list[str]:
    """Take a database back to an older revision, or to `base`, and return the revisions that were undone.

    What a later revision added is dropped together with its rows. The roles stay: they belong to the cluster.
    """
    return _run(dsn, lambda config: command.downgrade(config, revision))


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
