"""When whoever runs the parts is killed, nothing is left running, and the next start is as good as any."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from waiting import eventually_so, still_running


class Command:
    """`python -m soma_cli.local.backing_services`, running."""

    def __init__(self, home: Path, cache: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "soma_cli.local.backing_services",
            "--home",
            str(home),
            "--cache",
            str(cache),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def children(self) -> list[psutil.Process]:
        """The parts."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def addresses(self) -> Any:
        """Wait until the parts are ready, and return where they are."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> int:
        """Ask it to stop, and return what it ended with."""
        self.process.terminate()
        self.process.communicate()
        return self.process.returncode


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Callable[[], Command]]:
    started: list[Command] = []

    def start() -> Command:
        started.append(Command(tmp_path / "home", cache))
        return started[-1]

    yield start
    for command in started:
        command.end()


async def test_nothing_runs_on_and_nothing_is_lost_when_the_stack_is_killed(
    start: Callable[[], Command],
) -> None:
    first = start()
    before = first.addresses()
    with psycopg.connect(before["postgres"]["soma_owner"]) as connection:
        connection.execute("CREATE TABLE words AS SELECT 'committed' AS word")
    left_over = first.children

    first.process.kill()
    # At once, while they are still on their way out.
    second = start()
    after = second.addresses()

    assert still_running(left_over) == []
    assert after == before
    with psycopg.connect(after["postgres"]["soma_owner"]) as connection:
        assert connection.execute("SELECT word FROM words").fetchone() == ("committed",)
    assert second.end() == 0


async def test_a_stack_that_is_stopped_while_it_starts_leaves_nothing_running(
    start: Callable[[], Command],
) -> None:
    command = start()
    await eventually_so(lambda: any("java" in child.name() for child in command.children))
    children = command.children

    assert command.end() == 0
    assert still_running(children) == []
