"""The token endpoint of an OpenID provider on loopback: it gives tokens to clients that know their secret."""

import base64
import json
from typing import Any
from urllib.parse import parse_qs

from identity_provider import AUDIENCE, IdentityProvider
from loopback_http import LoopbackHttp, QuietHandler
from soma_cli.local.certificates import Issued
from soma_schemas.clock import SystemClock


class TokenEndpoint(LoopbackHttp):
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

        class Handler(QuietHandler):
            def do_POST(self) -> None:  # noqa: N802  # the base class looks for this name
                content = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, said = endpoint._answer(self.path, self.headers["Authorization"], content)
                self.answer(status, json.dumps(said).encode(), "application/json")

        super().__init__(Handler, shown)
        self._provider = provider

    @property
    def url(self) -> str:
        """Where tokens are asked for; what does not end so answers 503."""
        return f"{self.origin}/realm/token"

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
