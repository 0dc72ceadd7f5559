"""A session in the database that may do no more than an operator of dead letters, whoever logs in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from soma_schemas.errors import SomaError
from soma_schemas.settings import PostgresSettings

ROLE = "soma_operators"


class RoleError(SomaError):
    """The login may not decide about dead letters."""

    code = "role"


@asynccontextmanager
async def open_session(settings: PostgresSettings) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Yield a connection in autocommit; whatever the login may do besides, the session may not.

    Args:
        settings: A login that has role soma_operators; the owner of the database has it.

    Raises:
        RoleError: The login does not have the role, or the database does not know it.
        psycopg.Error: The database cannot be reached.
    """
    connection = await psycopg.AsyncConnection.connect(settings.conninfo(), autocommit=True)
    async with connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        # A plan is kept from when a table was empty, and must not read the whole of it later.
        await connection.execute("SET enable_seqscan = off")
        try:
            await connection.execute("SET ROLE soma_operators")
        except psycopg.errors.InsufficientPrivilege as error:
            raise RoleError(
                f"user `{settings.user}` does not have role {ROLE}, which decides about dead letters",
                remedy=f"as the owner of the database: GRANT {ROLE} TO {settings.user}",
            ) from error
        except psycopg.errors.InvalidParameterValue as error:
            raise RoleError(
                f"database `{settings.database}` does not know role {ROLE}",
                remedy="run `soma migrate` as the owner of the database",
            ) from error
        yield connection
