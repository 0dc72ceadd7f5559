import socket

import pytest

from soma_api.serving import bind
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
