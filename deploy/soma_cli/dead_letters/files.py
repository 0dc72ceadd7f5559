"""A file that holds memories: for its owner alone, and there whole or not at all."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def open_private(output: Path | None) -> Iterator[TextIO]:
    """Yield a file to write text to, or standard output for None.

    The file takes its name when the block ends well, and replaces one that had it.
    """
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
