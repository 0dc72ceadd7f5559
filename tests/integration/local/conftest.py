"""Homes of the third-party parts, apart from the one that other tests share: here parts are killed."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from soma_cli.local.artifacts import Artifacts
from soma_schemas.clock import SystemClock

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where the parts' programs are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "somafractalmemory"


@pytest.fixture(scope="session")
def artifacts(cache: Path) -> Artifacts:
    """The parts' programs."""
    return Artifacts(cache)


@pytest.fixture
def eventually() -> Eventually:
    """Wait until something is true, for thirty seconds at most."""

    async def wait(is_true: Callable[[], object]) -> None:
        clock = SystemClock()
        deadline = clock.monotonic() + 30
        while not is_true():
            assert clock.monotonic() < deadline, "it did not become true"
            await clock.sleep(0.05)

    return wait
