"""How HTTP clients reach an address: this machine past every proxy, others as the environment says.

Clients honour HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY by themselves, but for loopback too, where a
proxy would be handed keys and memories of somebody who never meant to send them anywhere.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

import httpx

from soma_schemas.errors import ConfigurationError
from soma_schemas.tls import RotatingContext, TlsFiles


class ClientOptions(TypedDict):
    """What clients of httpx and httpx2 are made with."""

    trust_env: bool
    verify: ssl.SSLContext


def stays_here(url: str) -> bool:
    """Say whether an address is one of this machine's own, which no proxy may see."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        # As the resolver reads it, which also knows 127.1 and 0x7f000001.
        address = ip_address(host) if ":" in host else IPv4Address(socket.inet_aton(host))
    except (ValueError, OSError):
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def client_options(url: str, ca_file: Path | None = None) -> ClientOptions:
    """Return how a client is made for an address.

    Args:
        url: Of what it will ask.
        ca_file: The authority that signed it; without, those of SSL_CERT_FILE or else the public ones.

    Raises:
        ConfigurationError: A file of authorities cannot be read.
    """
    with usable_environment():
        verify = (
            httpx.create_ssl_context() if ca_file is None else RotatingContext.of_client(TlsFiles(ca_file))
        )
    return ClientOptions(trust_env=not stays_here(url), verify=verify)


@contextmanager
def usable_environment(*malformed: type[Exception]) -> Iterator[None]:
    """Explain why a client cannot be made that is made within the block.

    Args:
        malformed: What its library raises for an address that makes no sense.

    Raises:
        ConfigurationError: The environment names a proxy or a file of authorities that it cannot use.
    """
    senseless: tuple[type[Exception], ...] = (ImportError, ValueError, *malformed)
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"the authorities for TLS cannot be read: {error.strerror or 'no PEM file'}",
            remedy="correct the `ca_file` in the settings, or SSL_CERT_FILE or SSL_CERT_DIR",
        ) from error
    except senseless:
        # Neither chained nor quoted: the address of a proxy may hold a password.
        raise ConfigurationError(
            "a proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or a host in NO_PROXY, cannot be used",
            remedy="write proxies as `http://host:port`, or name in NO_PROXY what is reached without",
        ) from None
