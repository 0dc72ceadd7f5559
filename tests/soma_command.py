"""Runs `soma` within the test's own process, with an environment of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from soma_cli.main import run


@dataclass(frozen=True)
class Ran:
    """What a run left behind: its exit code, and what it wrote to stdout and to stderr."""

    code: int
    out: str
    err: str


class Soma:
    """`soma`, with SOMA_HOME and whatever else a test wants in its environment."""

    def __init__(self, home: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._environment = {"SOMA_HOME": str(home)}
        self._captured = captured

    def __call__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        """Run it."""
        self._captured.readouterr()  # what others wrote before is not its own
        # A command begins where nothing is configured; tests that captured logs leave something behind.
        structlog.reset_defaults()
        code = run(arguments, self._environment | dict(environment or {}))
        captured = self._captured.readouterr()
        return Ran(code, captured.out, captured.err)
