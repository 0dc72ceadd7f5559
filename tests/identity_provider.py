"""An OpenID provider on loopback, as far as our processes meet it: it publishes keys, and gives tokens."""

import base64
import json
import ssl
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from soma_cli.local.certificates import Issued
from soma_schemas.clock import SystemClock

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


class TokenEndpoint:
    """Gives clients tokens for themselves, over TLS: OAuth 2, client credentials.

    Args:
        provider: Signs them.
        shown: The certificate.

    Attributes:
        clients: Their secrets, by their ids.
        claims: Of tokens, beside the usual ones.
        scopes: That were asked for, one for each token that was given.
        life_seconds: Of a token.
        status: What it answers who shows the right secret.
    """

    def __init__(self, provider: IdentityProvider, shown: Issued) -> None:
        self.clients: dict[str, str] = {}
        self.claims: dict[str, Any] = {}
        self.scopes: list[str | None] = []
        self.life_seconds = 300
        self.status = 200
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, answer = endpoint.answer(self.headers.get("Authorization", ""), form)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown.certificate, shown.key)
        self._provider = provider
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self._server.server_port}/token"

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Return the status and what is said, as RFC 6749 (4.4 and 5.2) has it."""
        kind, _, shown = authorization.partition(" ")
        client, _, secret = base64.b64decode(shown).decode().partition(":")
        if kind != "Basic" or client not in self.clients or self.clients[client] != secret:
            return 401, {"error": "invalid_client"}
        if form.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        if self.status != 200:
            return self.status, {"error": "server_error"}
        now, [scope] = SystemClock().now(), form.get("scope", [None])
        claims: dict[str, Any] = {
            "sub": client,
            "exp": int(now.timestamp()) + self.life_seconds,
        } | self.claims
        self.scopes.append(scope)
        token = self._provider.token(now, **claims, scope=scope)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.life_seconds}
