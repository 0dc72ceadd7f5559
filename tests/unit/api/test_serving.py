import asyncio
import socket
from datetime import timedelta

import pytest
from fastapi import FastAPI

from soma_api.serving import bind, serve
from soma_api.settings import GatewaySettings
from soma_schemas.errors import ConfigurationError


def test_port_0_is_a_free_one_and_clients_can_already_connect() -> None:
    with bind(GatewaySettings(port=0)) as listening:
        host, port = listening.getsockname()

        with socket.create_connection((host, port), timeout=5) as client:
            assert client.getpeername() == (host, port)


def test_the_socket_is_one_that_asyncio_takes_for_tcp() -> None:
    """Otherwise it leaves Nagle's algorithm on, and every small answer waits 40 ms for an acknowledgement."""
    with bind(GatewaySettings(port=0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_an_address_that_is_taken_is_refused() -> None:
    with bind(GatewaySettings(port=0)) as listening, pytest.raises(ConfigurationError, match="in use"):
        bind(GatewaySettings(port=listening.getsockname()[1]))


async def test_an_idle_connection_stays_open_as_long_as_is_set() -> None:
    settings = GatewaySettings(port=0, keep_alive=timedelta(seconds=1))
    application, stop = FastAPI(), asyncio.Event()
    application.state.end_streams = lambda: None
    application.get("/")(lambda: "here")
    with bind(settings) as listening:
        serving = asyncio.create_task(serve(application, settings, stop, listening))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(6)
        rest = await reader.read()
        writer.close()
        stop.set()
        await serving

    assert b"200 OK" in head
    assert b"connection: close" not in head.lower()
    assert body == b'"here"'
    assert rest == b""


def test_clients_let_go_of_an_idle_connection_before_the_api_does() -> None:
    """Who reuses a connection as it is closed gets a reset, and does not know whether its write was taken."""
    assert GatewaySettings().keep_alive > timedelta(seconds=60), "common load balancers keep theirs for 60 s"
