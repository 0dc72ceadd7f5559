"""Standard input, output and error as `soma` uses them: whatever was closed, and whatever the locale."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STREAM_NAMES = ("standard input", "standard output", "standard error")


class _Named(io.FileIO):
    """A standard stream whose errors say which it is."""

    def __init__(self, descriptor: int, mode: str) -> None:
        super().__init__(descriptor, mode, closefd=False)
        self._label = STREAM_NAMES[descriptor]

    def readinto(self, buffer: Any) -> int | None:
        with self._told():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with self._told():
            return super().readall()

    def write(self, data: Any, /) -> int:
        with self._told():
            return super().write(data)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._label) from None


def open_standard_streams() -> None:
    """Make the standard streams usable.

    Pipes and files are read and written as UTF-8, whatever the locale: what one command writes, another
    reads elsewhere. A terminal keeps its encoding, and shows `?` for what that lacks.

    Reading or writing a stream that was closed is an error, but for messages to standard error, which go
    nowhere. Its number is taken, lest what is opened later be taken for the stream.
    """
    # A closed one gets the lowest number that is free, its own, and a direction in which it cannot be used.
    for descriptor, direction in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, direction), True)
    if not os.isatty(0):
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_Named(0, "r")), encoding="utf-8")
    if os.isatty(1):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # it is Python's own
    else:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Named(1, "w")), encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(_Named(2, "w")), encoding="utf-8")


def close_standard_output() -> None:
    """Let go of what could not be written, so that Python does not try it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def log_to_standard_error(level: int = 0) -> None:
    """Keep lines of a log out of stdout, where results go; the log of a process stays as it is.

    What libraries warn of is left out: a command says in its own words what it could not do.

    Args:
        level: Of `logging`; lines below it are left out.
    """
    import structlog  # noqa: PLC0415  # only commands that reach the parts behind the API log

    if not structlog.is_configured():
        # Looked up when a line is written: a test, or a shell, may have put another stream in its place.
        structlog.configure(
            logger_factory=lambda *_names: structlog.PrintLogger(sys.stderr),
            wrapper_class=structlog.make_filtering_bound_logger(level),
        )
    root = logging.getLogger()
    if not root.handlers:
        # Without any, Python prints warnings by itself.
        root.addHandler(logging.NullHandler())
