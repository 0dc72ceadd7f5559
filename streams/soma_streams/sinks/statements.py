"""Reads the SQL files that lie beside the sinks; what they say of a memory's fields is filled in."""

from functools import cache
from importlib.resources import files
from typing import LiteralString

from soma_schemas.memories import FIELDS, SAID, SELECTED

_FIELDS = ", ".join(FIELDS)
_REPLACED = ", ".join(f"{name} = EXCLUDED.{name}" for name in SAID)


@cache
def statement(name: str) -> LiteralString:
    """Return the statement of a file, named from this package: `postgres/write_memories`."""
    # As fixed as a literal in the source: the file is part of the package.
    text = files("soma_streams.sinks").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return text.format(fields=_FIELDS, replaced=_REPLACED, selected=SELECTED)
