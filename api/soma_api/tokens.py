"""Tokens of an OpenID provider (signed JWTs, RFC 7519) as credentials."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import (
    ExpiredTokenError,
    InsecureClaimError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
)
from pydantic import TypeAdapter, ValidationError

from soma_api.jwks import Jwks
from soma_api.principals import Principal
from soma_api.problems import UnauthenticatedError
from soma_api.roles import Role
from soma_api.settings import OidcSettings
from soma_schemas.clock import Clock
from soma_schemas.fields import Namespace, Tenant

# Far above what providers issue: what is longer is not looked into.
_LONGEST = 16 * 1024
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
# At most 255 characters of ASCII (OpenID Connect Core, section 2).
_SUBJECT = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)
_NAMESPACES: TypeAdapter[list[str]] = TypeAdapter(list[Namespace])


class Tokens:
    """Turns tokens of one provider into principals.

    Args:
        settings: Which provider, and what its claims mean; it names an issuer and an audience.
        keys: Its public keys.
        clock: Time.
    """

    def __init__(self, settings: OidcSettings, keys: Jwks, clock: Clock) -> None:
        if settings.issuer is None or settings.audience is None:
            raise ValueError("tokens need an issuer and an audience")
        self._settings = settings
        self._issuer, self._audience = settings.issuer, settings.audience
        self._keys = keys
        self._clock = clock

    async def authenticate(self, token: str) -> Principal:
        """Return who a token stands for.

        Raises:
            UnauthenticatedError: It is not of the provider, not for this API, not valid now, or says nothing
                of a tenant and a role.
            IdentityProviderUnavailableError: The provider's keys are not known.
        """
        key_id = self._key_id(token)
        keys = await self._keys.with_key(key_id)
        try:
            # The algorithms are ours, never the token's: a public key is never taken for a shared secret.
            claims = jwt.decode(token, keys, algorithms=self._settings.algorithms).claims
            self._registry().validate(claims)
        except JoseError as error:
            raise UnauthenticatedError(_reason(error)) from None
        except ValueError:
            raise UnauthenticatedError("the token is not one that can be checked") from None
        return self._principal(claims)

    def _key_id(self, token: str) -> str:
        if len(token) > _LONGEST or _FORM.fullmatch(token) is None:
            raise UnauthenticatedError("the credential is neither an API key of ours nor a token")
        encoded = token.partition(".")[0]
        try:
            header = orjson.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        except ValueError:
            header = None
        match header:
            case {"alg": str(algorithm), "kid": str(key_id)} if algorithm in self._settings.algorithms:
                return key_id
            case {"alg": str(algorithm)} if algorithm in self._settings.algorithms:
                raise UnauthenticatedError("the token does not name the key that signed it")
            case _:
                raise UnauthenticatedError("the token is signed in a way that is not accepted")

    def _registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=round(self._settings.leeway.total_seconds()),
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        wanted = self._settings
        subject = claims["sub"]
        try:
            tenant = _TENANT.validate_python(claims.get(wanted.tenant_claim))
        except ValidationError:
            raise UnauthenticatedError(f"the token names no tenant in `{wanted.tenant_claim}`") from None
        namespaces = None
        if wanted.namespaces_claim is not None:
            try:
                namespaces = tuple(_NAMESPACES.validate_python(claims.get(wanted.namespaces_claim)))
            except ValidationError:
                raise UnauthenticatedError(
                    f"the token has no list of namespaces in `{wanted.namespaces_claim}`"
                ) from None
        if _SUBJECT.fullmatch(subject) is None:
            raise UnauthenticatedError("the token's subject is not 1 to 255 characters of ASCII")
        return Principal(tenant, self._role(claims), namespaces, f"oidc:{subject}")

    def _role(self, claims: Mapping[str, Any]) -> Role:
        said = claims.get(self._settings.role_claim)
        values = [said] if isinstance(said, str) else said
        roles = self._settings.roles or {role.value: role for role in Role}
        found = [
            roles[each]
            for each in (values if isinstance(values, list) else ())
            if isinstance(each, str) and each in roles
        ]
        if not found:
            raise UnauthenticatedError(f"the token names no known role in `{self._settings.role_claim}`")
        return max(found, key=tuple(Role).index)


def open_tokens(settings: OidcSettings, clock: Clock) -> Tokens | None:
    """Return what checks tokens, or None where no provider is named."""
    if settings.issuer is None or settings.jwks_url is None:
        return None
    keys = Jwks(
        settings.jwks_url,
        ttl_seconds=settings.jwks_ttl.total_seconds(),
        grace_seconds=settings.jwks_grace.total_seconds(),
        clock=clock,
    )
    return Tokens(settings, keys, clock)


def _reason(error: JoseError) -> str:
    """Return what is wrong in words of ours: nothing of a token is told back."""
    match error:
        case ExpiredTokenError():
            return "the token has expired"
        case InsecureClaimError() | InvalidClaimError(claim="nbf" | "iat"):
            return "the token is not valid yet"
        case InvalidClaimError(claim="iss"):
            return "the token is of another issuer"
        case InvalidClaimError(claim="aud"):
            return "the token is for another audience"
        case InvalidClaimError() | MissingClaimError():
            return f"the token's claim `{error.claim}` is missing or malformed"
        case _:
            return "the token is not signed by a key of its provider"
