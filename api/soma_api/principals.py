"""Principals and their permissions (a tenant, a role, namespaces), and the check of credentials."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime

from cachetools import TTLCache

from soma_api.api_keys import ApiKey
from soma_api.key_uses import KeyUses
from soma_api.problems import NamespaceForbiddenError, RoleTooLowError, UnauthenticatedError
from soma_api.roles import Role
from soma_schemas.clock import Clock
from soma_schemas.namespaces import contains

_CACHED_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key as the database has it.

    Attributes:
        namespaces: What it opens, each with all below it; None is everything.
        secret_hash: As `ApiKey.digest` makes it.
        former_secret_hash: Likewise, of the secret before the last rotation.
        former_expires_at: Until when that one is good.
        record_access: Whether what it reads is counted as accessed.
    """

    key_id: str
    tenant: str
    role: Role
    namespaces: tuple[str, ...] | None
    secret_hash: bytes
    expires_at: datetime | None
    revoked_at: datetime | None
    former_secret_hash: bytes | None = None
    former_expires_at: datetime | None = None
    record_access: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        namespaces: What they may see and change, each with all below it; None is everything.
        actor: Stamped on events that do not say who acts.
        record_access: Whether what they read is counted as accessed.
    """

    tenant: str
    role: Role
    namespaces: tuple[str, ...] | None
    actor: str
    record_access: bool = False

    def may_access(self, namespace: str) -> bool:
        """Say whether a namespace is theirs."""
        return self.namespaces is None or any(contains(prefix, namespace) for prefix in self.namespaces)

    def require_access(self, namespace: str) -> None:
        """Return when a namespace is theirs.

        Raises:
            NamespaceForbiddenError: It is not.
        """
        if not self.may_access(namespace):
            raise NamespaceForbiddenError("the namespace lies outside of what this key covers")

    def require(self, role: Role) -> None:
        """Return when their role allows it.

        Raises:
            RoleTooLowError: It does not.
        """
        if not self.role.covers(role):
            raise RoleTooLowError(f"this takes the role {role}, and the key has {self.role}")


ReadToken = Callable[[str], Awaitable[Principal]]
FindKey = Callable[[str], Awaitable[StoredKey | None]]


class Authenticator:
    """Turns credentials into principals.

    Args:
        find: Looks a key up by its id.
        clock: Tells what has expired.
        cache_seconds: How long a key that was found is not looked up again: how long a revoked key still
            works at most.
        uses: Told of each use.
        read_token: Checks what is no API key; None where API keys alone are taken.
    """

    def __init__(
        self,
        find: FindKey,
        clock: Clock,
        cache_seconds: float,
        uses: KeyUses,
        read_token: ReadToken | None = None,
    ) -> None:
        self._read_token = read_token
        self._find = find
        self._uses = uses
        self._clock = clock
        self._turn = asyncio.Lock()
        self._cache: TTLCache[str, StoredKey] = TTLCache(_CACHED_KEYS, cache_seconds, timer=clock.monotonic)

    async def authenticate(self, credential: str | None, *, in_turn: bool = False) -> Principal:
        """Return who a credential stands for.

        Args:
            credential: As it was sent.
            in_turn: Whether a key that is not cached is looked up only when no other such key is.

        Raises:
            UnauthenticatedError: There is none, or it is unknown, expired or revoked.
            IdentityProviderUnavailableError: It is a token, and the keys of its provider are not known.
        """
        if credential is None:
            raise UnauthenticatedError("the request has no API key")
        key = ApiKey.parse(credential)
        if key is None and self._read_token is not None:
            return await self._read_token(credential)
        if key is None:
            raise UnauthenticatedError("the credential is not an API key of ours")
        stored = await self._stored(key.key_id, in_turn=in_turn)
        # One answer for an unknown id and a wrong secret: neither tells which ids exist.
        former = stored is not None and not key.matches(stored.secret_hash)
        if stored is None or (
            former and (stored.former_secret_hash is None or not key.matches(stored.former_secret_hash))
        ):
            raise UnauthenticatedError("the API key is not known")
        if stored.revoked_at is not None and stored.revoked_at <= self._clock.now():
            raise UnauthenticatedError("the API key was revoked")
        if stored.expires_at is not None and stored.expires_at <= self._clock.now():
            raise UnauthenticatedError("the API key has expired")
        if former and (stored.former_expires_at is None or stored.former_expires_at <= self._clock.now()):
            raise UnauthenticatedError("the API key was rotated, and this is its former secret")
        self._uses.note(stored.key_id, former=former)
        return Principal(
            stored.tenant, stored.role, stored.namespaces, f"key:{stored.key_id}", stored.record_access
        )

    async def _stored(self, key_id: str, *, in_turn: bool) -> StoredKey | None:
        stored: StoredKey | None = self._cache.get(key_id)
        if stored is None:
            async with self._turn if in_turn else nullcontext():
                stored = await self._find(key_id)
            # An unknown id is not kept: made-up ids must not push good ones out.
            if stored is not None:
                self._cache[key_id] = stored
        return stored
