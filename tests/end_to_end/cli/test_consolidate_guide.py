"""The guide to near-duplicates, walked from top to bottom: its commands work, and show what it says."""

import json
import shlex
from pathlib import Path

from pages import shows, steps
from soma_command import Soma

GUIDE = (Path(__file__).parents[3] / "docs/guides/consolidate.md").read_text(encoding="utf-8")


def test_the_guide_works_as_written(at_home: Soma) -> None:
    for step in steps(GUIDE):
        assert step.language == "console"
        output: list[str] = []
        for line in step.text.splitlines():
            command = shlex.split(line)
            assert command.pop(0) == "soma"
            ran = at_home(*command)
            assert ran.code == 0, (line, ran.err)
            output += ran.out.splitlines()
        assert [line for line in step.seen if not shows(line, output)] == [], output
    left = json.loads(at_home("list", "-n", "household/mira", "--json").out)["memories"]
    (kept,) = [each for each in left if "consolidated_from" in each["payload"]]
    assert kept["importance"] == 0.8
    (merged,) = kept["payload"]["consolidated_from"]
    assert at_home("get", merged).code == 1
