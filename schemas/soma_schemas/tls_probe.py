"""Looks with Python's own TLS at a service that a library cannot connect to, and says more of the reason."""

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress

from soma_schemas.refusals import AccessError, Hop, tls_refusal

_TIMEOUT_SECONDS = 3.0
# A server that wants a certificate says so with the first bytes after the handshake, or says nothing.
_ALERT_SECONDS = 1.0
_POSTGRES_WANTS_TLS = struct.pack("!ii", 8, 80877103)


Speaks = Callable[[socket.socket], bool]
"""Says whether a service answers in plain text, over a connection of its own."""


def refusal_at(
    hop: Hop,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    *,
    speaks_plainly: Speaks | None = None,
    asks_first: bool = False,
) -> AccessError | None:
    """Return what keeps a process from speaking to a service as its settings have it; blocks for seconds.

    Args:
        hop: The service.
        host: Where it is, as settings name it.
        port: Where it is.
        context: With which the process speaks TLS; None where it does not.
        speaks_plainly: Asked where the service hangs up, which may be how it answers TLS.
        asks_first: PostgreSQL is asked whether it speaks TLS before it is spoken.

    Returns:
        None where it would work as far as TLS is concerned, or where nobody answers.
    """
    try:
        with _connected(host, port) as connection:
            if asks_first and not _agrees(connection):
                return None if context is None else hop.no_tls()
            if context is not None:
                _shake_hands(connection, context, host)
            elif not asks_first and _speaks_tls(connection):
                return hop.tls_wanted()
    except ssl.SSLEOFError:
        return hop.no_tls() if speaks_plainly is not None and _answers(host, port, speaks_plainly) else None
    except ssl.SSLError as error:
        return tls_refusal(hop, str(error)) or hop.failed()
    except OSError as error:
        hung_up = isinstance(error, ConnectionError) and context is not None
        plain = hung_up and speaks_plainly is not None and _answers(host, port, speaks_plainly)
        return hop.no_tls() if plain else None
    return None


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), _TIMEOUT_SECONDS)


def _agrees(connection: socket.socket) -> bool:
    connection.sendall(_POSTGRES_WANTS_TLS)
    return connection.recv(1) == b"S"


def _shake_hands(connection: socket.socket, context: ssl.SSLContext, host: str) -> None:
    with context.wrap_socket(connection, server_hostname=host) as encrypted:
        encrypted.settimeout(_ALERT_SECONDS)
        with suppress(TimeoutError):
            encrypted.recv(1)


def _answers(host: str, port: int, speaks: Speaks) -> bool:
    try:
        with _connected(host, port) as connection:
            return speaks(connection)
    except OSError:
        return False


def _speaks_tls(connection: socket.socket) -> bool:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE  # it is asked for its language, and told nothing
    try:
        with anybody.wrap_socket(connection):
            return True
    except ssl.SSLError as error:
        # Its own alert is TLS too: it wants a certificate, or does not like what we offer.
        return "ALERT" in str(error).upper()
    except OSError:
        return False
