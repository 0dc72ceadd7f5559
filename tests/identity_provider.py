"""An OpenID provider on loopback, as far as an API meets it: it publishes keys, and signs tokens."""

import json
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

AUDIENCE = "soma"


class IdentityProvider:
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

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                body = provider.body if provider.body is not None else provider.document()
                self.send_response(provider.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        self.new_key("first")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def issuer(self) -> str:
        """Its name."""
        return f"http://127.0.0.1:{self._server.server_port}/realm"

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
