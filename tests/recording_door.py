"""A door on loopback that remembers who came, such as a proxy through which nothing may go."""

import socket
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Self

_ANSWER = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")


class RecordingDoor:
    """Listens on loopback, and refuses whatever it is asked over HTTP.

    Attributes:
        asked: The first bytes of each connection.
    """

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host_port = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):
                self.asked.append(connection.recv(4096))
                connection.sendall(_ANSWER)


def proxy_everywhere(url: str) -> dict[str, str]:
    """Return every variable that any client is known to read a proxy from, and none that leaves one out."""
    named = {spelled: url for name in _VARIABLES for spelled in (name, name.upper())}
    return {**named, **dict.fromkeys(("no_proxy", "NO_PROXY", "no_grpc_proxy"), "")}
