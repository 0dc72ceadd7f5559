"""A command that is printed can be pasted into a shell, whatever stands in it."""

import re
import subprocess
from pathlib import Path

import pytest
from rich.text import Text

from canned_api import CannedApi
from soma_cli.commands.up import Ready
from soma_command import Soma

HOMES = ["plain", "with a space", 'it\'s $HOME; `id` & "more"', "größer"]


def _run(script: str) -> str:
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", HOMES)
def test_what_a_ready_stack_prints_leads_to_its_home_and_its_key(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    key_file = home / "api-key"
    key_file.write_text("soma_a_secret", encoding="utf-8")
    ready = Ready(
        url="http://127.0.0.1:1", home=home, client_file=home / "client.json", key_file=key_file,
        seconds=1.0, restarts={}, index=None,
    )  # fmt: skip

    drawn = ready.drawn()

    assert isinstance(drawn, Text)
    (setting,) = re.findall(r"^In another terminal, after `(.+)`:$", drawn.plain, re.MULTILINE)
    (request,) = re.findall(r"^  curl (.+)$", drawn.plain, re.MULTILINE)
    assert _run(f'{setting}; printf %s "$SOMA_HOME"') == str(home)
    assert _run(f"printf '%s|' {request}") == (
        "--noproxy|*|-H|Authorization: Bearer soma_a_secret|http://127.0.0.1:1/v1/stats|"
    )


def test_a_hint_names_a_namespace_as_a_shell_reads_it(soma: Soma, api: CannedApi) -> None:
    api.answers({"memories": [], "next_cursor": None})

    ran = soma(
        "get", "-n", "it's; mine", "--key", "k", environment={"SOMA_URL": api.url, "SOMA_API_KEY": "k"}
    )

    (command,) = re.findall(r"^hint: see `(.+)`$", ran.err, re.MULTILINE)
    assert _run(f"printf '%s|' {command}") == "soma|list|--namespace|it's; mine|"
