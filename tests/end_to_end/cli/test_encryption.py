"""What is about a subject never lies in the log in plain text, and the master key can be changed."""

import json
from pathlib import Path

from disk_search import files_with
from soma_command import Soma
from soma_up import Up

MARK = "unspoken-4d1f"


def in_the_log(home: Path) -> list[Path]:
    return [path for path in files_with(home, MARK) if str(path).startswith("kafka/")]


def test_what_is_about_a_subject_is_noise_in_the_log_and_searchable(stack: Up, at_home: Soma) -> None:
    stored = at_home("store", f"Ada says {MARK}.", "--namespace", "sealed", "--subject", "ada", "--json")
    assert stored.code == 0, stored

    found = at_home("search", "what does Ada say?", "--namespace", "sealed")

    assert MARK in found.out
    assert in_the_log(stack.home) == []
    at_home("store", f"Nobody says {MARK}.", "--namespace", "sealed")
    assert in_the_log(stack.home) != []


def test_a_new_master_key_wraps_every_data_key_and_reads_go_on(stack: Up, at_home: Soma) -> None:
    at_home("store", "Ada drinks tea.", "--namespace", "sealed", "--subject", "ada")

    rotated = at_home("encryption", "rotate-master-key", "--json")
    status = json.loads(at_home("encryption", "status", "--json").out)
    more = [
        at_home("store", f"{who} drinks coffee.", "--namespace", "sealed", "--subject", who)
        for who in ("ada", "grace")
    ]

    new = json.loads(rotated.out)
    first, *former = status["master_keys"]
    assert rotated.code == 0, rotated
    assert new["data_keys"] >= 1
    assert (first["master_key_id"], first["wraps"]) == (new["master_key_id"], True)
    assert {each["data_keys"] for each in former} == {0}
    assert [ran.code for ran in more] == [0, 0]
    assert "coffee" in at_home("search", "what does Grace drink?", "--namespace", "sealed").out
    assert (stack.home / "secrets" / "master-key").stat().st_mode & 0o777 == 0o600
