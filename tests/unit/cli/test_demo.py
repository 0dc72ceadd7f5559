"""The demonstration runs the commands that a user would type, against its own stack alone."""

import os
from pathlib import Path

import pytest

from soma_cli.demo import DemoFailedError, demonstrate, steps
from soma_cli.examples import ExampleMissingError, checkout, example
from soma_cli.main import COMMANDS


def test_it_imports_the_examples_then_the_history_then_asks() -> None:
    commands = steps(Path("/srv/tea"))

    assert [command[0] for command in commands] == ["import", "import", *["search"] * 5]
    assert commands[1] == ("import", "--format", "git", "/srv/tea", "--wait")
    assert {command[0] for command in commands} <= {entry.name for entry in COMMANDS}


def test_an_installation_without_a_repository_asks_about_the_examples_alone() -> None:
    commands = steps(None)

    assert [command[0] for command in commands] == ["import", *["search"] * 4]
    assert not any("git" in command for command in commands)


async def test_it_says_what_it_runs_and_stops_at_the_first_failure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # No stack runs in this home, so the first command fails; what the environment names is not asked.
    environment = {
        **os.environ,
        "SOMA_URL": "http://127.0.0.1:9",
        "SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
    }

    with pytest.raises(DemoFailedError, match="`soma import` ended with exit code 2"):
        await demonstrate(tmp_path, environment)

    said = capfd.readouterr().err
    assert said.count("$ soma ") == 1
    assert f"no local stack runs in {tmp_path}" in said


def test_the_examples_are_found_from_a_checkout() -> None:
    assert example("assistant-month.jsonl").is_file()
    assert checkout() == Path(__file__).parents[3]


def test_a_missing_example_is_said() -> None:
    with pytest.raises(ExampleMissingError, match=r"no nothing\.jsonl"):
        example("nothing.jsonl")
