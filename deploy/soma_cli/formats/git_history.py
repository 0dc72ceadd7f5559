"""A git history as memories: one episodic memory per commit, oldest first.

Commits are read as git keeps them, by plumbing: how a user has configured `git log` changes nothing here.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from soma_cli.formats.json_lines import MemoryLine
from soma_schemas.errors import SomaError
from soma_schemas.fields import Kind
from soma_schemas.limits import MAX_SEGMENT_CHARACTERS, Limits
from soma_schemas.namespaces import encode_segment
from soma_schemas.violations import ContractError, Violation, ViolationCode

_LARGEST_COMMIT_READ_BYTES = 16 * 1024 * 1024  # what lies beyond is more than any text may have
_CHUNK_BYTES = 64 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERSON = re.compile(rb"([^<]*)<([^>]*)>")
# The time zone is passed over: it changes how a moment is written, and git permits any.
_SECONDS = re.compile(rb">\s*([-+]?[0-9]{1,18})(\s+\S+)?\s*$")
_HASH_KIND_SIZE = 3
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
# Every option that a configuration could stand in for.
_CHANGES = (
    "diff-tree", "--stdin", "--always", "--root", "-r", "-z", "--raw", "--no-renames", "--no-relative",
    "--ignore-submodules=none",
)  # fmt: skip


class GitError(SomaError):
    """A git history could not be read."""

    code = "git"


@dataclass(frozen=True)
class Commit:
    """One commit as git keeps it.

    Attributes:
        committed_at: None where git has no time, or one before year 1 or after year 9999.
        files: The first of the files that it changed, by path.
        file_count: How many it changed. A merge tells of none.
    """

    hash: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    committed_at: datetime | None
    message: str
    files: tuple[str, ...]
    file_count: int

    def line(self, repository: str, limits: Limits) -> MemoryLine:
        """Return the memory of this commit, cut where the limits want it.

        Its author is the subject, its files are the tags (those whose paths are short enough, as many as
        fit), its hash is the key.

        Raises:
            ContractError: It has no time that a memory can have.
        """
        if self.committed_at is None:
            raise ContractError(
                [Violation("/occurred_at", ViolationCode.OUT_OF_RANGE, "is no time of the years 1 to 9999")]
            )
        author = f"{self.author_name} <{self.author_email}>".strip()[: limits.name_characters]
        files = [name for name in self.files if len(name) <= limits.tag_characters]
        return MemoryLine(
            namespace=f"git/{encode_segment(repository[:MAX_SEGMENT_CHARACTERS])}",
            key=self.hash,
            kind=Kind.EPISODIC,
            text=_cut(self.message.strip() or "(no message)", limits.text_bytes),
            payload={
                "hash": self.hash,
                "parents": list(self.parents),
                "author": {"name": self.author_name, "email": self.author_email},
                "files": self.file_count,
            },
            tags=files[: limits.tags],
            subject=author,
            occurred_at=self.committed_at,
            actor="git",
        )


@dataclass(frozen=True)
class GitHistory:
    """The commits that lead to one commit, which stay the same while others are made.

    Attributes:
        name: Of the repository.
        count: How many commits there are.
    """

    git: str
    environment: Mapping[str, str]
    folder: Path
    head: str
    name: str
    count: int

    def commits(self, files_max: int) -> Iterator[Commit]:
        """Yield them, oldest first.

        Args:
            files_max: How many file names to keep of one commit.

        Raises:
            GitError: Git failed on the way.
        """
        processes: list[subprocess.Popen[bytes]] = []
        told = 0
        with tempfile.TemporaryFile() as complaints:
            with ExitStack() as running:

                def start(*arguments: str, stdin: IO[bytes] | None = None) -> IO[bytes]:
                    process = subprocess.Popen(  # noqa: S603  # git itself, with arguments of ours
                        _command(self.git, self.folder, *arguments),
                        stdin=stdin,
                        stdout=subprocess.PIPE,
                        stderr=complaints,
                        env=self.environment,
                    )
                    processes.append(running.enter_context(process))
                    assert process.stdout is not None  # noqa: S101  # for the type checker: a pipe was asked for
                    return process.stdout

                def of_each_commit(*arguments: str) -> IO[bytes]:
                    # Two pipelines that git fills by itself: neither waits for what is unread of the other.
                    with start("rev-list", "--reverse", self.head, "--") as listed:
                        return start(*arguments, stdin=listed)

                objects = _objects(of_each_commit("cat-file", "--batch"))
                changes = _changes(_fields(of_each_commit(*_CHANGES)), files_max)
                for (commit, content), (changed, files, file_count) in zip(objects, changes, strict=False):
                    if commit != changed:
                        break
                    told += 1
                    yield _commit(commit, content, files, file_count)
            if any(process.returncode for process in processes):
                complaints.seek(0)
                raise _failure(complaints.read())
        if told != self.count:
            raise GitError(f"git told of {told:,} commits, not of {self.count:,}")


def open_history(folder: Path, environment: Mapping[str, str]) -> GitHistory:
    """Return the history of the repository that a folder lies in, up to its HEAD.

    Raises:
        GitError: The folder is in no repository, nothing was committed there, or there is no git.
    """
    git = shutil.which("git", path=environment.get("PATH"))
    if git is None:
        raise GitError("there is no `git` on this machine", remedy="install git")
    # A variable such as GIT_DIR would lead git to another repository than the one named.
    clean = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    clean["LC_ALL"] = "C"

    def ask(*arguments: str) -> str:
        answer = subprocess.run(  # noqa: S603  # git itself, with arguments of ours
            _command(git, folder, *arguments), capture_output=True, env=clean, check=False
        )
        if answer.returncode != 0:
            raise _failure(answer.stderr)
        return answer.stdout.decode(errors="replace").removesuffix("\n")

    head = ask("rev-parse", "--verify", "HEAD^{commit}")
    common = Path(ask("rev-parse", "--path-format=absolute", "--git-common-dir"))
    # A work tree is named like its folder, a bare repository like itself; a linked work tree like its origin.
    name = common.parent.name if common.name == ".git" else common.name.removesuffix(".git")
    name = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", name) or "root"
    return GitHistory(git, clean, folder, head, name, int(ask("rev-list", "--count", head, "--")))


def _command(git: str, folder: Path, *arguments: str) -> list[str]:
    return [git, "-C", str(folder), "--no-pager", *arguments]


def _objects(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield commits and what git keeps of them, from `git cat-file --batch`; end where it does not go on."""
    while len(words := stream.readline().split()) == _HASH_KIND_SIZE:
        size = int(words[2])
        content = stream.read(min(size, _LARGEST_COMMIT_READ_BYTES))
        rest = size - len(content) + 1  # a line end follows
        while rest > 0 and (chunk := stream.read(min(rest, _CHUNK_BYTES))):
            rest -= len(chunk)
        if rest:
            return
        yield words[0].decode(), content


