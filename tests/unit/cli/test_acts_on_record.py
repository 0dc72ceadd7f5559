"""Every command is an act that the guide to the audit log names, or known to change no installation."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"

OF_MEMORIES = {
    "store", "get", "search", "list", "delete", "history", "tail", "revert", "link", "unlink", "links",
    "neighbors", "path", "import", "export", "consolidate",
}  # fmt: skip
ONLY_LOOKS = {
    "status", "doctor", "support-bundle", "erase show", "erase list", "erase verify", "audit", "keys list",
    "encryption status", "retention list", "retention plan", "retention status", "config show",
    "config check", "config docs", "topics check", "schemas check", "schemas compatibility", "capacity",
    "lag", "lag plot", "dlq list", "dlq audit", "backup list", "backup drill", "bench recall",
    "bench latency", "bench search", "bench reads", "env",
}  # fmt: skip
RUNS = {"up", "lag collect", "work postgres", "work vectors", "work retention", "serve"}
# What it asks is an operation of the API, and on record as such.
ASKS = {"api"}
WITHOUT_A_DATABASE = {"topics apply", "schemas register"}


def test_every_command_that_changes_an_installation_is_on_record() -> None:
    section = (DOCS / "guides/access.md").read_text(encoding="utf-8")
    section = section.partition("## What was done, and by whom")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `soma ")]
    on_record = {name for row in rows for name in re.findall(r"`soma ([a-z -]+)`", row[1])}
    reference = (DOCS / "reference/cli.md").read_text(encoding="utf-8")
    named = re.findall(r"^##+ soma (.+)$", reference, re.MULTILINE)
    groups = {name.rpartition(" ")[0] for name in named} - {"lag", "backup"}
    commands = set(named) - groups

    known = OF_MEMORIES | ONLY_LOOKS | RUNS | ASKS | WITHOUT_A_DATABASE

    assert on_record
    assert not on_record & known
    assert commands == on_record | known


def test_no_act_of_the_guide_is_made_up() -> None:
    section = (DOCS / "guides/access.md").read_text(encoding="utf-8")
    section = section.partition("## What was done, and by whom")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `soma ")]
    acts = {act for row in rows for act in re.findall(r"`([a-z_]+\.[a-z_]+)`", row[2])}
    root = DOCS.parent
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("schemas", "streams", "api", "deploy")
        for path in (root / folder).rglob("*.py")
    )

    # Acts on keys are put together from what was done to the row.
    written = {act for act in acts if act in sources or act.startswith("api_key.")}

    assert acts == written
    assert {"create", "rotate", "revoke"} == {act.partition(".")[2] for act in acts if "api_key" in act}
