"""A policy of seconds, watched live: a memory that is saved, the end of the others, and their archive."""

import sys
import tempfile
from pathlib import Path

from retention_demo.play import play
from soma_client.client_file import read_client_file
from soma_schemas.clock import SystemClock
from soma_up import soma_up

_ENVIRONMENT = {"SOMA_RETENTION__SWEEP_INTERVAL": "0.5"}


def say(line: str) -> None:
    """Write a line with the time of day."""
    sys.stdout.write(f"{SystemClock().now():%H:%M:%S}  {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    say("Starting a stack")
    with tempfile.TemporaryDirectory() as folder, soma_up(Path(folder) / "home", _ENVIRONMENT) as up:
        local = read_client_file(up.home)
        assert local is not None, "it has just started"
        play(local, Path(folder) / "archive", say)
