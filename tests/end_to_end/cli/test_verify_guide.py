"""The guide to `soma verify`: its commands show what it says, and a lost row is found and comes back."""

import json
import shlex
from pathlib import Path

from lost_rows import lose_a_row
from pages import shows, steps
from soma_command import Soma
from soma_up import Up
from waiting import eventually_now

GUIDE = (Path(__file__).parents[3] / "docs/guides/verify.md").read_text(encoding="utf-8")


def test_the_guide_shows_what_is_seen_on_a_stack_that_is_well(at_home: Soma) -> None:
    at_home("store", "Ada prefers tea at four.", "-n", "verify", "--key", "tea", "--wait", "30")
    walked = 0
    for step in steps(GUIDE):
        ran = eventually_now(
            lambda step=step: at_home(*shlex.split(step.text)[1:]),  # type: ignore[misc]  # mypy infers no default
            lambda ran: ran.code == 0,
        )
        missing = [line for line in step.seen if not shows(line, ran.out.splitlines())]
        assert (step.text, missing) == (step.text, [])
        walked += 1

    assert walked == 3


def test_a_lost_row_is_found_and_comes_back(at_home: Soma, stack: Up) -> None:
    at_home("store", "Lost and found.", "-n", "verify", "--key", "lost", "--wait", "30")
    lost = str(lose_a_row(stack.home, "verify"))
    gone = at_home("get", lost)

    seen = at_home("verify", "--json")
    mended = at_home("verify", "--repair")
    after = at_home("verify", "--json")
    back = at_home("get", lost)

    findings = json.loads(seen.out)["stores"]["findings"]
    assert (seen.code, set(findings)) == (1, {"row_missing", "point_ahead"})
    assert [each["memory_id"] for each in findings["row_missing"]["examples"]] == [lost]
    assert "hint: run `soma verify --repair`" in seen.err
    assert mended.code == 0, mended
    assert f"local/{lost}" in mended.out
    assert (after.code, json.loads(after.out)["stores"]["findings"]) == (0, {})
    assert (gone.code, back.code) == (1, 0)


def test_watching_goes_with_nothing_else(at_home: Soma) -> None:
    ran = at_home("verify", "--watch", "--repair")

    assert ran.code == 2
    assert "--watch only shows" in ran.err
