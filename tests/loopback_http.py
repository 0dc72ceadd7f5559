"""HTTP servers of tests, on loopback and in a thread of their own."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from soma_cli.local.certificates import Issued


class QuietHandler(BaseHTTPRequestHandler):
    """Answers requests, and says nothing of them."""

    def answer(self, status: int, body: bytes, media_type: str | None = None) -> None:
        """Send a whole answer."""
        self.send_response(status)
        if media_type is not None:
            self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


class _Server(ThreadingHTTPServer):
    tls = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about who does not trust its certificate."""
        if not self.tls:
            super().handle_error(request, client_address)


class LoopbackHttp:
    """A server that runs within a block.

    Args:
        handler: Answers requests.
        shown: The certificate; without, it speaks no TLS.
    """

    def __init__(self, handler: type[QuietHandler], shown: Issued | None = None) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        if shown is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(shown.certificate, shown.key)
            self._server.tls = True
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

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
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._server.tls else 'http'}://127.0.0.1:{self._server.server_port}"
