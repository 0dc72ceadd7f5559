"""What can be imported: sources that yield the same memories, with their places, each time they are asked."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol

from soma_cli.arguments import text_of
from soma_cli.formats.git_history import Commit, GitHistory
from soma_cli.formats.json_lines import MAX_LINE_BYTES, MemoryLine, parse_line
from soma_schemas.errors import SomaError
from soma_schemas.limits import Limits
from soma_schemas.violations import ContractError, Violation, ViolationCode

_PIECE_BYTES = 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SourceChangedError(SomaError):
    """What is imported is no longer what was checked."""

    code = "source_changed"
    remedy = "import a copy, or a pipe: `cat FILE | soma import -`"


@dataclass(frozen=True)
class Item:
    """One memory, or what is wrong in its place.

    Attributes:
        place: Where it stands, in words: `line 17`.
        size: Its share of the source's size.
    """

    place: str
    size: int
    memory: MemoryLine | ContractError


class Source(Protocol):
    """Memories from outside."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def size(self) -> int:
        """How much there is to read, in any unit: for a progress bar."""
        ...

    @property
    def correctable(self) -> bool:
        """Whether people can mend what is wrong in it: then nothing is imported until they have."""
        ...

    @property
    def changed(self) -> bool:
        """Whether it is seen to be another than when it was opened."""
        ...

    def items(self) -> Iterator[Item]:
        """Yield every memory in order, holding only one at a time."""
        ...


class FileSource:
    """Lines of JSON in a file. Empty lines are passed over.

    Args:
        name: What people call it.
        file: Open for reading, and of a kind that can be read twice.
    """

    correctable = True

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = name
        self._file = file
        self._stamp = self._stamped()

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._stamp[0]

    @property
    def changed(self) -> bool:
        """Whether somebody has written to it."""
        return self._stamped() != self._stamp

    def items(self) -> Iterator[Item]:
        """Yield a memory, or what is wrong, for each line."""
        self._file.seek(0)
        number = 0
        while line := _line(self._file):
            number += 1
            if number == 1:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if line.strip():
                yield Item(f"line {number}", len(line), _parsed(line))

    def _stamped(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns


@dataclass(frozen=True)
class GitSource:
    """The commits of a git history."""

    history: GitHistory
    limits: Limits

    correctable: ClassVar[bool] = False
    changed: ClassVar[bool] = False  # a commit never does

    @property
    def name(self) -> str:
        """What people call it."""
        return f"the git history of {self.history.name}"

    @property
    def size(self) -> int:
        """How many commits there are."""
        return self.history.count

    def items(self) -> Iterator[Item]:
        """Yield a memory for each commit, oldest first."""
        for commit in self.history.commits(self.limits.tags):
            yield Item(f"commit {commit.hash}", 1, self._memory(commit))

    def _memory(self, commit: Commit) -> MemoryLine | ContractError:
        try:
            return commit.line(self.history.name, self.limits)
        except ContractError as error:
            return error


@contextmanager
def open_lines(path: Path) -> Iterator[FileSource]:
    """Open a file of lines; what is no regular file, such as a pipe, is kept in a temporary one first.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield FileSource(text_of(path.name, "replace"), file)
        else:
            with spooled(file, text_of(str(path), "replace")) as source:
                yield source


@contextmanager
def spooled(stream: BinaryIO, name: str) -> Iterator[FileSource]:
    """Keep a stream in a temporary file, because what is checked first has to be read twice."""
    with tempfile.TemporaryFile(prefix="soma-import-") as file:
        while piece := stream.read(_PIECE_BYTES):
            _spool(piece, file)
        yield FileSource(name, file)


def _spool(piece: bytes, file: BinaryIO) -> None:
    try:
        file.write(piece)
        file.flush()
    except OSError as error:
        with suppress(OSError):  # what it still holds cannot be written either
            file.close()
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None


def _line(file: BinaryIO) -> bytes:
    line = file.readline(MAX_LINE_BYTES + 1)
    if len(line) > MAX_LINE_BYTES:
        # Its rest is passed over, piece by piece, so that the next line begins where it should.
        while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
    return line


def _parsed(line: bytes) -> MemoryLine | ContractError:
    if len(line) > MAX_LINE_BYTES:
        reason = f"is longer than {MAX_LINE_BYTES} bytes"
        return ContractError([Violation("", ViolationCode.TOO_LONG, reason)])
    try:
        return parse_line(line)
    except ContractError as error:
        return error
