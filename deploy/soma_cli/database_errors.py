"""Errors of PostgreSQL in operator commands, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy.exc

from soma_schemas.errors import SomaError
from soma_schemas.postgres_access import database_refusal
from soma_schemas.settings import PostgresSettings


class DatabaseError(SomaError):
    """PostgreSQL did not do what was asked."""

    code = "database"


@contextmanager
def told_in_words(settings: PostgresSettings) -> Iterator[None]:
    """Translate what goes wrong in the block.

    Raises:
        DatabaseError: PostgreSQL cannot be reached or refuses.
    """
    try:
        yield
    except sqlalchemy.exc.OperationalError as error:
        raise _unreachable(settings, error.orig or error) from error
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(
            f"another session holds a lock on database `{settings.database}`: {error.diag.message_primary}",
            remedy="run this again when it has ended: pg_stat_activity shows it, often a backup",
        ) from error
    except psycopg.OperationalError as error:
        raise _unreachable(settings, error) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"user `{settings.user}` may not do this: {error.diag.message_primary}",
            remedy="log in as the owner of the database: set SOMA_POSTGRES__USER and SOMA_POSTGRES__PASSWORD",
        ) from error
    except psycopg.errors.UndefinedTable as error:
        raise DatabaseError(
            f"database `{settings.database}` lacks a table: {error.diag.message_primary}",
            remedy="run `soma migrate` as the owner of the database",
        ) from error


def _unreachable(settings: PostgresSettings, error: BaseException) -> DatabaseError:
    # The first line names the cause behind the address; what follows is libpq's advice.
    reason = str(error).partition("\n")[0].rpartition("failed: ")[2]
    remedy: str | None = "check SOMA_POSTGRES__HOST, __PORT, __DATABASE, __USER and __PASSWORD"
    refusal = database_refusal(settings, error)
    if refusal is not None and refusal.code.startswith("tls_"):
        reason, remedy = str(refusal), refusal.remedy
    return DatabaseError(
        f"cannot log in to PostgreSQL at {settings.host}:{settings.port} as `{settings.user}`: {reason}",
        remedy=remedy,
    )
