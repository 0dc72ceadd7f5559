"""Alerts and recording rules: each alert is called for what it should be, and for nothing else."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Counting
from prometheus_rules import ALERTS, GROUPS, RULE_FILES, RULES, program

_DOCS = Path(__file__).parents[2] / "docs"
_CASES: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("alert_cases.yml").read_text(encoding="utf-8")
)
_BASE = "{{ $externalLabels.soma_docs }}/"
_HERE = "https://docs.example"


def test_the_rules_are_rules(counting: Counting) -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULE_FILES)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    counting("rules checked by promtool", len(RULES))


def test_every_alert_has_its_two_cases() -> None:
    assert ALERTS.keys() == _CASES.keys()
    assert all({kind.split()[0] for kind in cases} == {"fires", "silent"} for cases in _CASES.values())


def test_no_two_rules_share_a_name() -> None:
    names = [rule.get("alert") or rule["record"] for rule in RULES]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_urgent_it_is_what_happened_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]

    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "runbook_url"}
    assert rule["annotations"]["runbook_url"].startswith(_BASE)


@pytest.mark.parametrize("alert", ALERTS)
def test_the_runbook_of_an_alert_says_what_to_do(alert: str) -> None:
    page = _DOCS / ALERTS[alert]["annotations"]["runbook_url"].removeprefix(_BASE)

    assert "\n## What to do\n" in page.read_text(encoding="utf-8")


def test_the_guide_lists_every_alert_as_it_is() -> None:
    guide = (_DOCS / "guides/operating.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| `(Soma\w+)` \| (\w+) \| .*\(\.\./(runbooks/.+)\) \|$", guide, re.MULTILINE)
    assert rows == [
        (alert, rule["labels"]["severity"], rule["annotations"]["runbook_url"].removeprefix(_BASE))
        for alert, rule in ALERTS.items()
    ]


@pytest.mark.parametrize("every", ["1m", "30m"])
def test_every_alert_fires_when_it_should_and_only_then(
    every: str, tmp_path: Path, counting: Counting
) -> None:
    cases = [
        _case(alert, kind, case, every)
        for alert, two in _CASES.items()
        for kind, case in two.items()
        if case.get("every", "1m") == every
    ]
    file = tmp_path / "test.yml"
    tests = {
        "rule_files": [str(path) for path in RULE_FILES],
        "evaluation_interval": every,
        # What alerts read is recorded before they read it.
        "group_eval_order": sorted(GROUPS, key=lambda name: any("alert" in rule for rule in GROUPS[name])),
        "tests": cases,
    }
    file.write_text(yaml.safe_dump(tests))

    tested = subprocess.run(
        [program("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert cases
    assert tested.returncode == 0, tested.stdout + tested.stderr
    counting("alerts that fired, and stayed silent, in promtool", len(cases) // 2)


def _case(alert: str, kind: str, case: dict[str, Any], every: str) -> dict[str, Any]:
    rule = ALERTS[alert]
    fired = {
        "exp_labels": rule["labels"] | case.get("labels", {}),
        "exp_annotations": {
            "summary": case.get("summary", ""),
            "runbook_url": rule["annotations"]["runbook_url"].replace(_BASE, f"{_HERE}/"),
        },
    }
    return {
        "name": f"{alert} {kind}",
        "interval": every,
        "external_labels": {"soma_docs": _HERE},
        "input_series": [{"series": name, "values": values} for name, values in case["series"].items()],
        "alert_rule_test": [
            {
                "eval_time": case["at"],
                "alertname": alert,
                "exp_alerts": [fired] if kind.startswith("fires") else [],
            }
        ],
    }
