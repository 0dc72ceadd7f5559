"""How the tests of the command line run it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from canned_api import CannedApi
from soma_command import Soma


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a local stack that does not run."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def soma(capfd: pytest.CaptureFixture[str], home: Path) -> Soma:
    """Run `soma`."""
    return Soma(home, capfd)


@pytest.fixture
def api() -> Iterator[CannedApi]:
    """An API that gives prepared answers."""
    with CannedApi() as running:
        yield running
