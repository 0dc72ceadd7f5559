"""What can be imported: sources that yield the same memories, with their places, each time they are asked."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from soma_cli.formats.git import GitHistory
from soma_cli.formats.lines import MAX_LINE_BYTES, MemoryLine, parse_line
from soma_schemas.limits import Limits
from soma_schemas.violations import ContractError, Violation, ViolationCode

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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

    def items(self) -> Iterator[Item]:
        """Yield every memory in order, holding only one at a time."""
        ...


@dataclass(frozen=True)
class FileSource:
    """Lines of JSON in a file. Empty lines are passed over.

    Attributes:
        name: What people call it.
        path: Where it is.
    """

    name: str
    path: Path

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size

    def items(self) -> Iterator[Item]:
        """Yield a memory, or what is wrong, for each line."""
        with self.path.open("rb") as file:
            number = 0
            while line := _line(file):
                number += 1
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line.strip():
                    yield Item(f"line {number}", len(line), _parsed(line))


@dataclass(frozen=True)
class GitSource:
    """The commits of a git history."""

    history: GitHistory
    limits: Limits

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
            yield Item(f"commit {commit.hash}", 1, commit.line(self.history.name, self.limits))


@contextmanager
def spooled(stream: BinaryIO) -> Iterator[FileSource]:
    """Keep a stream in a temporary file, because what is checked first has to be read twice."""
    with tempfile.NamedTemporaryFile(prefix="soma-import-") as file:
        shutil.copyfileobj(stream, file)
        file.flush()
        yield FileSource("standard input", Path(file.name))


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
