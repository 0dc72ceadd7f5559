"""What README tells people to type works as it stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shlex import quote

import pytest

from soma_cli.handover import read_handover
from soma_up import Up

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def commands() -> list[str]:
    """The commands, without the prompt for an environment that a test already has."""
    joined = [line for block in CONSOLE for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in joined if not line.startswith(("make ", ". "))]


def test_every_target_of_make_that_is_named_exists() -> None:
    named = set(re.findall(r"make ([a-z]+)", "\n".join(CONSOLE)))

    assert named == {"demo", "up", "test", "lint"}
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_works(command: str, stack: Up) -> None:
    here = command.replace("http://127.0.0.1:8420", stack.printed["url"]).replace(
        "~/.soma", quote(str(stack.home))
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    ran = subprocess.run(
        ["bash", "-c", here],
        env={**os.environ, "SOMA_HOME": str(stack.home), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
    if command.startswith("curl"):
        assert "hits" in json.loads(ran.stdout)


def test_the_producer_of_the_readme_publishes(stack: Up) -> None:
    (snippet,) = PYTHON
    handover = read_handover(stack.home)
    assert handover is not None
    # A producer knows brokers and registry, and no database.
    places = {name: value for name, value in handover.environment.items() if "POSTGRES" not in name}

    ran = subprocess.run(
        [sys.executable, "-c", snippet],
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"\d+:\d+", ran.stdout.strip())
