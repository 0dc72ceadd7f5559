"""The guide to retention, walked from top to bottom: its commands work, and show what it says."""

import json
import shlex
from pathlib import Path

from pages import shows, steps
from soma_command import Soma
from waiting import eventually_now

GUIDE = (Path(__file__).parents[3] / "docs/guides/retention.md").read_text(encoding="utf-8")
# Refused on purpose; the page says so.
REFUSED = "soma retention set 1s -n assistant/mira/chats"


def test_the_guide_works_as_written(at_home: Soma) -> None:
    for step in steps(GUIDE):
        assert step.language == "console"
        output: list[str] = []
        for line in step.text.splitlines():
            command = shlex.split(line)
            assert command.pop(0) == "soma"
            if line == REFUSED:
                eventually_now(lambda: _due(at_home))
            ran = at_home(*command)
            assert ran.code == (1 if line == REFUSED else 0), (line, ran.err)
            output += [*ran.out.splitlines(), *ran.err.splitlines()]
        assert [line for line in step.seen if not shows(line, output)] == [], output
    assert at_home("retention", "unset", "-n", "assistant/mira").code == 0


def _due(at_home: Soma) -> bool:
    """Say whether the second that the page sets has passed since the memory was stored."""
    ran = at_home("retention", "plan", "1s", "-n", "assistant/mira/chats", "--json")
    return bool(json.loads(ran.out)["due_now"])
