"""A migration runs while workers write: the linter `squawk` reads the SQL of each revision."""

import json
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

LINTER = Path(sysconfig.get_path("scripts")) / "squawk"

NOT_OURS = {
    "prefer-bigint-over-int": "A size of a field is a decision of its contract.",
    "prefer-bigint-over-smallint": "A size of a field is a decision of its contract.",
    "require-lock-timeout": "`soma migrate` sets it for the session.",
    "require-statement-timeout": "A long statement that blocks nobody may take its time.",
    "ban-drop-function": "Functions are ours alone: a revision replaces one under its own name.",
}

# What revisions do although it blocks writers, and why that was taken. A new revision needs as good a reason.
TAKEN: Mapping[str, Mapping[str, str]] = {
    "0002": {"require-concurrent-index-creation": "dead letters are few, and one worker waits for a second"},
    "0003": {"ban-drop-table": "only what an interrupted run of this revision left"},
    "0007": {"ban-drop-constraint": "it comes back wider in the same statement"},
    "0009": {
        "ban-drop-constraint": "it comes back wider in the same statement",
        "constraint-missing-not-valid": "the table of erasures is small",
    },
    "0012": {"require-concurrent-index-creation": "writers wait for it: the log absorbs them"},
    "0014": {
        "require-concurrent-index-creation": "a table of data keys, which has a row a subject",
        "ban-drop-constraint": "it comes back wider in the same statement",
        "constraint-missing-not-valid": "a table of data keys, which has a row a subject",
    },
    "0015": {
        "adding-field-with-default": "writers wait for the rewrite: the log absorbs them",
        "require-concurrent-index-creation": "writers wait for it: the log absorbs them",
    },
    "0016": {"constraint-missing-not-valid": "a table of API keys, which is small"},
    "0019": {"require-concurrent-index-creation": "workers write the audit log rarely"},
    "0020": {
        "require-concurrent-index-creation": "writers wait for it: the log absorbs them",
        "require-concurrent-index-deletion": "it goes in a moment, once the other one is there",
    },
    "0022": {"require-concurrent-index-creation": "writers wait for it: the log absorbs them"},
}


def revisions() -> list[Script]:
    config = Config()
    config.set_main_option("script_location", "soma_schemas:tables")
    return list(ScriptDirectory.from_config(config).walk_revisions())


def transactions(script: Script) -> list[str]:
    """Return what a revision runs on its way up, without a database: the SQL of each of its transactions."""
    ran = [""]

    def run(sql: str) -> None:
        ran[-1] += sql

    revision: Any = script.module
    revision.run = run
    revision.commit = lambda: ran.append("")
    revision.upgrade()
    return ran


def violations(sql: str) -> list[dict[str, Any]]:
    """Return what the linter says against a migration, but for what is not ours."""
    command = [str(LINTER), "--pg-version=15", "--assume-in-transaction", "--reporter=json"]
    ran = subprocess.run(
        [*command, f"--exclude={','.join(NOT_OURS)}"], input=sql, capture_output=True, text=True, check=False
    )
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    assert ran.returncode == (1 if found else 0), ran.stderr
    return found


@pytest.mark.parametrize("script", revisions(), ids=lambda script: script.revision)
def test_a_revision_blocks_writers_only_where_that_was_taken(script: Script) -> None:
    found = {violation["rule_name"] for sql in transactions(script) for violation in violations(sql)}

    assert found == set(TAKEN.get(script.revision, {}))


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("CREATE INDEX by_kind ON memories (kind);", "require-concurrent-index-creation"),
        ("ALTER TABLE memories ADD COLUMN mood text NOT NULL;", "adding-required-field"),
        ("ALTER TABLE memories ALTER COLUMN importance TYPE real;", "changing-column-type"),
        ("ALTER TABLE memories DROP COLUMN source;", "ban-drop-column"),
        ("ALTER TABLE memories RENAME COLUMN source TO origin;", "renaming-column"),
        ("ALTER TABLE memories ADD CONSTRAINT a CHECK (version > 0);", "constraint-missing-not-valid"),
    ],
)
def test_what_blocks_writers_or_breaks_the_release_before_is_found(sql: str, rule: str) -> None:
    assert rule in {violation["rule_name"] for violation in violations(sql)}
