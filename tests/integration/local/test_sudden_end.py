"""When whoever runs the parts is killed, nothing is left running, and the next start is as good as any."""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


class Command:
    """`python -m soma_cli.local.parts`, running.

    Attributes:
        addresses: What it printed when it was ready.
    """

    def __init__(self, home: Path, cache: Path) -> None:
        command = [sys.executable, "-m", "soma_cli.local.parts", "--home", str(home), "--cache", str(cache)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.addresses = json.loads(self.process.stdout.readline())
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def owner(self) -> str:
        return str(self.addresses["postgres"]["soma_owner"])

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate()


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
    start: Callable[[], Command], eventually: Eventually
) -> None:
    first = start()
    with psycopg.connect(first.owner) as connection:
        connection.execute("CREATE TABLE words AS SELECT 'committed' AS word")

    first.process.kill()
    await eventually(lambda: not any(child.is_running() for child in first.children))
    second = start()

    with psycopg.connect(second.owner) as connection:
        assert connection.execute("SELECT word FROM words").fetchone() == ("committed",)
    assert second.addresses == first.addresses
    second.end()
    assert second.process.returncode == 0
