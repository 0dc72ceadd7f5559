"""The token endpoint of an OpenID provider on loopback: it gives tokens to clients that know their secret."""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from identity_provider import AUDIENCE, IdentityProvider
from soma_cli.local.certificates import Issued
from soma_schemas.clock import SystemClock


class TokenEndpoint:
    """Gives tokens whose subject is the client and whose audience is the scope, signed by a provider.

    Args:
        provider: Whose keys sign them.
        shown: The certificate of the endpoint.

    Attributes:
        secrets: Of each client that it knows.
        lasts: For how many seconds a token is good.
        audience: Of tokens that are asked for without a scope.
        away: Whether it answers 503 instead.
        asked: How often it was asked for one.
        given: To whom it gave a token, in order.
    """

    def __init__(self, provider: IdentityProvider, shown: Issued) -> None:
        self.secrets: dict[str, str] = {}
        self.lasts = 300
        self.audience = AUDIENCE
        self.away = False
        self.asked = 0
        self.given: list[str] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, said = endpoint._answer(self.path, self.headers["Authorization"], content)
                body = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Stay silent about who does not trust it."""

        self._provider = provider
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown.certificate, shown.key)
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
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
        """Where tokens are asked for; what does not end so answers 503."""
        return f"https://127.0.0.1:{self._server.server_port}/realm/token"

    def _answer(self, path: str, authorization: str, content: str) -> tuple[int, dict[str, Any]]:
        self.asked += 1
        if self.away or not self.url.endswith(path):
            return 503, {"error": "temporarily_unavailable"}
        form = {name: value for name, (value,) in parse_qs(content).items()}
        if form["grant_type"] != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if self.secrets.get(client) != secret:
            return 401, {"error": "invalid_client"}
        self.given.append(client)
        now = SystemClock().now()
        token = self._provider.token(
            now, sub=client, aud=form.get("scope", self.audience), exp=int(now.timestamp()) + self.lasts
        )
        return 200, {"access_token": token, "expires_in": self.lasts, "token_type": "Bearer"}
