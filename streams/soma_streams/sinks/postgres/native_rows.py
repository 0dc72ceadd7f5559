"""What the native extension writes into the columns of rows: those of a stored memory that is applied."""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_type_hints

from soma_native import Layout, Reader

from soma_schemas.events import MemoryStored
from soma_schemas.outcomes import Outcome
from soma_streams.sinks.binary_encoding import database_type, row_encoder, type_number
from soma_streams.sinks.postgres.row_types import HistoryRow, MemoryRow
from soma_streams.sinks.postgres.rows import STORED_CONTENT

_Source = tuple[Any, ...]

# Columns that are no fields of the event; what is not here is null.
_OF_MEMORIES: Mapping[str, _Source] = {
    "version": ("version",),
    "deleted": ("constant", False),
    "deleted_version": ("constant", 0),
    "updated_at": ("logged_at",),
    "recent_event_ids": ("array_of", "event_id"),
    "created_at": ("logged_at",),
    "access_count": ("constant", 0),
}
_OF_HISTORY: Mapping[str, _Source] = {
    "partition": ("partition",),
    "version": ("version",),
    "logged_at": ("logged_at",),
    "outcome": ("constant", Outcome.APPLIED.value),
    "event_type": ("constant", MemoryStored.__name__),
    "content": ("content", STORED_CONTENT),
}
_BEFORE_CONTENT = 12  # lengths of row and fields, and the type's number


class NativeLayouts(NamedTuple):
    """How rows of both types are made."""

    memories: Layout
    history: Layout


def native_layouts(reader: Reader) -> NativeLayouts:
    """Return how a reader of MemoryStored makes rows."""
    return NativeLayouts(
        reader.layout(_columns(MemoryRow, _OF_MEMORIES)), reader.layout(_columns(HistoryRow, _OF_HISTORY))
    )


def _columns(row: type[tuple[Any, ...]], sources: Mapping[str, _Source]) -> list[tuple[int, _Source]]:
    columns: list[tuple[int, _Source]] = []
    for name, hint in get_type_hints(row, include_extras=True).items():
        of_event: _Source = ("field", name) if name in MemoryStored.model_fields else ("constant", None)
        word, *rest = sources.get(name, of_event)
        if word == "constant":
            rest = [_packed(hint, *rest)]
        columns.append((type_number(database_type(hint)[0]), (word, *rest)))
    return columns


def _packed(hint: Any, value: object) -> bytes:
    """Return the length and the content of one column."""
    row = type("Row", (tuple,), {"__annotations__": {"value": hint}})
    return row_encoder(row)([(value,)])[_BEFORE_CONTENT:]
