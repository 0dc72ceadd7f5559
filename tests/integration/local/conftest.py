"""Homes of the third-party parts, apart from the one that other tests share: here parts are killed."""

import os
from pathlib import Path

import pytest

from soma_cli.local.artifacts import Artifacts


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where the parts' programs are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "somafractalmemory"


@pytest.fixture(scope="session")
def artifacts(cache: Path) -> Artifacts:
    """The parts' programs."""
    return Artifacts(cache)
