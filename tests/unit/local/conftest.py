"""What the tests of the local stack's building blocks need."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from soma_cli.local.home import Home
from soma_cli.local.process import Launch
from soma_schemas.clock import SystemClock

Eventually = Callable[[Callable[[], object]], Awaitable[None]]
Launching = Callable[..., Launch]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "home", Random(1))


@pytest.fixture
def launching(home: Home) -> Launching:
    """Say how to start a child that runs some Python code."""

    def launch(code: str, **others: object) -> Launch:
        return Launch(
            "child",
            [sys.executable, "-I", "-S", "-u", "-c", code],
            home.path,
            {"LANG": "C.UTF-8"},
            home.log("child"),
            home.pid_file("child"),
            **others,  # type: ignore[arg-type]  # handed through
        )

    return launch


@pytest.fixture
def eventually() -> Eventually:
    """Wait until something is true, for ten seconds at most."""

    async def wait(is_true: Callable[[], object]) -> None:
        clock = SystemClock()
        async with asyncio.timeout(10):
            while not is_true():
                await clock.sleep(0.02)

    return wait
