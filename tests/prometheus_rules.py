"""The rules as they are written down, and the program that checks them."""

import shutil
from pathlib import Path
from typing import Any

import yaml

RULE_FILES = sorted((Path(__file__).parents[1] / "deploy/prometheus/rules").glob("*.yml"))

GROUPS: dict[str, list[dict[str, Any]]] = {
    group["name"]: group["rules"]
    for path in RULE_FILES
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
}
RULES = [rule for rules in GROUPS.values() for rule in rules]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}


def program(name: str) -> str:
    """Where `prometheus` or `promtool` is.

    Raises:
        AssertionError: It is not installed; the words say how to install it.
    """
    found = shutil.which(name)
    assert found, (
        f"{name} is not installed: apt-get install --no-install-recommends prometheus, or see .ci/run"
    )
    return found
