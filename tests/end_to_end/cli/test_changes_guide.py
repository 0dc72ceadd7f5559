"""The guide to changes, walked from top to bottom; then following over a connection that goes on."""

import json
import subprocess
import sys
from pathlib import Path

from pages import walk
from soma_command import Soma
from soma_up import Up
from waiting import eventually_now

GUIDE = (Path(__file__).parents[3] / "docs/guides/changes.md").read_text(encoding="utf-8")


def test_the_guide_works_as_written(at_home: Soma) -> None:
    walk(GUIDE, at_home)


def test_what_is_stored_while_somebody_follows_is_told_and_then_gone_on_with(
    at_home: Soma, stack: Up, tmp_path: Path
) -> None:
    told = tmp_path / "told"

    def lines() -> list[dict[str, object]]:
        return [
            json.loads(line) for line in told.read_text("utf-8").splitlines(keepends=True) if line[-1] == "\n"
        ]

    with told.open("w") as output:
        following = subprocess.Popen(
            [sys.executable, "-m", "soma_cli.main", "tail", "-n", "team/live", "--json"],
            env={"SOMA_HOME": str(stack.home)},
            stdout=output,
        )
        try:
            (begun,) = eventually_now(lines)
            at_home("store", "here", "-n", "team/live", "--wait", "30")
            seen = eventually_now(lines, lambda found: len(found) >= 3 and "id" in found[-1])
        finally:
            following.kill()
            following.wait()
    at_home("store", "meanwhile", "-n", "team/live", "--wait", "30")
    ran = at_home("tail", "--since", str(seen[-1]["id"]), "--no-follow", "-n", "team/live", "--json")

    changes = [each for each in seen if "memory" in each]
    assert begun.keys() == {"id"}
    assert [each["memory"]["text"] for each in changes] == ["here"]  # type: ignore[index]
    later = [json.loads(line) for line in ran.out.splitlines()]
    assert [each["memory"]["text"] for each in later if "memory" in each] == ["meanwhile"]
