"""What the native extension writes into the columns of rows: those of a stored memory that is applied."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_type_hints

from soma_schemas.events import MemoryStored
from soma_schemas.memories import IN_HISTORY
from soma_schemas.moments import micros
from soma_schemas.outcomes import Outcome
from soma_streams.delivery.native import NativeEvent, NativeReader
from soma_streams.sinks.binary_encoding import (
    Elements,
    database_type,
    encode_elements,
    row_encoder,
    type_number,
)
from soma_streams.sinks.postgres.row_types import HistoryRow, MemoryRow, Row

if TYPE_CHECKING:
    from soma_native import Layout

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
    "content": ("content", IN_HISTORY),
}
_BEFORE_CONTENT = 12  # lengths of row and fields, and the type's number


class NativeRows:
    """Makes rows of events that are applied to memories which nothing was read of.

    Args:
        native: By which the events were read.
    """

    def __init__(self, native: NativeReader) -> None:
        self._memories = native.reader.layout(_columns(MemoryRow, _OF_MEMORIES))
        self._history = native.reader.layout(_columns(HistoryRow, _OF_HISTORY))
        self._pack = row_encoder(MemoryRow)

    @classmethod
    @lru_cache(maxsize=1)
    def of(cls, native: NativeReader) -> "NativeRows":
        """Return what makes rows of the events that this one reads."""
        return cls(native)

    def memories(self, events: Sequence[NativeEvent], among: Sequence[Row]) -> Elements:
        """Return new states, among those of other memories, in the order of the keys.

        Args:
            events: At least one; all were read at once.
            among: The others.

        Raises:
            NumericValueOutOfRange: A number of the others is too large for its column.
        """
        others = [
            (tenant.encode(), memory_id.bytes, encode_elements(self._pack, [row]))
            for row in among
            for tenant, memory_id, *_ in [row]
        ]
        return Elements(self._rows(self._memories, events, others), len(events) + len(others))

    def history(self, events: Sequence[NativeEvent]) -> Elements:
        """Return what became of events, at least one, that were read at once."""
        return Elements(self._rows(self._history, events, None), len(events))

    def _rows(
        self,
        layout: "Layout",
        events: Sequence[NativeEvent],
        among: Sequence[tuple[bytes, bytes, bytes]] | None,
    ) -> bytes:
        return events[0].source.read.rows(
            layout,
            [each.source.number for each in events],
            [each.version for each in events],
            [micros(each.logged_at) for each in events],
            events[0].position.partition,
            among=among,
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
