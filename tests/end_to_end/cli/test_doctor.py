"""`soma doctor` on a stack that is well, and on an installation where nothing was set up."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from soma_command import Ran, Soma
from soma_schemas.tables import HEAD, note_oldest_program
from soma_schemas.topics import TOPICS
from waiting import eventually_now

_CHECKS = [
    "settings", "brokers", "topics", "registry", "database", "clocks", "permissions", "disk", "groups", "api",
    "index",
]  # fmt: skip


def findings(ran: Ran) -> list[dict[str, Any]]:
    assert ran.out, ran.err
    found: list[dict[str, Any]] = json.loads(ran.out)["findings"]
    return found


def failed(ran: Ran) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in findings(ran):
        if each["health"] == "failed":
            found.setdefault(each["check"], []).append(each)
    return found


@pytest.fixture
def nothing_set_up(operator: dict[str, str]) -> dict[str, str]:
    """Parts that run, with neither topics nor schemas, and an API that does not."""
    return operator | {
        "SOMA_TOPICS__PREFIX": "doctor.",
        "SOMA_URL": "http://127.0.0.1:9",
        "SOMA_API_KEY": "none",
    }


def test_a_stack_that_is_well_passes_every_check(at_home: Soma) -> None:
    ran = eventually_now(lambda: at_home("doctor", "--json"), lambda ran: ran.code == 0, seconds=90)

    assert list(dict.fromkeys(each["check"] for each in findings(ran))) == _CHECKS
    assert {each["health"] for each in findings(ran)} == {"ok"}
    assert {each["remedy"] for each in findings(ran)} == {None}


def test_the_table_has_a_line_for_each_finding(at_home: Soma) -> None:
    ran = at_home("doctor")

    assert {line.split()[1] for line in ran.out.splitlines()} == set(_CHECKS)


def test_what_was_not_set_up_is_told_with_the_command_that_does_it(
    soma: Soma, nothing_set_up: dict[str, str]
) -> None:
    ran = soma("doctor", "--json", environment=nothing_set_up)

    found = failed(ran)
    assert ran.code == 1
    assert len(found["topics"]) == len(TOPICS)
    assert {each["remedy"] for each in found["topics"]} == {"run `soma topics apply`"}
    assert {each["remedy"] for each in found["registry"]} == {"run `soma schemas register`"}
    assert {each["looked_at"] for each in found["groups"]} == {
        "doctor.soma-postgres",
        "doctor.soma-vectors",
        "doctor.soma-dead-letters",
        "doctor.soma-erasures",
        "doctor.soma-policies",
    }
    assert "SOMA_URL" in found["api"][0]["remedy"]
    assert {"brokers", "database"} & found.keys() == set()


def test_a_database_of_another_revision_is_told(
    soma: Soma, nothing_set_up: dict[str, str], owner_dsn: str
) -> None:
    with psycopg.connect(owner_dsn) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        # Of a release that says of none before it that it may run.
        connection.execute("COMMENT ON TABLE alembic_version IS NULL")
        connection.commit()
        try:
            ran = soma("doctor", "--json", environment=nothing_set_up)
        finally:
            connection.execute("UPDATE alembic_version SET version_num = %s", [HEAD])
            note_oldest_program(connection)

    (found,) = failed(ran)["database"]
    assert "newer than this program" in found["found"]
    assert "Start the release" in found["remedy"]


def test_parts_that_are_away_are_told_with_what_to_start(soma: Soma) -> None:
    ran = soma(
        "doctor", "--json",
        environment={
            "SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
            "SOMA_REGISTRY__URL": "http://127.0.0.1:9",
            "SOMA_POSTGRES__PORT": "9",
            "SOMA_VECTORS__URL": "http://127.0.0.1:9",
        },
    )  # fmt: skip

    found = failed(ran)
    assert ran.code == 1
    assert found.keys() >= {"brokers", "topics", "registry", "database", "clocks", "groups", "index"}
    assert {each["remedy"] is None for every in found.values() for each in every} == {False}
    assert "SOMA_POSTGRES__HOST" in found["database"][0]["remedy"]


def test_what_was_found_is_told_once(tmp_path: Path) -> None:
    away = {"SOMA_HOME": str(tmp_path), "SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9"}

    # A process of its own: in this one others have said what becomes of logs.
    ran = subprocess.run(
        [sys.executable, "-m", "soma_cli.main", "doctor", "--json"],
        env=os.environ | away,
        capture_output=True,
        check=False,
    )

    assert ran.returncode == 1
    (line,) = ran.stderr.decode().splitlines()
    assert line.startswith("error: ")


def test_an_api_that_nobody_named_is_a_warning(soma: Soma, operator: dict[str, str]) -> None:
    ran = soma("doctor", "--json", environment=operator)

    (found,) = [each for each in findings(ran) if each["check"] == "api"]
    assert (found["health"], found["found"]) == ("warning", "not looked at: nobody named it")


def test_without_any_installation_it_says_how_to_start_one(soma: Soma) -> None:
    ran = soma("doctor")

    assert ran.code == 2
    assert "soma up" in ran.err
