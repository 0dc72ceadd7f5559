"""Reads what a page tells people to type, and what it says they see then."""

import re
import shlex
from dataclasses import dataclass

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


def _plain(line: str) -> str:
    """Return a line without what differs from run to run."""
    return " ".join(line.split())


def shows(line: str, output: list[str]) -> bool:
    """Say whether a line of the page is in the output; `...` and wide gaps stand for anything."""
    parts = [re.escape(_plain(part)) for part in re.split(r"\.\.\.|\s{3,}", line) if part.strip()]
    return any(re.search(".*".join(parts), _plain(each)) for each in output)
