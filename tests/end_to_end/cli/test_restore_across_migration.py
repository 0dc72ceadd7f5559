"""A backup from before the log moved to another topic comes back with what both topics have."""

import json
import shutil
from pathlib import Path

import pytest

from soma_command import Ran, Soma
from soma_up import soma_up
from waiting import eventually_now

# Two starts of a stack, a migration and a restore.
pytestmark = pytest.mark.long

SPACE = "notes"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of the stack."""
    return tmp_path / "home"


@pytest.fixture
def soma(home: Path, capfd: pytest.CaptureFixture[str]) -> Soma:
    """`soma` as somebody types it beside the stack."""
    return Soma(home, capfd)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)


def done(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


def told(ran: Ran) -> dict[str, object]:
    said = json.loads(done(ran).out)
    assert isinstance(said, dict)
    return said


def store(soma: Soma, text: str, subject: str | None = None) -> None:
    about = () if subject is None else ("--subject", subject)
    named = (*about, "--key", text.split(maxsplit=1)[0], "--wait", "60")
    # Writes are refused until the API has seen that the log goes on elsewhere.
    eventually_now(lambda: soma("store", text, "-n", SPACE, *named), lambda ran: ran.code == 0)


def texts(soma: Soma) -> list[str]:
    return sorted(each["text"] for each in json.loads(soma("list", "-n", SPACE, "--json").out)["memories"])


@pytest.mark.parametrize("index_too", [False, True])
def test_a_backup_from_before_a_migration_comes_back_with_what_both_topics_have(
    home: Path,
    soma: Soma,
    index_too: bool,  # noqa: FBT001  # how pytest passes a parameter
) -> None:
    with soma_up(home):
        store(soma, "first, which is replaced later")
        store(soma, "deleted, later")
        store(soma, "eve, whom an erasure takes", subject="eve")
        done(soma("backup", "-o", "tables.zip"))
        store(soma, "first, on the old topic")
        store(soma, "old topic, encrypted", subject="ada")
        done(soma("delete", "-n", SPACE, "--key", "deleted,"))
        moved = told(soma("topics", "migrate", "--partitions", "7", "--yes", "--json"))
        store(soma, "first, on the new topic")
        store(soma, "new topic, encrypted", subject="bob")
        done(soma("erase", "subject", "eve", "--yes"))
        wanted = texts(soma)
    shutil.move(home / "postgres", home / "postgres.lost")
    if index_too:
        shutil.rmtree(home / "vectors")

    restored = told(soma("restore", "tables.zip", "--json"))
    with soma_up(home):
        at_once = soma("search", "eve", "-n", SPACE, "--json")
        found = eventually_now(lambda: texts(soma), lambda seen: seen == wanted, seconds=60)
        state = eventually_now(
            lambda: soma("erase", "list", "--json").out, lambda out: '"completed"' in out, seconds=60
        )
        audited = eventually_now(lambda: soma("verify", "--json"), lambda ran: ran.code == 0, seconds=60)
        store(soma, "after it all", subject="ada")
        searched = {text: soma("search", text, "-n", SPACE).out for text in wanted}
        letters = json.loads(done(soma("dlq", "list", "--json")).out)

    assert moved["joined"] is True
    assert restored["erasures"] == 1
    assert "whom an erasure takes" not in at_once.out
    assert found == ["first, on the new topic", "new topic, encrypted", "old topic, encrypted"]
    assert json.loads(state)["erasures"][0]["state"] == "completed"
    assert audited.code == 0, audited
    assert [text for text, shown in searched.items() if text not in shown] == []
    assert letters["dead_letters"] == []
