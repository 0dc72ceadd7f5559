"""A copy of the project as its users have it, whose docker-compose.yml is typed at."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers.engine import Engine

_ROOT = Path(__file__).parents[2]
_PARTS = ["docker-compose.yml", ".dockerignore", "pyproject.toml", "README.md", "LICENSE", "NOTICE"]
_PARTS += ["requirements", "schemas", "streams", "api", "deploy", "docs/examples"]
_STEP = re.compile(r"#   (.*)")


def typed_steps() -> list[str]:
    """Return the commands at the head of docker-compose.yml, as they stand there."""
    text = (_ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    return [found[1] for line in text.splitlines() if (found := _STEP.fullmatch(line))]


@dataclass(frozen=True)
class Project:
    """One folder, and the engine that its services run on."""

    folder: Path
    engine: Engine

    @classmethod
    def copied(cls, folder: Path, engine: Engine, overrides: str) -> "Project":
        """Make a copy.

        Args:
            folder: Where to; made.
            engine: What `docker` speaks to there.
            overrides: What docker-compose.override.yml holds, which Compose reads too.
        """
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", *_PARTS],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # The chart links to dashboards and rules.
            shutil.copy(_ROOT / name, folder / name, follow_symlinks=False)
        (folder / "docker-compose.override.yml").write_text(overrides, encoding="utf-8")
        return cls(folder, engine)

    def type(self, *steps: str) -> str:
        """Return what commands print, typed in this folder one after the other.

        Raises:
            AssertionError: One failed; with what it said.
        """
        script = "\n".join(steps)
        ran = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.engine.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        said = "\n".join((ran.stdout + ran.stderr).splitlines()[-40:])
        assert ran.returncode == 0, f"{script}\nended with {ran.returncode}:\n{said}"
        return ran.stdout

    def compose(self, *arguments: str) -> str:
        """Return what `docker compose` prints."""
        return self.engine.docker("compose", "--project-directory", str(self.folder), *arguments)

    def inspected(self) -> list[dict[str, Any]]:
        """Return what Docker tells of every container."""
        listed = self.compose("--profile", "*", "ps", "--all", "--quiet").split()
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", *listed))
        return found

    def states(self) -> dict[str, str]:
        """Return how each service is: its health where that is checked, or what it `exited` with."""
        return {
            container["Config"]["Labels"]["com.docker.compose.service"]: _state(container["State"])
            for container in self.inspected()
        }

    def logs(self, services: Sequence[str]) -> str:
        """Return the last lines that services wrote."""
        return self.compose("logs", "--no-color", "--tail", "30", *services)


def _state(state: dict[str, Any]) -> str:
    if state["Status"] == "exited":
        return f"exited {state['ExitCode']}"
    return str(state.get("Health", state)["Status"])
