"""Brings a database to the newest revision. Alembic keeps the revisions in `versions/`; their SQL is ours."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config

from soma_schemas.tables import later_revision, note_oldest_program, require_whole

# Any constant will do, as long as every migrator takes the same one.
_MIGRATION_LOCK = 0x50_4D_41_01

# A statement that waits for a lock makes all wait who come after it. A backup holds its own for minutes.
_LOCK_TIMEOUT = "SET lock_timeout = '5s'"

_RECORD = """
INSERT INTO audit_log (actor, action, subject, details)
VALUES (
    'login:' || session_user, 'database.migrate', %(revision)s::text,
    jsonb_build_object('applied', %(applied)s::text[])
)
"""


# What else happens in the transaction of a migration, before it and after it.
Around = Callable[[psycopg.Connection[Any]], AbstractContextManager[None]]


def _nothing(_: psycopg.Connection[Any]) -> AbstractContextManager[None]:
    return nullcontext()


def migrate(
    dsn: str,
    require: Callable[[psycopg.Connection[Any]], None] = require_whole,
    around: Around = _nothing,
) -> list[str]:
    """Bring a database to the newest revision and return the revisions that were applied, oldest first.

    A second migrator waits for the first and then finds nothing to do, as one of the release before does. A
    revision that fails leaves the database as it was.

    Args:
        dsn: How to log in as the owner of the database, who may create roles.
        require: Refuses a database that is not to be migrated.
        around: Does something in the same transaction.

    Raises:
        psycopg.errors.LockNotAvailable: Another session held a lock for five seconds that a revision needs.
        psycopg.Error: The database cannot be reached or refuses a statement.
        MismatchError: A restore of the database has not ended, it is a point in time, or a later release than
            the next one has migrated it.
    """
    with psycopg.connect(dsn) as connection:
        require(connection)
        if later_revision(connection) is not None:
            return []
    return _run(dsn, lambda config: command.upgrade(config, "head"), around, record=True)


def downgrade(dsn: str, revision: str) -> list[str]:
    """Take a database back to an older revision, or to `base`, and return the revisions that were undone.

    What a later revision added is dropped together with its rows. The roles stay: they belong to the cluster.
    """
    return _run(dsn, lambda config: command.downgrade(config, revision))


def _run(
    dsn: str, act: Callable[[Config], None], around: Around = _nothing, *, record: bool = False
) -> list[str]:
    passed: list[str] = []
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection:
        # Of the session, not of the transaction: it must outlive a revision that commits on its own.
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        driver.execute(_LOCK_TIMEOUT)
        with around(driver):
            act(_config(connection=connection, passed=passed))
        if record:
            note_oldest_program(driver)
        if record and passed:
            driver.execute(_RECORD, {"revision": passed[-1], "applied": passed})
        connection.commit()
    return passed


def _config(**attributes: Any) -> Config:
    config = Config(attributes=attributes)
    config.set_main_option("script_location", "soma_schemas:tables")
    return config
