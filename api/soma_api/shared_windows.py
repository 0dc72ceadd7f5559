"""Windows of rate limits in a store that all API processes count in together."""

from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.valkey import ValkeyBridge
from limits.errors import ConfigurationError as LibraryMissingError

from soma_schemas.errors import ConfigurationError

# A request waits for the store once or twice; it is in the same network, and answers within a millisecond.
_PATIENCE_SECONDS = 0.25
_PREFIX = "soma"
_WITH_TLS = "valkeys:"
# The store rounds the rest of a window to the nearest second.
_ROUNDED = 0.5


class SharedWindows(RedisStorage):
    """Windows in a Valkey server, or in one that speaks its protocol. It is connected when it is first asked.

    Args:
        url: Of the server, with its password.

    Raises:
        ConfigurationError: The client library is not installed.
    """

    STORAGE_SCHEME = []  # noqa: RUF012  # as the library reads it: found by no scheme

    def __init__(self, url: str) -> None:
        # Its certificate has to be for the host that was asked for.
        checked = {"ssl_check_hostname": True} if url.startswith(_WITH_TLS) else {}
        try:
            super().__init__(
                url,
                wrap_exceptions=True,
                implementation="valkey",
                key_prefix=_PREFIX,
                socket_timeout=_PATIENCE_SECONDS,
                socket_connect_timeout=_PATIENCE_SECONDS,
                **checked,
            )
        except LibraryMissingError as error:
            raise ConfigurationError(
                "SOMA_API__RATE_LIMIT_STORE is set, and the client of Valkey is not installed",
                remedy="pip install 'somafractalmemory[shared-limits]'",
            ) from error

    async def get_expiry(self, key: str) -> float:
        """Return when a window ends at the latest, in seconds since 1970."""
        return await super().get_expiry(key) + _ROUNDED

    async def close(self) -> None:
        """Close the connections."""
        if isinstance(self.bridge, ValkeyBridge):
            await self.bridge.storage.aclose()