def _changes(fields: Iterator[bytes], files_max: int) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Yield commits, the first files that they changed, and how many, from `git diff-tree --raw -z`."""
    commit = next(fields, None)
    while commit is not None:
        files: list[str] = []
        file_count = 0
        following = None
        # What tells of a change begins with a colon, which no hash does, and the name follows.
        while (following := next(fields, None)) is not None and following.startswith(b":"):
            name = next(fields, b"")
            file_count += 1
            if len(files) < files_max:
                files.append(_text(name))
        yield commit.decode(), tuple(files), file_count
        commit = following


def _commit(commit: str, content: bytes, files: tuple[str, ...], file_count: int) -> Commit:
    head, _, message = content.partition(b"\n\n")
    # A line that begins with a space goes on with the one before: a signature, or a tag that was merged.
    headers = [line.partition(b" ") for line in head.split(b"\n") if not line.startswith(b" ")]
    said = {key: value for key, _, value in reversed(headers)}
    encoding = said.get(b"encoding", b"").decode(errors="replace")
    author = _PERSON.match(said.get(b"author", b""))
    name, email = author.groups() if author else (b"", b"")
    return Commit(
        hash=commit,
        parents=tuple(value.decode(errors="replace") for key, _, value in headers if key == b"parent"),
        author_name=_text(name.strip(), encoding),
        author_email=_text(email.strip(), encoding),
        committed_at=_moment(said.get(b"committer", b"")),
        message=_text(message, encoding),
        files=files,
        file_count=file_count,
    )


def _moment(committer: bytes) -> datetime | None:
    seconds = _SECONDS.search(committer)
    try:
        return None if seconds is None else _EPOCH + timedelta(seconds=int(seconds[1]))
    except OverflowError:
        return None


def _fields(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole


def _text(raw: bytes, encoding: str = "") -> str:
    """Decode what git keeps, as the commit says or as UTF-8; what no memory can hold becomes a mark."""
    try:
        text = raw.decode(encoding or "utf-8", errors="replace")
    except (LookupError, ValueError):  # an encoding that is none
        text = raw.decode(errors="replace")
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore")


def _failure(complaint: bytes) -> GitError:
    lines = complaint.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    reason = next((line for line in lines if line.startswith("fatal: ")), lines[-1])
    advice = next((line.strip() for line in lines if line.startswith("\tgit ")), None)
    return GitError(
        f"git cannot read the history: {reason.removeprefix('fatal: ')}",
        remedy=f"run `{advice}`" if advice else "name a folder inside a git repository that has commits",
    )
