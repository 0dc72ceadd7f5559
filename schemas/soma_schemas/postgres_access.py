"""Why PostgreSQL does not let this process in: a connection that fails carries no SQLSTATE, only words."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from soma_schemas.refusals import POSTGRES, AccessError, TlsFailedError, tls_refusal
from soma_schemas.settings import PostgresSettings
from soma_schemas.tls import RotatingContext, TlsFiles
from soma_schemas.tls_probe import refusal_at

# Messages are fixed to lc_messages=C. In this order: a missing entry of pg_hba.conf may be about TLS alone.
_WANTS_TLS = ("no encryption",)
_WANTS_CERTIFICATE = ("requires a valid client certificate",)
_NO_AUTHORITY = ("root certificate file",)
_UNKNOWN = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "no password supplied",
)
_NO_RIGHT = ("permission denied for database",)


class DatabaseAccessError(AccessError, psycopg.OperationalError):
    """PostgreSQL and this process do not come together, however often it is tried."""


def refusal_in_words(error: BaseException) -> AccessError | None:
    """Return what the words of a failed connection mean; None where another try may help."""
    said = str(error)

    def holds(parts: tuple[str, ...]) -> bool:
        return any(part in said for part in parts)

    if holds(_WANTS_TLS):
        return POSTGRES.tls_wanted()
    if holds(_WANTS_CERTIFICATE):
        return POSTGRES.client_certificate()
    if holds(_NO_AUTHORITY):
        return POSTGRES.unknown_authority()
    if holds(_UNKNOWN):
        return POSTGRES.credentials_refused()
    if holds(_NO_RIGHT):
        return POSTGRES.not_allowed("to connect to its database")
    return tls_refusal(POSTGRES, said)


def database_refusal(settings: PostgresSettings, error: BaseException) -> DatabaseAccessError | None:
    """Return why a connection will not come about until an operator acts; may block for seconds.

    Returns:
        None where another try may help.
    """
    refusal = refusal_in_words(error)
    if isinstance(refusal, TlsFailedError):
        # libpq says only that the certificate is not good.
        refusal = _refusal_of_tls(settings) or refusal
    return None if refusal is None else DatabaseAccessError.of(refusal)


async def explained(settings: PostgresSettings, error: psycopg.OperationalError) -> psycopg.OperationalError:
    """Return why a connection will not come about until an operator acts, or the error as it is."""
    return await asyncio.to_thread(database_refusal, settings, error) or error


@contextmanager
def refusals_explained(settings: PostgresSettings) -> Iterator[None]:
    """Tell why PostgreSQL does not let this process in, where a connection is made within the block.

    Raises:
        DatabaseAccessError: It does not.
    """
    try:
        yield
    except psycopg.OperationalError as error:
        if error.sqlstate is None and (refusal := database_refusal(settings, error)) is not None:
            raise refusal from error
        raise


def _refusal_of_tls(settings: PostgresSettings) -> AccessError | None:
    if settings.host.startswith("/"):
        return None
    try:
        context = RotatingContext.of_client(
            TlsFiles(settings.ca_file, settings.certificate_file, settings.key_file)
        )
    except OSError:
        return None
    context.check_hostname = settings.sslmode == "verify-full"
    return refusal_at(POSTGRES, settings.host, settings.port, context, asks_first=True)
