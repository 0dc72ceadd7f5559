"""A git history as memories: one episodic memory per commit, oldest first."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO

from soma_cli.formats.lines import MemoryLine
from soma_schemas.errors import SomaError
from soma_schemas.fields import Kind
from soma_schemas.limits import MAX_SEGMENT_CHARACTERS, Limits
from soma_schemas.namespaces import encode_segment

# Every field ends with NUL, which none of them can hold; names of files follow, each ended by NUL too.
# The record separator tells a commit from a name: no name in earnest begins with it.
_COMMIT_BEGINS = b"\x1e"
_FORMAT = "%x1e%H%x00%P%x00%aN%x00%aE%x00%cI%x00%B%x00"
_FIELDS_AFTER_HASH = 5
_CHUNK_BYTES = 64 * 1024
_LONGEST_FIELD_BYTES = 16 * 1024 * 1024


class GitError(SomaError):
    """A git history could not be read."""

    code = "git"


@dataclass(frozen=True)
class Commit:
    """One commit as git tells it.

    Attributes:
        files: The first of the files that it changed, by path.
        file_count: How many it changed. A merge tells of none.
    """

    hash: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    committed_at: datetime
    message: str
    files: tuple[str, ...]
    file_count: int

    def line(self, repository: str, limits: Limits) -> MemoryLine:
        """Return the memory of this commit, cut where the limits want it.

        Its author is the subject, its files are the tags (those whose paths are short enough, as many as
        fit), its hash is the key.
        """
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
        arguments = ("log", "--reverse", "--name-only", "-z", f"--format={_FORMAT}", self.head, "--")
        with (
            tempfile.TemporaryFile() as complaints,
            subprocess.Popen(  # noqa: S603  # git itself, with arguments of ours
                _command(self.git, self.folder, *arguments),
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=self.environment,
            ) as process,
        ):
            assert process.stdout is not None  # noqa: S101  # for the type checker: a pipe was asked for
            yield from commits_of(_fields(process.stdout), files_max)
            if process.wait() != 0:
                complaints.seek(0)
                raise _failure(complaints.read())


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
        return answer.stdout.decode(errors="replace").strip()

    head = ask("rev-parse", "--verify", "HEAD^{commit}")
    common = Path(ask("rev-parse", "--path-format=absolute", "--git-common-dir"))
    # A work tree is named like its folder, a bare repository like itself; a linked work tree like its origin.
    name = common.parent.name if common.name == ".git" else common.name.removesuffix(".git")
    return GitHistory(git, clean, folder, head, name, int(ask("rev-list", "--count", head)))


def commits_of(fields: Iterator[bytes], files_max: int) -> Iterator[Commit]:
    """Yield the commits that the fields of `git log` spell out."""
    begin = next(fields, b"")
    while begin.startswith(_COMMIT_BEGINS):
        told = [_text(field) for field in islice(fields, _FIELDS_AFTER_HASH)]
        if len(told) < _FIELDS_AFTER_HASH:
            raise GitError("git ended in the middle of a commit")
        parents, author_name, author_email, committed_at, message = told
        files: list[str] = []
        file_count = 0
        following = b""
        for following in fields:
            if following.startswith(_COMMIT_BEGINS):
                break
            # Git puts a line end before the first name and an empty field after the last.
            if name := following.removeprefix(b"\n"):
                file_count += 1
                if len(files) < files_max:
                    files.append(_text(name))
        yield Commit(
            hash=_text(begin.removeprefix(_COMMIT_BEGINS)),
            parents=tuple(parents.split()),
            author_name=author_name,
            author_email=author_email,
            committed_at=datetime.fromisoformat(committed_at),
            message=message,
            files=tuple(files),
            file_count=file_count,
        )
        begin = following


def _command(git: str, folder: Path, *arguments: str) -> list[str]:
    return [git, "-C", str(folder), "--no-pager", "-c", "i18n.logOutputEncoding=UTF-8", *arguments]


def _fields(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
        if len(rest) > _LONGEST_FIELD_BYTES:
            raise GitError("a commit message is larger than 16 MiB")
    if rest:
        yield rest


def _text(field: bytes) -> str:
    return field.decode(errors="replace")


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore")


def _failure(complaint: bytes) -> GitError:
    reason = complaint.decode(errors="replace").strip().splitlines()
    return GitError(
        f"git cannot read the history: {reason[-1].removeprefix('fatal: ') if reason else 'it said nothing'}",
        remedy="name a folder inside a git repository that has commits",
    )
