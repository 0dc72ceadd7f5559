"""The guide to near-duplicates, walked from top to bottom: its commands work, and show what it says."""

import json
from pathlib import Path

from pages import walk
from soma_command import Soma

GUIDE = (Path(__file__).parents[3] / "docs/guides/consolidate.md").read_text(encoding="utf-8")


def test_the_guide_works_as_written(at_home: Soma) -> None:
    walk(GUIDE, at_home)
    left = json.loads(at_home("list", "-n", "household/mira", "--json").out)["memories"]
    (kept,) = [each for each in left if "consolidated_from" in each["payload"]]
    assert kept["importance"] == 0.8
    (merged,) = kept["payload"]["consolidated_from"]
    assert at_home("get", merged).code == 1
