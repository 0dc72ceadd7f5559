"""A git history becomes memories: one per commit, within the limits, the same each time."""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from soma_cli.formats.git import Commit, GitError, GitHistory, open_history
from soma_cli.formats.lines import MemoryLine
from soma_cli.formats.sources import GitSource
from soma_schemas.fields import Kind
from soma_schemas.limits import DEFAULT_LIMITS

Git = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a repository."""
    path = tmp_path / "tea%house"
    path.mkdir()
    return path


@pytest.fixture
def git(folder: Path) -> Git:
    """Git in that folder, as Ada, at a fixed time."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Grace",
        "GIT_COMMITTER_EMAIL": "grace@example.org",
        "GIT_AUTHOR_DATE": "2026-03-01T10:00:00+01:00",
        "GIT_COMMITTER_DATE": "2026-03-02T10:00:00+01:00",
    }

    def run(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)

    run("init", "--initial-branch=main")
    return run


def _history(folder: Path) -> GitHistory:
    return open_history(folder, os.environ)


def _lines(folder: Path) -> list[MemoryLine]:
    lines = [item.memory for item in GitSource(_history(folder), DEFAULT_LIMITS).items()]
    assert all(isinstance(line, MemoryLine) for line in lines)
    return [line for line in lines if isinstance(line, MemoryLine)]


def _a_commit(*, message: str = "Boil", files: tuple[str, ...] = (), author_name: str = "Ada") -> Commit:
    return Commit(
        hash="ab" * 20,
        parents=(),
        author_name=author_name,
        author_email="ada@example.org",
        committed_at=datetime(2026, 3, 2, tzinfo=UTC),
        message=message,
        files=files,
        file_count=len(files),
    )


def test_a_commit_is_one_episodic_memory_with_all_that_git_tells(folder: Path, git: Git) -> None:
    (folder / "kettle").write_text("on")
    (folder / "grün tee").write_text("ja")
    git("add", ".")
    git("commit", "-m", "Boil water\n\nTea wants it hot.")

    (line,) = _lines(folder)

    history = _history(folder)
    assert line == MemoryLine(
        namespace="git/tea%25house",
        key=history.head,
        kind=Kind.EPISODIC,
        text="Boil water\n\nTea wants it hot.",
        payload={
            "hash": history.head,
            "parents": [],
            "author": {"name": "Ada", "email": "ada@example.org"},
            "files": 2,
        },
        tags=["grün tee", "kettle"],
        subject="Ada <ada@example.org>",
        occurred_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
        actor="git",
    )


def test_commits_come_oldest_first_with_merges_and_empty_messages(folder: Path, git: Git) -> None:
    (folder / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "first")
    git("switch", "--create", "side")
    (folder / "b").write_text("1")
    git("add", "b")
    git("commit", "-m", "on the side")
    git("switch", "main")
    git("commit", "--allow-empty", "--allow-empty-message", "-m", "")
    git("merge", "--no-ff", "-m", "together", "side")

    lines = _lines(folder)

    assert lines[0].text == "first"
    assert sorted(line.text for line in lines[1:3]) == ["(no message)", "on the side"]
    assert lines[3].text == "together"
    assert {line.text: line.tags for line in lines} == {
        "first": ["a"],
        "(no message)": [],
        "on the side": ["b"],
        "together": [],
    }
    assert _history(folder).count == 4


def test_a_history_stays_as_it_was_opened_while_commits_are_made(folder: Path, git: Git) -> None:
    git("commit", "--allow-empty", "-m", "before")
    history = _history(folder)
    git("commit", "--allow-empty", "-m", "after")

    assert [commit.message.strip() for commit in history.commits(64)] == ["before"]


def test_a_folder_within_the_repository_leads_to_the_whole_history(folder: Path, git: Git) -> None:
    (folder / "pots").mkdir()
    (folder / "pots" / "blue").write_text("1")
    git("add", ".")
    git("commit", "-m", "a pot")

    (line,) = list(GitSource(_history(folder / "pots"), DEFAULT_LIMITS).items())

    assert isinstance(line.memory, MemoryLine)
    assert line.memory.namespace == "git/tea%25house"
    assert line.memory.tags == ["pots/blue"]


def test_a_bare_repository_is_named_without_its_ending(folder: Path, git: Git, tmp_path: Path) -> None:
    git("commit", "--allow-empty", "-m", "one")
    git("clone", "--bare", str(folder), str(tmp_path / "kitchen.git"))

    assert _history(tmp_path / "kitchen.git").name == "kitchen"


def test_a_variable_of_git_does_not_lead_to_another_repository(
    folder: Path, git: Git, tmp_path: Path
) -> None:
    git("commit", "--allow-empty", "-m", "one")

    history = open_history(folder, {**os.environ, "GIT_DIR": str(tmp_path / "elsewhere")})

    assert history.count == 1


def test_what_is_too_long_is_cut_to_the_limits() -> None:
    limits = DEFAULT_LIMITS.model_copy(
        update={"text_bytes": 5, "tags": 2, "tag_characters": 4, "name_characters": 6}
    )

    line = _a_commit(
        message="grün tee", files=("a", "a/long/path", "b", "c"), author_name="Ada Lovelace"
    ).line("tea", limits)

    assert (line.text, line.tags, line.subject) == ("grün", ["a", "b"], "Ada Lo")
    assert line.payload["files"] == 4


@pytest.mark.parametrize("message", ["a message", "", "x" * 100_000, "\x1e odd \x01 characters"])
def test_every_commit_makes_a_valid_event(message: str) -> None:
    line = _a_commit(message=message, files=("a" * 200, "b")).line("tea", DEFAULT_LIMITS)

    event = line.event("acme", "0", datetime(2026, 3, 2, tzinfo=UTC), DEFAULT_LIMITS)

    assert event.key == "ab" * 20


def test_a_folder_without_a_repository_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        open_history(tmp_path, {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)})


def test_a_repository_without_commits_is_said_in_words(folder: Path, git: Git) -> None:
    del git
    with pytest.raises(GitError, match="git cannot read the history"):
        _history(folder)


def test_a_machine_without_git_is_said_in_words(folder: Path) -> None:
    with pytest.raises(GitError, match="no `git`"):
        open_history(folder, {"PATH": str(folder)})
