"""Reads what a page tells people to type, and what it says they see then."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from soma_command import Soma


@dataclass(frozen=True)
class Step:
    """A block of a page, and what the page says is seen.

    Attributes:
        code: Of the dead letter that `ID` stands for.
    """

    language: str
    text: str
    seen: tuple[str, ...]
    code: str | None


def steps(page: str) -> list[Step]:
    """Return the blocks of a page, in order."""
    blocks = re.findall(r"(?:<!-- ID: (\w+) -->\n\n)?```(\w+)\n(.*?)```", page, re.DOTALL)
    found: list[Step] = []
    for code, language, text in blocks:
        if language == "text":
            last = found.pop()
            found.append(Step(last.language, last.text, tuple(text.splitlines()), last.code))
        else:
            found.append(Step(language, text.strip(), (), code or None))
    return found


def walk(page: str, soma: Soma) -> None:
    """Type every command of a page, and hold it to what the page says is seen."""
    for step in steps(page):
        assert step.language == "console"
        output: list[str] = []
        for line in step.text.splitlines():
            command = shlex.split(line)
            assert command.pop(0) == "soma"
            ran = soma(*command)
            assert ran.code == 0, (line, ran.err)
            output += ran.out.splitlines()
        assert [line for line in step.seen if not shows(line, output)] == [], output


_NEXT = "--- next block"


def typed(blocks: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Type blocks into one shell, which ends with the first failure, and return what each prints."""
    script = f"echo '{_NEXT}'\n".join(f"{block.rstrip()}\n" for block in blocks)
    ran = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, (ran.stderr, ran.stdout)
    return ran.stdout.split(f"{_NEXT}\n")


def walk_in_a_shell(page: str, home: Path, folder: Path) -> None:
    """Type every command of a page into one shell, and hold each block to what the page says is seen.

    Args:
        page: Its text.
        home: Of the stack that runs.
        folder: Where to type.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SOMA_")}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    console = steps(page)
    assert {step.language for step in console} == {"console"}
    outputs = typed(
        [step.text for step in console], folder, inherited | {"PATH": programs, "SOMA_HOME": str(home)}
    )
    for step, output in zip(console, outputs, strict=True):
        lines = output.splitlines()
        assert [line for line in step.seen if not shows(line, lines)] == [], (step.text, output)


def _plain(line: str) -> str:
    """Return a line without what differs from run to run."""
    return " ".join(line.split())


def shows(line: str, output: list[str]) -> bool:
    """Say whether a line of the page is in the output; `...` and wide gaps stand for anything."""
    parts = [re.escape(_plain(part)) for part in re.split(r"\.\.\.|\s{3,}", line) if part.strip()]
    return any(re.search(".*".join(parts), _plain(each)) for each in output)
