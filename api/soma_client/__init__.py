"""Clients of the HTTP API: `SomaClient`, and `AsyncSomaClient` for programs with an event loop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soma_client.async_client import AsyncSomaClient
    from soma_client.client import SomaClient
    from soma_client.errors import (
        ChangedError,
        NoConnectionError,
        NotFoundError,
        RefusedError,
        SomaClientError,
        UnexpectedError,
        UnreachableError,
    )
    from soma_client.retrying import Retrying

__all__ = [
    "AsyncSomaClient",
    "ChangedError",
    "NoConnectionError",
    "NotFoundError",
    "RefusedError",
    "Retrying",
    "SomaClient",
    "SomaClientError",
    "UnexpectedError",
    "UnreachableError",
]

_HOMES = {"AsyncSomaClient": "async_client", "SomaClient": "client", "Retrying": "retrying"}


def __getattr__(name: str) -> Any:
    """Import what is exported when it is used: whoever wants the errors alone pays for nothing else."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
