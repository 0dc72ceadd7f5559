"""Runs `soma up` as a process of its own, as somebody does in a terminal."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STOP_SECONDS = 120


@dataclass(frozen=True)
class Up:
    """A `soma up` that runs.

    Attributes:
        ready: What it printed when it was ready.
    """

    home: Path
    ready: dict[str, Any]
    process: "subprocess.Popen[str]"

    def stop(self) -> int:
        """Press Ctrl-C, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(_STOP_SECONDS)


@contextmanager
def soma_up(home: Path) -> Iterator[Up]:
    """Run `soma up` until the block ends."""
    command = [sys.executable, "-m", "soma_cli.main", "up", "--json", "--home", str(home)]
    said = home.with_name(f"{home.name}.said")
    with (
        said.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as up,
    ):
        assert up.stdout is not None
        try:
            printed = ""
            while not printed.endswith("}\n"):
                line = up.stdout.readline()
                assert line, f"soma up ended: {said.read_text()}"
                printed += line
            yield Up(home, json.loads(printed), up)
        finally:
            if up.poll() is None:
                up.send_signal(signal.SIGINT)
                up.wait(_STOP_SECONDS)
