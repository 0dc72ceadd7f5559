"""The local stack as users start it, and what each of its processes uses."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.stage import CLOCK

_START_SECONDS = 180.0
_STOP_SECONDS = 60.0
_BLOCK = 512

# What the command line of each process has, in words that no other has.
_COMPONENTS = {
    "api": "soma_cli.main serve",
    "worker-postgres": "soma_cli.main work postgres",
    "worker-retention": "soma_cli.main work retention",
    "collector": "soma_cli.main lag collect",
    "kafka": "kafka.Kafka",
    "registry": "registry",
    "postgres": "postgres",
}


class LoadError(Exception):
    """The load could not be made."""


@dataclass(frozen=True)
class Usage:
    """What a component has used since it started.

    Attributes:
        cpu_seconds: Of all its processes.
        rss_mb: Of all its processes; PostgreSQL's shared memory counts once.
    """

    cpu_seconds: float
    rss_mb: float


@dataclass(frozen=True)
class LocalStack:
    """A running local stack.

    Attributes:
        home: Its folder.
        process: `soma up`.
    """

    home: Path
    process: psutil.Process

    def environment(self) -> dict[str, str]:
        """Return what programs need to find it."""
        said = subprocess.run(
            [sys.executable, "-m", "soma_cli.main", "env"],
            env={**os.environ, "SOMA_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        pairs = (line.removeprefix("export ").partition("=") for line in said.splitlines())
        return {name: value.strip("'") for name, _, value in pairs}

    def usage(self) -> dict[str, Usage]:
        """Return what each component has used."""
        found: dict[str, Usage] = {}
        for process in self.process.children():
            with process.oneshot():
                command = " ".join(process.cmdline())
            name = next((name for name, part in _COMPONENTS.items() if part in command), None)
            if name is not None and name not in found:
                found[name] = _usage(process)
        if missing := _COMPONENTS.keys() - found.keys():
            raise LoadError(f"no process of {', '.join(sorted(missing))} runs")
        return found

    def ports(self) -> dict[str, int]:
        """Return on which port each part listens."""
        ports: dict[str, int] = json.loads((self.home / "ports.json").read_text(encoding="utf-8"))
        return ports

    def bytes_of(self, pattern: str) -> int:
        """Return how many bytes files take on the disk, by a pattern below the home."""
        return sum(file.stat().st_blocks * _BLOCK for file in self.home.glob(pattern) if file.is_file())


def _usage(process: psutil.Process) -> Usage:
    family = [process, *process.children(recursive=True)]
    cpu = memory = 0.0
    for each in family:
        try:
            times = each.cpu_times()
            # With the children that have ended, such as backends of PostgreSQL whose client is gone.
            cpu += times.user + times.system + times.children_user + times.children_system
            used = each.memory_full_info()
            memory += used.pss if len(family) > 1 else used.rss
        except psutil.NoSuchProcess:
            continue
    return Usage(cpu, memory / 1e6)


@contextmanager
def running(home: Path) -> Iterator[LocalStack]:
    """Start a local stack in a folder and stop it when the block ends.

    Raises:
        LoadError: It was not ready in time, or did not stop.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.log").open("w") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "soma_cli.main", "up"],
            env={**os.environ, "SOMA_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = CLOCK.monotonic() + _START_SECONDS
            while not _is_ready(home):
                if up.poll() is not None or CLOCK.monotonic() > deadline:
                    raise LoadError(f"the local stack did not start: see {log.name}")
                CLOCK.block(0.5)
            yield LocalStack(home, psutil.Process(up.pid))
        finally:
            if up.poll() is None:
                psutil.Process(up.pid).send_signal(2)
            try:
                up.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise LoadError("the local stack does not stop") from error


def _is_ready(home: Path) -> bool:
    said = subprocess.run(
        [sys.executable, "-m", "soma_cli.main", "status", "--json"],
        env={**os.environ, "SOMA_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    return said.returncode == 0 and json.loads(said.stdout)["status"] == "ready"
