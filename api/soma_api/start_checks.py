"""Checks of the database at start: its revision, and row-level security."""

import asyncio

import psycopg
import structlog

from soma_schemas.clock import Clock
from soma_schemas.errors import ConfigurationError, told
from soma_schemas.postgres_access import refusals_explained
from soma_schemas.settings import PostgresSettings
from soma_schemas.tables import check_runs_on

_AGAIN_SECONDS = 2.0

log = structlog.get_logger(__name__)


async def check_database(settings: PostgresSettings) -> bool:
    """Say whether the database answered and is as this version needs it.

    Returns:
        False while it does not answer: the API may start, and says on /readyz that it is not ready.

    Raises:
        MismatchError: It is not at the revision that this version needs.
        ConfigurationError: Row-level security does not bind the login, so it would see every tenant.
    """
    try:
        await asyncio.to_thread(_check, settings)
    except psycopg.OperationalError as error:
        log.warning("database_not_checked", error=type(error).__name__, reason=told(error))
        return False
    return True


async def check_database_later(settings: PostgresSettings, clock: Clock) -> None:
    """Check the database as soon as it answers.

    Raises:
        MismatchError: As `check_database`.
        ConfigurationError: Likewise.
    """
    while not await check_database(settings):
        await clock.sleep(_AGAIN_SECONDS)


def _check(settings: PostgresSettings) -> None:
    with refusals_explained(settings):
        check_runs_on(settings.conninfo())
        with psycopg.connect(settings.conninfo()) as connection:
            row = connection.execute("SELECT row_security_active('public.memories')").fetchone()
    if row != (True,):
        raise ConfigurationError(
            f"the login `{settings.user}` is not bound by row-level security: it would see every tenant",
            remedy="Log in as a member of soma_readers that neither owns the tables nor is a superuser.",
        )
