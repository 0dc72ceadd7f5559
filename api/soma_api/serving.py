"""Serve the application over HTTP until told to stop."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from soma_api.settings import GatewaySettings
from soma_schemas.errors import ConfigurationError
from soma_schemas.tls import RotatingContext, TlsFiles

_BACKLOG = 2048

log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the process's signals to whoever composes it."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Touch no signal handler."""
        yield


def bind(settings: GatewaySettings) -> socket.socket:
    """Return a listening socket; with port 0 its name tells which port was free.

    Raises:
        ConfigurationError: The address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, asyncio recognises TCP and sends small answers at once; without it each of them
    # waits 40 ms for the client's delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        # From here on connections wait for the server rather than being refused.
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            remedy="free it, or set SOMA_API__HOST and SOMA_API__PORT to another",
        ) from error
    return listening


async def serve(
    application: FastAPI,
    settings: GatewaySettings,
    stop: asyncio.Event,
    listening: socket.socket | None = None,
) -> None:
    """Serve until `stop` is set, then finish the requests under way within the drain time.

    Args:
        application: As `create_application` returns it; its `state.end_streams` ends what has no end.
        settings: Where to listen, and how long to drain.
        stop: Set it to stop.
        listening: A socket that was bound before; without one, the settings' address is bound.

    Raises:
        ConfigurationError: The address is taken or not ours, or the files for TLS do not fit.
    """
    own = listening if listening is not None else bind(settings)
    server = _Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            ssl_context_factory=_tls(settings),
            timeout_keep_alive=round(settings.keep_alive.total_seconds()),
            timeout_graceful_shutdown=max(1, round(settings.drain_timeout.total_seconds())),
        )
    )
    host, port = own.getsockname()[:2]
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[own]))
        stopping = tasks.create_task(_stop(server, stop, application.state.end_streams))
        log.info("api_listening", host=host, port=port, tls=settings.tls_certificate_file is not None)
        await serving
        stopping.cancel()


def _tls(
    settings: GatewaySettings,
) -> Callable[[uvicorn.Config, Callable[[], ssl.SSLContext]], ssl.SSLContext] | None:
    """Return what uvicorn takes the certificate from; None where the API speaks plain HTTP.

    Raises:
        ConfigurationError: The key is not the certificate's.
    """
    if settings.tls_certificate_file is None:
        return None
    try:
        context = RotatingContext.of_server(
            TlsFiles(certificate=settings.tls_certificate_file, key=settings.tls_key_file)
        )
    except OSError as error:
        raise ConfigurationError(
            "SOMA_API__TLS_KEY_FILE is not the key of SOMA_API__TLS_CERTIFICATE_FILE",
            remedy="Name the two files that were issued together.",
        ) from error

    def of(config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        del config, default
        return context

    return of


async def _stop(server: uvicorn.Server, stop: asyncio.Event, end_streams: Callable[[], None]) -> None:
    await stop.wait()
    server.should_exit = True
    end_streams()
