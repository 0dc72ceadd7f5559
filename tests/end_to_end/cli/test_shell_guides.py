"""The guides whose commands belong into one shell, walked from top to bottom."""

import re
import shlex
from pathlib import Path

import pytest

from pages import walk_in_a_shell
from soma_command import Soma
from soma_up import Up

GUIDES = Path(__file__).parents[3] / "docs/guides"
ACCESS = (GUIDES / "access.md").read_text(encoding="utf-8")
SETTINGS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("guide", ["consistency.md", "tenants.md"])
def test_a_guide_works_as_written(guide: str, stack: Up, tmp_path: Path) -> None:
    walk_in_a_shell((GUIDES / guide).read_text(encoding="utf-8"), stack.home, tmp_path)


def test_what_the_guide_to_access_has_people_type_works(stack: Up, tmp_path: Path) -> None:
    walk_in_a_shell(SETTINGS.sub("", ACCESS), stack.home, tmp_path)


def test_the_settings_that_the_guide_to_access_names_are_in_order(soma: Soma) -> None:
    blocks = SETTINGS.findall(ACCESS)

    assert len(blocks) == 2
    for block in blocks:
        named = dict(line.split("=", 1) for line in shlex.split(block))
        ran = soma("config", "check", "api", environment=named)
        assert ran.code == 0, ran.out
