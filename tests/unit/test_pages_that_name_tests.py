"""A page that tells which test holds what names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "page", ["docs/internals/faults.md", "docs/internals/migrations.md", "docs/threat-model.md"]
)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / page).read_text(encoding="utf-8"))

    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]

    assert len(named) >= 7
    assert missing == []


def test_every_threat_is_held_by_a_test_or_accepted_or_answered_by_a_page() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([STRIDE]) \| .* \| (.+) \|$", page, re.MULTILINE)

    assert {letter for letter, _ in rows} == set("STRIDE")
    assert [held for _, held in rows if not re.search(r"`tests/|accepted|\]\([\w/]+\.md\)", held)] == []
