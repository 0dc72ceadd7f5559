"""Runs `soma up` as a process of its own, as somebody does in a terminal."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from waiting import eventually_now

_STOP_SECONDS = 120

# A word of its command line that no other part's has.
_MARKS = {
    "worker": "work",
    "api": "serve",
    "kafka": "kafka.Kafka",
    "postgres": "-D",
    "registry": "-jar",
}


@dataclass(frozen=True)
class Up:
    """A `soma up` that runs.

    Attributes:
        ready: What it printed when it was ready.
    """

    home: Path
    ready: dict[str, Any]
    process: "subprocess.Popen[str]"

    def pid(self, part: str) -> int | None:
        """Return the process id of a part, or None when it does not run."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                if _MARKS[part] in child.cmdline():
                    return child.pid
        return None

    def stop(self) -> int:
        """Press Ctrl-C, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return _ended(self.process)


def _ended(process: "subprocess.Popen[str]") -> int:
    code = eventually_now(process.poll, lambda code: code is not None, seconds=_STOP_SECONDS)
    assert code is not None
    return code


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
                _ended(up)
