"""The public keys of an OpenID provider: fetched when they are needed, and kept for a time."""

import asyncio

import httpx
import orjson
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from soma_api.problems import IdentityProviderUnavailableError
from soma_schemas.clock import Clock
from soma_schemas.errors import told
from soma_schemas.http_clients import client_options, usable_environment

_TIMEOUT_SECONDS = 3.0
_LARGEST_BYTES = 1024 * 1024
# How soon the provider is asked again, for a key that it did not have, or when it gave no answer.
_ASK_AGAIN_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Jwks:
    """The keys of one provider.

    Args:
        url: Where it publishes them.
        ttl_seconds: How long they are used before they are asked for again.
        grace_seconds: How much longer they are used while the provider gives no answer.
        clock: Time.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl_seconds: float,
        grace_seconds: float,
        clock: Clock,
    ) -> None:
        self._url = url
        self._ttl_seconds = ttl_seconds
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched = float("-inf")
        self._asked = float("-inf")
        self._asking = asyncio.Lock()

    async def with_key(self, key_id: str) -> KeySet:
        """Return the keys; asked for anew when they are old, or do not have this one.

        However many requests want it, the provider is asked once at a time, and not twice within ten seconds.

        Raises:
            IdentityProviderUnavailableError: It gives no answer, and what it said before is too old.
        """
        if not self._are_new() or not self._have(key_id):
            async with self._asking:
                if self._clock.monotonic() - self._asked >= _ASK_AGAIN_SECONDS and not (
                    self._are_new() and self._have(key_id)
                ):
                    await self._ask()
        age = self._clock.monotonic() - self._fetched
        if self._keys is None or age > self._ttl_seconds + self._grace_seconds:
            raise IdentityProviderUnavailableError("the provider of tokens does not tell its keys")
        return self._keys

    def _are_new(self) -> bool:
        return self._clock.monotonic() - self._fetched < self._ttl_seconds

    def _have(self, key_id: str) -> bool:
        return self._keys is not None and any(key.kid == key_id for key in self._keys)

    async def _ask(self) -> None:
        self._asked = self._clock.monotonic()
        try:
            self._keys = KeySet.import_key_set(orjson.loads(await self._document()))
        except (httpx.HTTPError, JoseError, TimeoutError, ValueError, KeyError, TypeError) as error:
            log.warning("jwks_unavailable", error=type(error).__name__, reason=told(error))
        else:
            self._fetched = self._clock.monotonic()

    async def _document(self) -> bytes:
        with usable_environment(httpx.InvalidURL):
            client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, **client_options(self._url))
        document = bytearray()
        async with client, asyncio.timeout(_TIMEOUT_SECONDS), client.stream("GET", self._url) as answer:
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                document += piece
                if len(document) > _LARGEST_BYTES:
                    raise ValueError("the document of keys is larger than 1 MiB")
        return bytes(document)
