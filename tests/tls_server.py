"""A server that shakes hands as it is told, and then answers every request with the same bytes."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from soma_cli.local.certificates import Authority, Issued
from soma_schemas.clock import SystemClock

NOW = SystemClock().now()


class Fault(StrEnum):
    """What is wrong with the certificate of a server."""

    UNKNOWN_AUTHORITY = "unknown authority"
    EXPIRED = "expired"
    WRONG_HOST = "wrong host"


def issued_with(fault: Fault | None, folder: Path) -> tuple[Authority, Issued]:
    """Return whom clients trust, and the certificate of a server for 127.0.0.1, with a fault or without."""
    trusted = Authority(_made(folder / "trusted"))
    trusted.issue("somebody", NOW)
    match fault:
        case None:
            return trusted, trusted.issue("server", NOW)
        case Fault.UNKNOWN_AUTHORITY:
            return trusted, Authority(_made(folder / "other")).issue("server", NOW)
        case Fault.EXPIRED:
            return trusted, trusted.issue("server", NOW, lasts=timedelta(minutes=-1))
        case Fault.WRONG_HOST:
            return trusted, trusted.issue("server", NOW, hosts=("elsewhere.example",))


@contextmanager
def serving(
    shown: Issued | None, *, clients: Authority | None = None, answer: bytes = b"", preamble: bytes = b""
) -> Iterator[int]:
    """Serve on a port of 127.0.0.1 until the block ends, and yield the port.

    Args:
        shown: The certificate; None speaks no TLS.
        clients: Whose clients are let in; None lets in anybody.
        answer: What is sent for each request.
        preamble: What is sent in plain text before the handshake, after the first bytes of the client.
    """
    context = None
    if shown is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown.certificate, shown.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if clients is not None:
            context.load_verify_locations(clients.file)
            context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=speak, args=[connection], daemon=True).start()

        def speak(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                if preamble:
                    connection.recv(8)
                    connection.sendall(preamble)
                spoken = connection if context is None else context.wrap_socket(connection, server_side=True)
                with spoken:
                    while spoken.recv(65_536):
                        spoken.sendall(answer)

        accepting = threading.Thread(target=serve, daemon=True)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
