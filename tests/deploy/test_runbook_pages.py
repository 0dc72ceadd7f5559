"""The runbooks name the alerts that lead to them, and all of them are found from their index."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"
PAGES = sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")


def alerts() -> list[tuple[str, str]]:
    """Each alert, and the page that it names."""
    found = []
    for path in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    page = rule["annotations"]["runbook_url"].rpartition("/")[2]
                    found.append((page, rule["alert"]))
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_names_exactly_the_alerts_that_name_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    line = re.search(r"^Alerts that lead here: (.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    named = [] if line is None else re.findall(r"`(\w+)`", line[1])

    assert sorted(named) == sorted(alert for page, alert in alerts() if page == path.name)


def test_alerts_lead_to_pages_that_exist() -> None:
    assert alerts()
    assert {page for page, _ in alerts()} <= {path.name for path in PAGES}


def test_the_index_has_every_page_once() -> None:
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")

    assert sorted(re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\) \|", index, re.MULTILINE)) == [
        path.name for path in PAGES
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_the_same_parts_as_all(path: Path) -> None:
    headings = re.findall(r"^## (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)

    assert headings == ["Symptom", "What it means", "What to do", "It is over when"]
