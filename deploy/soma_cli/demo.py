"""What `soma up --demo` shows: the commands that a user would type next, run as they would be typed."""

import asyncio
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from soma_cli.examples import checkout, example
from soma_cli.output import say
from soma_schemas.errors import SomaError

# From the example questions; the last two show what filters and revised memories do.
_QUESTIONS = (
    ("What can I order for Tomas B so that he is not left with chips?",),
    ("Customer number of the haulage company in Ellerby",),
    ("Why did customers of harbour-old get logged out all the time?", "--prefix", "projects/harbour-old"),
    ("When does Harbour 2.4 come out?",),
)
_HISTORY_QUESTIONS = (("What happens when an interrupted import is run again?", "--prefix", "git"),)
_TOP_K = "2"

# The demonstration talks to its own stack, whatever the environment says of others.
_KEPT = frozenset({"SOMA_HOME", "SOMA_CACHE"})


class DemoFailedError(SomaError):
    """A command of the demonstration failed; it has said why."""

    code = "demo_failed"


def steps(repository: Path | None) -> list[tuple[str, ...]]:
    """Return the commands of the demonstration, each without the word `soma`.

    Args:
        repository: Whose history to import too; None for an installation without one.
    """
    imports: list[tuple[str, ...]] = [("import", str(example("assistant-month.jsonl")), "--wait")]
    questions: list[tuple[str, ...]] = list(_QUESTIONS)
    if repository is not None:
        imports.append(("import", "--format", "git", str(repository), "--wait"))
        questions += _HISTORY_QUESTIONS
    return [*imports, *(("search", *question, "--top-k", _TOP_K) for question in questions)]


async def demonstrate(home: Path, environment: Mapping[str, str]) -> None:
    """Run the commands one after the other; what they print goes where ours does.

    Raises:
        DemoFailedError: One of them failed.
    """
    clean = {
        name: value for name, value in environment.items() if not name.startswith("SOMA_") or name in _KEPT
    } | {"SOMA_HOME": str(home)}
    for step in steps(checkout()):
        say(f"\n$ soma {shlex.join(step)}")
        code = await _run(step, clean)
        if code != 0:
            raise DemoFailedError(f"`soma {step[0]}` ended with exit code {code}")


async def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "soma_cli.main",
        *arguments,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
