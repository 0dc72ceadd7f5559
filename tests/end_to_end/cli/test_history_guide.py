"""The guide to histories, walked from top to bottom; then going back, before and after a deletion."""

import json
from pathlib import Path
from typing import Any

from pages import walk
from soma_command import Soma

GUIDE = (Path(__file__).parents[3] / "docs/guides/history.md").read_text(encoding="utf-8")
NAMED = ("tea", "-n", "team/habits")


def test_the_guide_works_as_written_and_a_memory_goes_back(at_home: Soma) -> None:
    def answer(*command: str) -> Any:
        ran = at_home(*command, "--json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    walk(GUIDE, at_home)
    newest, first = answer("history", *NAMED)["events"]

    was = answer("history", *NAMED, "--version", str(first["version"]))
    assert was == answer("history", *NAMED, "--at", first["logged_at"])
    assert was["memory"]["text"] == "Tea at four."
    assert answer("revert", *NAMED, "--version", str(first["version"]))["outcome"] == "applied"
    memory = answer("get", "-n", "team/habits", "--key", "tea")
    assert (memory["text"], memory["importance"]) == ("Tea at four.", 0.5)

    memory_id = memory["memory_id"]
    assert at_home("delete", memory_id).code == 0
    assert at_home("get", memory_id).code == 1
    assert at_home("revert", memory_id, "--version", str(newest["version"])).code == 0
    assert answer("get", memory_id)["text"] == "Tea at five."
