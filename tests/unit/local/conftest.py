"""What the tests of the local stack's building blocks need."""

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from soma_cli.local.child_process import Launch
from soma_cli.local.home import Home

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
