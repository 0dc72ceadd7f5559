"""An OpenID provider on loopback, as far as an API meets it: it publishes keys, and signs tokens."""

import json
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from loopback_http import LoopbackHttp, QuietHandler

AUDIENCE = "soma"


class IdentityProvider(LoopbackHttp):
    """A provider whose keys and answers the test decides.

    Attributes:
        asked: How often its keys were asked for.
        status: What it answers with.
    """

    def __init__(self) -> None:
        self.keys: dict[str, RSAKey | ECKey] = {}
        self.asked = 0
        self.status = 200
        self.body: bytes | None = None
        provider = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:  # noqa: N802  # the base class looks for this name
                provider.asked += 1
                body = provider.body if provider.body is not None else provider.document()
                self.answer(provider.status, body)

        super().__init__(Handler)
        self.new_key("first")

    @property
    def issuer(self) -> str:
        """Its name."""
        return f"{self.origin}/realm"

    @property
    def jwks_url(self) -> str:
        """Where its keys are."""
        return f"{self.issuer}/keys"

    def new_key(self, key_id: str, *, elliptic: bool = False) -> None:
        """Publish one more key."""
        given: Any = {"kid": key_id, "use": "sig"}
        self.keys[key_id] = (
            ECKey.generate_key("P-256", given) if elliptic else RSAKey.generate_key(2048, given)
        )

    def document(self) -> bytes:
        """Return its keys as it publishes them: the public halves."""
        return json.dumps(KeySet(list(self.keys.values())).as_dict(private=False)).encode()

    def token(
        self,
        now: datetime,
        *,
        key_id: str = "first",
        algorithm: str = "RS256",
        key: RSAKey | ECKey | OctKey | None = None,
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Sign a token that is good for five minutes; a claim that is None is left out."""
        seconds = int(now.timestamp())
        said = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "mira",
            "iat": seconds,
            "exp": seconds + 300,
            "tenant": "acme",
            "role": "writer",
        } | claims
        return jwt.encode(
            {"alg": algorithm, "kid": key_id} | (header or {}),
            {name: value for name, value in said.items() if value is not None},
            self.keys[key_id] if key is None else key,
            algorithms=[algorithm],
        )
