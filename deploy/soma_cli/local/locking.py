"""Locks between processes that end with the process that holds them."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PAUSE_SECONDS = 0.2


class Cancelled(Exception):  # noqa: N818  # no error: whoever asked has gone
    """Whoever asked for this no longer waits."""


def try_lock(descriptor: int) -> bool:
    """Lock an open file against other processes; say whether that worked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_lock_file(path: Path) -> int:
    """Open a lock file, made when missing. It is never deleted: two could be locked under one name then."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def locked(path: Path, cancelled: threading.Event) -> Iterator[None]:
    """Wait in a thread until no other process is in such a block with this path.

    Raises:
        Cancelled: The event was set while waiting.
    """
    descriptor = open_lock_file(path)
    try:
        while not try_lock(descriptor):
            if cancelled.wait(_PAUSE_SECONDS):
                raise Cancelled
        yield
    finally:
        os.close(descriptor)
