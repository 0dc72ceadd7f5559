"""Where an export goes: standard output, a file that is there whole or not at all, a device, a pipe."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, TextIO
from uuid import uuid4

import typer

from soma_cli.arguments import text_of
from soma_cli.failures import UsageError
from soma_schemas.errors import SomaError

ToOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="File to write. Default: standard output, also `-`.",
        allow_dash=True,
        show_default=False,
    ),
]


class ReaderGoneError(SomaError):
    """Who read what is written has ended."""

    code = "reader_gone"


_ANYBODY = 0o666  # less what the umask takes away
_OWNER = 0o600
_STANDARD_OUTPUT = 1


def is_standard_output(output: Path | None) -> bool:
    """Say whether the lines go to standard output, under whatever name."""
    return output is None or str(output) == "-" or _descriptor(output) == _STANDARD_OUTPUT


def require_place_for_result(output: Path | None, *, as_json: bool) -> None:
    """Refuse to mix a result as JSON into the lines.

    Raises:
        UsageError: Both would go to standard output.
    """
    if as_json and is_standard_output(output):
        raise UsageError("the lines go to standard output", remedy="with --json, name a file with --output")


@contextmanager
def open_destination(output: Path | None, *, private: bool = False) -> Iterator[TextIO]:
    """Yield what text is written to.

    A regular file is replaced when the block ends well, and keeps its mode and, where that is allowed, its
    owner. A device or a pipe is written to as it is. A link leads to its end.

    Args:
        output: A file, or None or `-` for standard output.
        private: Only its owner may read a file that is new.

    Raises:
        OSError: It cannot be written.
        ReaderGoneError: Nobody reads the pipe any more.
    """
    if is_standard_output(output):
        yield sys.stdout
        sys.stdout.flush()
        return
    assert output is not None  # noqa: S101  # for the type checker: None is standard output
    opened = _descriptor(output)
    # What the shell has opened goes on where it stands: opened by its name, a file would lose what it has.
    descriptor = _open_existing(output) if opened is None else os.dup(opened)
    if descriptor is None:
        with _replacing(output, _OWNER if private else _ANYBODY) as file:
            yield file
        return
    before = os.fstat(descriptor)
    if opened is None and stat.S_ISREG(before.st_mode):
        os.close(descriptor)
        with _replacing(output, _OWNER) as file:
            yield file
            with suppress(PermissionError):  # for members of its group
                os.fchown(file.fileno(), -1, before.st_gid)
            with suppress(PermissionError):  # for root
                os.fchown(file.fileno(), before.st_uid, -1)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
        return
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
    except BrokenPipeError:
        raise ReaderGoneError(f"nobody reads {text_of(str(output), 'replace')} any more") from None


@contextmanager
def _replacing(output: Path, mode: int) -> Iterator[TextIO]:
    target = Path(os.path.realpath(output))
    temporary = target.with_name(f".soma-{uuid4().hex}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(output)) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _open_existing(output: Path) -> int | None:
    """Open what there is without emptying it, which tells whether it may be written and what it is."""
    try:
        return os.open(output, os.O_WRONLY)
    except FileNotFoundError:
        return None


def _descriptor(output: Path) -> int | None:
    """Return the number that a name such as `/dev/stdout` or `/dev/fd/3` gives to what is open already."""
    if not output.exists():
        return None
    if os.path.realpath(output.parent) == f"/proc/{os.getpid()}/fd":
        return int(output.name)
    return _descriptor(output.parent / output.readlink()) if output.is_symlink() else None
