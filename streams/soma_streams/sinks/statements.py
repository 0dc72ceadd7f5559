"""Reads the SQL files that lie beside the sinks."""

from functools import cache
from importlib.resources import files
from typing import LiteralString


@cache
def statement(name: str) -> LiteralString:
    """Return the statement of a file, named from this package: `postgres/merge_memories`."""
    # As fixed as a literal in the source: the file is part of the package.
    return files("soma_streams.sinks").joinpath(f"{name}.sql").read_text(encoding="utf-8")
