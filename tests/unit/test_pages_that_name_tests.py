"""A page that tells which test holds what names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("docs/internals/faults.md", 50),
        ("docs/internals/migrations.md", 7),
        ("docs/threat-model.md", 40),
        ("docs/guides/production.md", 2),
    ],
)
def test_every_test_that_a_page_names_exists(page: str, least: int) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / page).read_text(encoding="utf-8"))

    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]

    assert len(named) >= least
    assert missing == []


def test_every_threat_is_held_by_a_test_or_accepted_or_answered_by_a_page() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([STRIDE]) \| .* \| (.+) \|$", page, re.MULTILINE)

    assert {letter for letter, _ in rows} == set("STRIDE")
    assert [held for _, held in rows if not re.search(r"`tests/|accepted|\]\([\w/]+\.md\)", held)] == []


def test_every_area_of_readiness_has_a_proof_that_can_be_run() -> None:
    page = (ROOT / "docs" / "production-readiness.md").read_text(encoding="utf-8")
    proofs = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", page, re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = re.findall(r"`(.+?)`", " ".join(proof for _, proof in proofs))

    assert [number for number, _ in proofs] == [str(number) for number in range(1, 17)]
    assert all("`" in proof for _, proof in proofs)
    made = {
        target
        for command in commands
        if command.startswith("make ")
        for target in command.split()[1:]
        if re.fullmatch(r"[a-z-]+", target)
    }
    assert made <= targets
    paths = {path for command in commands for path in re.findall(r"tests/[\w./]+", command)}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
