"""What an agent developer does against the whole stack: store, search, read, delete, export, import."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from soma_cli.examples import example
from soma_command import Soma


def _json(soma: Soma, *arguments: str, **variables: str) -> Any:
    ran = soma(*arguments, "--json", environment=variables)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def _lines(soma: Soma, *arguments: str, **variables: str) -> list[str]:
    ran = soma("export", *arguments, environment=variables)
    assert (ran.code, ran.err) == (0, "")
    return ran.out.splitlines()


@pytest.fixture
def other_tenant(at_home: Soma) -> dict[str, str]:
    """The environment of somebody else on the same stack."""
    created = _json(at_home, "keys", "create", "--tenant", "other", "--role", "admin")
    return {"SOMA_API_KEY": created["api_key"]}


def test_a_memory_lives_from_store_to_delete(at_home: Soma) -> None:
    written = _json(at_home, "store", "Ada prefers tea at four.", "-n", "life/ada", "--key", "tea")
    assert written["outcome"] == "applied"

    hits = _json(at_home, "search", "what does Ada drink?", "-p", "life")["hits"]
    assert [hit["memory"]["memory_id"] for hit in hits] == [written["memory_id"]]

    by_key = _json(at_home, "get", "-n", "life/ada", "--key", "tea")
    by_id = _json(at_home, "get", written["memory_id"])
    listed = _json(at_home, "list", "-p", "life")["memories"]
    assert by_key == by_id == listed[0]
    assert (by_id["text"], by_id["version"]) == ("Ada prefers tea at four.", written["version"])

    deleted = _json(at_home, "delete", "-n", "life/ada", "--key", "tea")
    assert deleted["outcome"] == "applied"
    assert at_home("get", written["memory_id"]).code == 1
    assert _json(at_home, "search", "what does Ada drink?", "-p", "life")["hits"] == []


def test_storing_under_a_key_again_replaces(at_home: Soma) -> None:
    first = _json(at_home, "store", "Tea at four.", "-n", "again", "--key", "tea")
    second = _json(at_home, "store", "Tea at five.", "-n", "again", "--key", "tea")

    assert second["memory_id"] == first["memory_id"]
    assert [each["text"] for each in _json(at_home, "list", "-n", "again")["memories"]] == ["Tea at five."]


def test_an_expected_version_that_is_not_there_is_refused(at_home: Soma) -> None:
    _json(at_home, "store", "Tea.", "-n", "versions", "--key", "tea")

    ran = at_home("store", "Coffee.", "-n", "versions", "--key", "tea", "--expected-version", "0")

    assert (ran.code, ran.out) == (1, "")
    assert "another version" in ran.err


def test_a_key_that_may_only_read_is_told_so(at_home: Soma) -> None:
    reader = _json(at_home, "keys", "create", "--role", "reader")

    ran = at_home("store", "Tea.", environment={"SOMA_API_KEY": reader["api_key"]})

    assert ran.code == 1
    assert ran.err.startswith("error: this takes the role writer")
    assert "hint: use a key with the required role" in ran.err


def test_a_revoked_key_is_listed_as_such(at_home: Soma) -> None:
    created = _json(at_home, "keys", "create", "--label", "soon gone")
    _json(at_home, "keys", "revoke", created["key_id"])

    (listed,) = [key for key in _json(at_home, "keys", "list")["keys"] if key["label"] == "soon gone"]
    assert listed["revoked_at"] is not None


def test_importing_again_changes_nothing(at_home: Soma, tmp_path: Path) -> None:
    file = tmp_path / "memories.jsonl"
    lines = [
        {"namespace": "twice", "text": "no name"},
        {"namespace": "twice", "key": "k", "text": "before"},
        {"namespace": "twice", "key": "k", "text": "after"},
        {"namespace": "twice", "coordinate": [1, 2.5], "text": "a place"},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    first = _json(at_home, "import", str(file), "--wait")
    before = _json(at_home, "list", "-n", "twice")
    _json(at_home, "import", str(file), "--wait")
    after = _json(at_home, "list", "-n", "twice")

    assert (first["memories"], first["sent"], first["searchable"]) == (4, True, True)
    assert sorted(each["text"] for each in after["memories"]) == ["a place", "after", "no name"]
    assert after == before


def test_what_comes_through_a_pipe_is_stored_as_it_was_counted(at_home: Soma, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    lines = [{"namespace": "piped", "text": f"tea {number}"} for number in range(3)]

    with ThreadPoolExecutor(1) as writers:
        writers.submit(fifo.write_text, "".join(json.dumps(line) + "\n" for line in lines))
        imported = _json(at_home, "import", str(fifo), "--wait")

    listed = _json(at_home, "list", "-n", "piped")["memories"]
    assert imported["memories"] == 3
    assert sorted(memory["text"] for memory in listed) == ["tea 0", "tea 1", "tea 2"]


def test_an_import_does_not_undo_later_changes_unless_asked(at_home: Soma, tmp_path: Path) -> None:
    file = tmp_path / "memories.jsonl"
    file.write_text(json.dumps({"namespace": "undo", "key": "k", "text": "as imported"}) + "\n")
    _json(at_home, "import", str(file), "--wait")
    _json(at_home, "store", "changed since", "-n", "undo", "--key", "k")

    _json(at_home, "import", str(file), "--wait")
    assert _json(at_home, "get", "-n", "undo", "--key", "k")["text"] == "changed since"

    _json(at_home, "import", str(file), "--wait", "--anew")
    assert _json(at_home, "get", "-n", "undo", "--key", "k")["text"] == "as imported"


def test_a_file_with_a_bad_line_stores_nothing(at_home: Soma, tmp_path: Path) -> None:
    file = tmp_path / "memories.jsonl"
    file.write_text(json.dumps({"namespace": "bad-line", "text": "good"}) + '\n{"namespace": "bad-line"}\n')

    ran = at_home("import", str(file))

    assert (ran.code, ran.out) == (1, "")
    assert "error: memories.jsonl has 1 fault; nothing was sent\n  line 2: /text: " in ran.err
    assert _json(at_home, "list", "-n", "bad-line")["memories"] == []


def test_a_dry_run_sends_nothing(at_home: Soma, tmp_path: Path) -> None:
    file = tmp_path / "memories.jsonl"
    file.write_text(json.dumps({"namespace": "dry", "text": "good"}) + "\n")

    assert _json(at_home, "import", str(file), "--dry-run")["sent"] is False
    assert _json(at_home, "list", "-n", "dry")["memories"] == []


def test_the_example_memories_come_back_from_another_tenant_exactly(
    at_home: Soma, other_tenant: dict[str, str], tmp_path: Path
) -> None:
    # No memory of the examples but one has an end, and whether it has come is up to the clock.
    given = tmp_path / "given.jsonl"
    texts = example("assistant-month.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    given.write_text("".join(text for text in texts if '"expires_at"' not in text), encoding="utf-8")
    _json(at_home, "import", str(given), "--wait")
    prefixes = ("customers", "people", "projects", "team")
    mine = [line for prefix in prefixes for line in _lines(at_home, "-p", prefix)]

    file = tmp_path / "exported.jsonl"
    file.write_text("".join(f"{line}\n" for line in mine), encoding="utf-8")
    imported = _json(at_home, "import", str(file), "--tenant", "other", "--wait", **other_tenant)
    theirs = [line for prefix in prefixes for line in _lines(at_home, "-p", prefix, **other_tenant)]

    assert imported["memories"] == len(mine) > 300
    assert sorted(theirs) == sorted(mine)


def test_an_export_keeps_every_field(at_home: Soma, tmp_path: Path) -> None:
    line = {
        "namespace": "every/field",
        "key": "größe/ja",
        "kind": "SEMANTIC",
        "text": "a\ttab, a\nline and 日本",
        "payload": {"big": 2**60, "half": 0.5, "nested": [{"null": None, "true": True}], "text": "\u2028"},
        "tags": ["a b", "ü"],
        "importance": 0.3,
        "embedding": [0.0625 * (number % 7) for number in range(256)],
        "embedding_model": "wordllama-256",
        "subject": "mira",
        "source": "https://chat.example/mira/7",
        "expires_at": "2999-01-01T00:00:00.123456Z",
        "occurred_at": "2001-02-03T04:05:06.789012Z",
        "actor": "tom",
    }
    file = tmp_path / "memories.jsonl"
    file.write_text(json.dumps(line) + "\n")
    _json(at_home, "import", str(file), "--wait")

    (exported,) = _lines(at_home, "-n", "every/field")

    assert json.loads(exported) == line


def test_this_repository_is_imported_commit_by_commit(at_home: Soma) -> None:
    repository = Path(__file__).parents[3]

    imported = _json(at_home, "import", "--format", "git", str(repository), "--wait")

    first = "Contracts first: events, identity, versions, limits and the fold that turns a log into state"
    hits = _json(at_home, "search", first, "-p", "git")["hits"]
    assert imported["memories"] > 1
    assert any(hit["memory"]["text"].startswith(first) for hit in hits)


def test_status_says_that_everything_works(at_home: Soma) -> None:
    status = _json(at_home, "status")

    assert status["status"] == "ready"
    assert set(status["parts"]) == {"postgres", "vectors", "kafka", "registry"}


def test_the_commands_of_an_operator_find_the_local_stack(at_home: Soma) -> None:
    assert at_home("topics", "check").code == 0
    assert at_home("schemas", "check").code == 0
    assert _json(at_home, "migrate")["applied"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("recall",),
        ("latency", "-n", "5"),
        ("search", "--memories", "300", "-n", "20"),
        ("reads", "--memories", "300", "-n", "5"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_benchmarks_measure(at_home: Soma, arguments: tuple[str, ...]) -> None:
    figures = _json(at_home, "bench", *arguments)

    if arguments[0] == "recall":
        shares = {row["mode"]: row["recall_at_10"] for row in figures["modes"]}
        assert figures["questions"] == 60
        assert all(0.5 < share <= 1.0 for share in shares.values())
        return
    for times in figures["reads"] if arguments[0] == "reads" else [figures]:
        assert 0 < times["p50_seconds"] <= times["p95_seconds"] <= times["max_seconds"]
        assert times["count"] == int(arguments[-1])


def test_the_key_of_the_stack_is_its_owners_alone(at_home: Soma, stack: Any) -> None:
    del at_home
    for path in (stack.home / "client.json", stack.home / "secrets" / "api-key"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_uid == os.getuid()
