"""What README tells people to type works as it stands there, from its first word to its last."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from soma_up import Up

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:Save as `(\w+\.py)`:\n\n)?```(\w+)\n(.*?)```", README, re.DOTALL)
CONSOLE = [text for _, language, text in BLOCKS if language == "console"]
PROGRAMS = {name: text for name, language, text in BLOCKS if language == "python"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
NEXT = "--- next block"


def test_every_target_of_make_that_is_named_exists() -> None:
    named = set(re.findall(r"make ([a-z]+)", "\n".join(CONSOLE)))

    assert named == {"demo", "up", "test", "lint"}
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_readme_works_from_top_to_bottom_in_one_shell(stack: Up, tmp_path: Path) -> None:
    # `make` has been run: its environment is there, and its stack runs in the user's own folder.
    home, checkout = tmp_path / "home", tmp_path / "checkout"
    home.mkdir()
    checkout.mkdir()
    (home / ".soma").symlink_to(stack.home)
    (checkout / ".venv").symlink_to(sys.prefix)
    for name, text in PROGRAMS.items():
        (checkout / name).write_text(text, encoding="utf-8")
    typed = [block for block in CONSOLE if not block.startswith("make ")]

    ran = subprocess.run(
        ["bash", "-e", "-c", f"echo '{NEXT}'\n".join(typed)],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if not name.startswith("SOMA_")}
        | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    commands, request, program = ran.stdout.split(f"{NEXT}\n")
    assert "done; reads and searches see it" in commands
    assert commands.count("Ada prefers tea at four.") == 1
    assert "assistant/ada" in {hit["memory"]["namespace"] for hit in json.loads(request)["hits"]}
    assert re.fullmatch(r"\d+:\d+\n", program)
