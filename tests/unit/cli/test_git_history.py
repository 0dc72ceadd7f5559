"""A git history becomes memories: one per commit, within the limits, the same each time."""

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from soma_cli.formats.git_history import Commit, GitError, GitHistory, open_history
from soma_cli.formats.json_lines import MemoryLine
from soma_cli.formats.sources import GitSource
from soma_command import Soma
from soma_schemas.fields import Kind
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.violations import ContractError

Git = Callable[..., str]


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

    def run(*arguments: str, given: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, input=given, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    run("init", "--initial-branch=main")
    return run


@pytest.fixture
def raw(git: Git) -> Callable[[bytes], str]:
    """Make commits that no porcelain would make, one upon the other: headers after the tree, and message."""
    tree = git("mktree").encode()

    def commit(rest: bytes) -> str:
        head = git("for-each-ref", "--format=%(objectname)", "refs/heads/main").encode()
        parent = b"parent " + head + b"\n" if head else b""
        content = b"tree " + tree + b"\n" + parent + rest
        made = git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", given=content)
        git("update-ref", "refs/heads/main", made)
        return made

    return commit


def _history(folder: Path, home: Path | None = None) -> GitHistory:
    environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1"}
    return open_history(folder, environment if home is None else environment | {"HOME": str(home)})


def _lines(folder: Path, home: Path | None = None) -> list[MemoryLine]:
    lines = [item.memory for item in GitSource(_history(folder, home), DEFAULT_LIMITS).items()]
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


# What people have in their ~/.gitconfig, and what would do most harm.
CONFIGURATION = """
[log]
    showSignature = true
    showRoot = false
    mailmap = true
    decorate = full
    date = relative
    follow = true
    diffMerges = first-parent
[gpg]
    program = false
[color]
    ui = always
[i18n]
    logOutputEncoding = ISO-8859-1
    commitEncoding = ISO-8859-1
[format]
    pretty = oneline
[mailmap]
    file = {home}/mailmap
[notes]
    displayRef = refs/notes/*
[core]
    pager = false
    quotePath = true
    abbrev = 4
    attributesFile = {home}/attributes
[diff]
    renames = copies
    relative = true
    external = false
    orderFile = {home}/order
    noPrefix = true
    ignoreSubmodules = all
    statGraphWidth = 1
[alias]
    log = !false
    rev-list = !false
    cat-file = !false
    diff-tree = !false
"""


def test_how_git_is_configured_changes_nothing(
    folder: Path, git: Git, raw: Callable[[bytes], str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(CONFIGURATION.format(home=home), encoding="utf-8")
    (home / "mailmap").write_text("Eve <eve@example.org> <ada@example.org>\n", encoding="utf-8")
    (home / "order").write_text("z*\n", encoding="utf-8")
    (home / "attributes").write_text("* diff=odd\n", encoding="utf-8")
    raw(
        b"author Ada <ada@example.org> 1772355600 +0100\n"
        b"committer Grace <grace@example.org> 1772442000 +0100\n"
        b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ==\n -----END PGP SIGNATURE-----\n"
        b"\nsigned\n"
    )
    (folder / ".mailmap").write_text("Eve <eve@example.org> <ada@example.org>\n", encoding="utf-8")
    (folder / "pots").mkdir()
    (folder / "pots" / "größe").write_text("1\n" * 20, encoding="utf-8")
    (folder / "zest").write_text("1", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "größer, with a note")
    git("notes", "add", "-m", "a note")
    git("mv", "pots/größe", "pots/smaller")
    git("commit", "-m", "renamed")

    configured = _lines(folder / "pots", home)

    assert configured == _lines(folder)
    assert [(line.text, line.tags) for line in configured] == [
        ("signed", []),
        ("größer, with a note", [".mailmap", "pots/größe", "zest"]),
        ("renamed", ["pots/größe", "pots/smaller"]),
    ]
    assert {line.subject for line in configured} == {"Ada <ada@example.org>"}
    assert len(configured) == int(git("rev-list", "--count", "HEAD"))


@pytest.mark.parametrize(
    ("time", "occurred_at"),
    [
        (b"1772442000 +051800", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        (b"1772442000 -9999", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        (b"1772442000 local", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        (b"1772442000", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        (b"0 +0000", datetime(1970, 1, 1, tzinfo=UTC)),
        (b"-86400 +0000", datetime(1969, 12, 31, tzinfo=UTC)),
        (b"253402300799 -1200", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_what_git_keeps_in_any_zone(
    folder: Path, raw: Callable[[bytes], str], time: bytes, occurred_at: datetime
) -> None:
    raw(b"author Ada <ada@example.org> 0 +0000\ncommitter Grace <> " + time + b"\n\nodd\n")

    assert [line.occurred_at for line in _lines(folder)] == [occurred_at]


def test_a_commit_without_a_time_that_a_memory_can_have_is_named_and_the_rest_goes_on(
    folder: Path, git: Git, raw: Callable[[bytes], str]
) -> None:
    times = [b"1 +0000", b"253402300800 +0000", b"99999999999999999999999 +0000", b"", b"soon", b"2 +0000"]
    made = [raw(b"author A <a> 0 +0000\ncommitter C <c> " + time + b"\n\nx\n") for time in times]

    items = list(GitSource(_history(folder), DEFAULT_LIMITS).items())

    assert [item.place for item in items] == [f"commit {commit}" for commit in made]
    assert len(items) == int(git("rev-list", "--count", "HEAD"))
    refused = [item for item in items if isinstance(item.memory, ContractError)]
    assert [item.place for item in refused] == [f"commit {commit}" for commit in made[1:5]]
    assert {str(item.memory) for item in refused} == {"/occurred_at: is no time of the years 1 to 9999"}


def test_an_import_counts_what_it_takes_names_what_it_refuses_and_fails(
    folder: Path, raw: Callable[[bytes], str], soma: Soma
) -> None:
    times = [b"1 +0000", b"253402300800 +0000", b"2 +051800"]
    made = [raw(b"author A <a> 0 +0000\ncommitter C <c> " + time + b"\n\nx\n") for time in times]

    ran = soma(
        "import", "--format", "git", str(folder), "--dry-run", "--json",
        environment={"PATH": os.environ["PATH"]},
    )  # fmt: skip

    fault = f"commit {made[1]}: /occurred_at: is no time of the years 1 to 9999"
    told = json.loads(ran.out)
    assert (ran.code, told["memories"], told["refused"]) == (1, 2, [fault])
    assert ran.err.splitlines()[-2:] == [
        "error: 1 of the git history of tea%house is refused, and is not among these memories",
        f"  {fault}",
    ]


@pytest.mark.parametrize(
    ("headers", "message", "kept"),
    [
        (b"author Zo\xe9 <z> 0 +0000\nencoding ISO-8859-1\n", b"caf\xe9", ("café", "Zoé <z>")),
        (b"author Zo\xc3\xa9 <z> 0 +0000\n", b"caf\xc3\xa9", ("café", "Zoé <z>")),
        (b"author Zo\xe9 <z> 0 +0000\n", b"caf\xe9", ("caf�", "Zo� <z>")),
        (b"author Z <z> 0 +0000\nencoding no-such\n", b"caf\xc3\xa9", ("café", "Z <z>")),
        (b"author Z <z> 0 +0000\nencoding hex\n", b"caf\xc3\xa9", ("café", "Z <z>")),
        (b"author Z <z> 0 +0000\nencoding utf-7\n", b"half +2AA-", ("half �", "Z <z>")),
        (b"author Z <z> 0 +0000\n", b"a\0b", ("a�b", "Z <z>")),
        (b"author A < B <z> 0 +0000\n", b"x", ("x", "A <B <z>")),
        (b"author nobody\n", b"x", ("x", "<>")),
        (b"", b"x", ("x", "<>")),
    ],
)
def test_any_bytes_become_text(
    folder: Path, raw: Callable[[bytes], str], headers: bytes, message: bytes, kept: tuple[str, str]
) -> None:
    raw(headers + b"committer Grace <> 0 +0000\n\n" + message)

    (line,) = _lines(folder)

    assert (line.text, line.subject) == kept
    assert line.event("acme", "0", datetime(2026, 3, 2, tzinfo=UTC), DEFAULT_LIMITS).text == kept[0]


def test_a_message_that_looks_like_headers_changes_nothing(folder: Path, raw: Callable[[bytes], str]) -> None:
    message = b"committer Eve <> 5 +0000\n\nparent " + b"0" * 40 + b"\n"
    raw(b"author A <a> 0 +0000\ncommitter C <c> 1 +0000\n\n" + message)

    (line,) = _lines(folder)

    assert line.text == message.decode().strip()
    assert line.payload["parents"] == []


def test_a_file_may_be_called_like_a_commit(folder: Path, git: Git) -> None:
    git("commit", "--allow-empty", "-m", "one")
    head = git("rev-parse", "HEAD")
    for name in (head, ":100644", "two\nlines"):
        (folder / name).write_text("1", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "two")

    assert [sorted(line.tags) for line in _lines(folder)] == [[], sorted([head, ":100644", "two\nlines"])]


def test_a_history_that_was_grafted_is_what_git_says_it_is(folder: Path, git: Git) -> None:
    for message in ("one", "two", "three"):
        git("commit", "--allow-empty", "-m", message)
    git("replace", "--graft", "HEAD~1")

    assert [line.text for line in _lines(folder)] == ["two", "three"]
    assert _history(folder).count == int(git("rev-list", "--count", "HEAD")) == 2


def test_a_history_that_cannot_be_read_whole_is_said(folder: Path, git: Git) -> None:
    for message in ("one", "two"):
        git("commit", "--allow-empty", "-m", message)
    history = _history(folder)
    gone = git("rev-parse", "HEAD~1")
    (folder / ".git" / "objects" / gone[:2] / gone[2:]).unlink()

    with pytest.raises(GitError, match="git cannot read the history"):
        list(history.commits(64))


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
