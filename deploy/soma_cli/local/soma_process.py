"""A process of our own in the local stack: `soma` itself, run as a child with settings of its own."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from soma_cli.local.backing_service import BackingService
from soma_cli.local.child_process import Launch
from soma_cli.local.client_here import client_here
from soma_cli.local.home import LOOPBACK, Home
from soma_cli.local.unit import Observer, Unit
from soma_schemas.clock import Clock
from soma_schemas.vectors.index_errors import IndexIncompleteError


class SomaProcess(BackingService):
    """One of our processes.

    Args:
        name: What people call it.
        home: Where its log is.
        clock: Measures how long it takes.
        observe: Hears of its changes.
        arguments: After `soma`.
        environment: All its variables: nothing of ours leaks in.
        port: Where it answers `/readyz`.
        ca_file: Who signed it, where it speaks HTTPS.
        needs: What it works with.
        after: Those that it does not wait for by itself.
    """

    def __init__(
        self,
        name: str,
        home: Home,
        clock: Clock,
        observe: Observer,
        *,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        port: int,
        ca_file: Path | None = None,
        needs: Sequence[Unit],
        after: Sequence[Unit],
    ) -> None:
        super().__init__(name, home, clock, observe, needs=needs, after=after)
        self._arguments = tuple(arguments)
        self._environment = dict(environment)
        self._port = port
        self._ca_file = ca_file

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{'http' if self._ca_file is None else 'https'}://{LOOPBACK}:{self._port}"

    async def prepare(self) -> Launch:
        """Say how `soma` is started."""
        return Launch(
            self.name,
            [sys.executable, "-m", "soma_cli.main", *self._arguments],
            self._home.folder(self.name),
            self._environment,
            log=self._home.log(self.name),
            pid_file=self._home.pid_file(self.name),
        )

    async def is_ready(self) -> bool:
        """Ask it, once it listens."""
        if not self.listens_on(self._port):
            return False
        try:
            async with client_here(self._ca_file) as client:
                answer = await client.get(f"{self.address}/readyz")
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK and _works(answer.json())


def _works(readiness: Mapping[str, Any]) -> bool:
    """Say whether everything behind a process answers, also while an index that was lost is being filled.

    While a part is away the API answers too, only not everything.
    """
    if readiness.get("status") == "ready":
        return True
    failing = [part.get("error") for part in readiness.get("parts", {}).values() if not part.get("ready")]
    index = readiness.get("index") or {}
    return failing == [IndexIncompleteError.code] and index.get("filled") is not None
