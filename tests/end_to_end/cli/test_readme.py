"""What README and the page of the examples tell people to type works as it stands there."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from pages import typed
from soma_up import Up

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = (ROOT / "docs" / "examples" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:Save as `(\w+\.py)`:\n\n)?```(\w+)\n(.*?)```", README, re.DOTALL)
CONSOLE = [text for _, language, text in BLOCKS if language == "console"]
PROGRAMS = {name: text for name, language, text in BLOCKS if language == "python"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which `make` has been run."""
    path = tmp_path / "checkout"
    path.mkdir()
    (path / ".venv").symlink_to(sys.prefix)
    (path / "docs").symlink_to(ROOT / "docs")
    return path


@pytest.fixture
def environment(tmp_path: Path, stack: Up) -> dict[str, str]:
    """That of somebody whose stack runs where it does unless they say otherwise."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".soma").symlink_to(stack.home)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SOMA_")}
    return inherited | {"HOME": str(home)}


def test_every_target_of_make_that_is_named_exists() -> None:
    named = set(re.findall(r"make ([a-z-]+)", "\n".join(CONSOLE)))

    assert {"demo", "up", "test", "lint"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_readme_works_from_top_to_bottom_in_one_shell(
    checkout: Path, environment: dict[str, str]
) -> None:
    for name, text in PROGRAMS.items():
        (checkout / name).write_text(text, encoding="utf-8")

    commands, script, request, program = typed(
        [block for block in CONSOLE if not block.startswith("make ")], checkout, environment
    )

    assert "done; reads and searches see it" in commands
    assert commands.count("Ada prefers tea at four.") == 1
    assert "Ada drinks cocoa at nine." in script.splitlines()
    assert "assistant/ada" in {hit["memory"]["namespace"] for hit in json.loads(request)["hits"]}
    assert re.fullmatch(r"\d+:\d+\n", program)


def test_a_first_script_is_six_lines_and_wants_no_settings() -> None:
    script = PROGRAMS["remember.py"]

    assert len(script.splitlines()) == 6
    assert "SOMA_" not in script


def test_the_examples_are_used_as_their_page_says(checkout: Path, environment: dict[str, str]) -> None:
    commands = re.findall(r"\| `(soma [^`]+)` \|$", EXAMPLES, re.MULTILINE)

    imported, *recalls = typed(
        [". .venv/bin/activate\n", *(f"{command}\n" for command in commands)], checkout, environment
    )[1:]

    assert "356" in imported
    assert ["hybrid" in recall for recall in recalls] == [True, True]
