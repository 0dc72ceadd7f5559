"""The guide to the Python client, walked from top to bottom against a running stack."""

import contextlib
import io
import shlex
from pathlib import Path
from typing import Any

import pytest

from pages import shows, steps
from soma_command import Soma
from soma_up import Up

GUIDE = (Path(__file__).parents[3] / "docs/guides/python-client.md").read_text(encoding="utf-8")
STEPS = steps(GUIDE)


def test_the_guide_works_as_written(
    at_home: Soma, stack: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMA_HOME", str(stack.home))
    monkeypatch.chdir(tmp_path)
    program: dict[str, Any] = {"__name__": "guide"}

    for step in STEPS:
        if step.language == "console":
            ran = at_home(*shlex.split(step.text)[1:])
            assert ran.code == 0, (step.text, ran.err)
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(step.text, "python-client.md", "exec"), program)  # noqa: S102  # the page's own code
        lines = printed.getvalue().splitlines()
        assert [line for line in step.seen if not shows(line, lines)] == [], lines
        assert len(lines) >= len(step.seen)

    assert {step.language for step in STEPS} == {"console", "python"}
    assert "Ben takes the night train to Brno." in (tmp_path / "memories.jsonl").read_text("utf-8")
