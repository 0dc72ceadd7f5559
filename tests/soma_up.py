"""Runs `soma up` as a process of its own, as somebody does in a terminal."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil

from soma_cli.local.home import Home
from waiting import eventually_now

_SECONDS = 120

# A word of its command line that no other part's has.
_MARKS = {
    "lag": "lag",
    "worker": "postgres",
    "retention": "retention",
    "api": "serve",
    "kafka": "kafka.Kafka",
    "postgres": "-D",
    "registry": "-jar",
}


@dataclass(frozen=True)
class Starting:
    """A `soma up` that may not be ready yet, with its output in files beside its home."""

    home: Path
    process: "subprocess.Popen[bytes]"
    output: Path
    errors: Path

    def said(self) -> str:
        """Return what it has said on stderr."""
        return self.errors.read_text()

    def ready(self) -> dict[str, Any] | None:
        """Return what it printed when it was ready, or None when it is not yet."""
        assert self.process.poll() is None, f"soma up ended: {self.said()}"
        printed = self.output.read_text()
        return json.loads(printed) if printed.endswith("}\n") else None

    def children(self) -> list[psutil.Process]:
        """Return what it has started, and what that has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> int:
        """Press Ctrl-C, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended, and return the exit code."""
        code = eventually_now(self.process.poll, lambda code: code is not None, seconds=_SECONDS)
        assert code is not None
        return code


@dataclass(frozen=True)
class Up(Starting):
    """A `soma up` that runs.

    Attributes:
        printed: What it printed when it was ready.
    """

    printed: dict[str, Any]

    def pid(self, part: str) -> int | None:
        """Return the process id of a part, or None when it does not run."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                if _MARKS[part] in child.cmdline():
                    return child.pid
        return None


@contextmanager
def soma_starting(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[Starting]:
    """Run `soma up` until the block ends, and do not wait until it is ready."""
    _listen_elsewhere(home)
    command = [sys.executable, "-m", "soma_cli.main", "up", "--json", "--home", str(home)]
    output, errors = (home.with_name(f"{home.name}.{name}") for name in ("printed", "said"))
    with (
        output.open("w") as stdout,
        errors.open("w") as stderr,
        subprocess.Popen(
            command, stdout=stdout, stderr=stderr, env=os.environ | dict(environment or {})
        ) as process,
    ):
        starting = Starting(home, process, output, errors)
        try:
            yield starting
        finally:
            if process.poll() is None:
                starting.stop()


@contextmanager
def soma_up(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[Up]:
    """Run `soma up` until the block ends."""
    with soma_starting(home, environment) as starting:
        eventually_now(
            lambda: (starting.said(), starting.ready()), lambda seen: seen[1] is not None, seconds=_SECONDS
        )
        printed = starting.ready()
        assert printed is not None
        yield Up(home, starting.process, starting.output, starting.errors, printed)


@dataclass(frozen=True)
class Demonstration:
    """A `soma up --demo` that ended.

    Attributes:
        home: Where its memories are; the parts of its next start start side by side.
        code: Its exit code.
        output: What it showed on stdout.
        errors: What it said on stderr.
    """

    home: Path
    code: int
    output: str
    errors: str


def demonstrate(home: Path) -> Demonstration:
    """Run `soma up --demo` to its end."""
    _listen_elsewhere(home)
    ran = subprocess.run(
        [sys.executable, "-m", "soma_cli.main", "up", "--demo", "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    return Demonstration(home, ran.returncode, ran.stdout, ran.stderr)


def _listen_elsewhere(home: Path) -> None:
    # Than where every stack of this machine tries to listen first.
    Home(home, Random()).port("api")
