"""The rows of plain events that nothing was known of, packed a column at a time."""

import struct
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple, cast, get_type_hints

import numpy as np
import orjson

from soma_schemas.events import MemoryStored
from soma_schemas.moments import of_micros
from soma_schemas.versions import pack_version
from soma_streams.delivery.plain import PlainEvents
from soma_streams.delivery.state import Outcome
from soma_streams.sinks.packing import NO_ELEMENTS, Elements, database_type, type_number
from soma_streams.sinks.postgres.row_types import HistoryRow, MemoryRow
from soma_streams.transcoding.composites import composites, constant, nulls, pieces
from soma_streams.transcoding.fields import (
    Block,
    double_values,
    doubles,
    fixed,
    integers,
    same,
    symbols,
    text_arrays,
    texts,
    timestamps,
)
from soma_streams.transcoding.walk import Numbers, Spans

_BIGINT = struct.Struct(">q").pack
# Size, dimensions, whether nulls, element type, length, lower bound, size of the one element.
_ARRAY_OF_ONE = struct.Struct(">iiiIiii").pack(40, 1, 0, type_number("uuid"), 1, 1, 16)
_MICROS_A_DAY = 86_400_000_000
_KINDS = ("EPISODIC", "SEMANTIC")
_JSON_KINDS = (b'"EPISODIC"', b'"SEMANTIC"')
_NULL = b"null"
_CONTENT = (
    b'{"key":%b,"coordinate":null,"kind":%b,"text":%b,"payload":%b,"tags":[%b],"importance":%b,'
    b'"embedding_model":null,"subject":%b,"expires_at":%b}'
)


class PlainRows(NamedTuple):
    """Rows that need no guard.

    Attributes:
        memories: Of the row type of memories.
        history: Of the row type of the history.
        months: In which the events were logged, each as its first day.
    """

    memories: Elements
    history: Elements
    months: Sequence[date]


NO_PLAIN_ROWS = PlainRows(NO_ELEMENTS, NO_ELEMENTS, ())


def plain_rows(events: PlainEvents, partition: int, epoch: int) -> PlainRows:
    """Return the rows of events that are all applied, to memories that were never seen.

    Args:
        events: Each about a memory of its own.
        partition: Of the log.
        epoch: Of the topic.
    """
    count = len(events)
    columns = _columns(events, pack_version(epoch, 0), partition)
    days = (of_micros(day * _MICROS_A_DAY) for day in np.unique(events.logged_at // _MICROS_A_DAY).tolist())
    return PlainRows(
        _elements(MemoryRow, columns, count),
        _elements(HistoryRow, columns, count),
        sorted({date(day.year, day.month, 1) for day in days}),
    )


def _elements(row: type[tuple[Any, ...]], columns: Mapping[str, Sequence[Block]], count: int) -> Elements:
    fields = [
        (type_number(database_type(hint)[0]), columns[name])
        for name, hint in get_type_hints(row, include_extras=True).items()
    ]
    return Elements(composites(fields, count), count)


def _columns(events: PlainEvents, first_version: int, partition: int) -> Mapping[str, Sequence[Block]]:
    """Return the fields of both row types by their names."""
    count, walk = len(events), events.walk
    found: Mapping[str, Any] = events.found
    kinds: Numbers = found["kind"]
    logged_at = timestamps(walk, Numbers(events.logged_at))
    nothing = nulls(count)
    return {
        "tenant": texts(walk, found["tenant"]),
        "memory_id": fixed(events.memory_ids),
        "version": integers(Numbers(events.offsets + first_version)),
        "deleted": constant(b"\0", count),
        "deleted_version": constant(_BIGINT(0), count),
        "updated_at": logged_at,
        "recent_event_ids": [same(_ARRAY_OF_ONE, count), events.event_ids],
        "created_at": logged_at,
        "occurred_at": timestamps(walk, found["occurred_at"]),
        "expires_at": nothing
        if isinstance(found["expires_at"], Spans)
        else timestamps(walk, found["expires_at"]),
        "last_accessed_at": nothing,
        "access_count": constant(_BIGINT(0), count),
        "importance": doubles(walk, found["importance"]),
        "namespace": texts(walk, found["namespace"]),
        "key": texts(walk, found["key"]),
        "coordinate": nothing,
        "kind": symbols(walk, kinds, _KINDS),
        "text": texts(walk, found["text"]),
        "payload": texts(walk, found["payload"], before=b"\x01"),
        "tags": text_arrays(walk, found["tags"]),
        "embedding": nothing,
        "embedding_model": nothing,
        "subject": texts(walk, found["subject"]),
        "actor": texts(walk, found["actor"]),
        "partition": constant(_BIGINT(partition), count),
        "logged_at": logged_at,
        "outcome": constant(Outcome.APPLIED.value.encode(), count),
        "reason": nothing,
        "error_code": nothing,
        "event_id": fixed(events.event_ids),
        "event_type": constant(MemoryStored.__name__.encode(), count),
        "content": pieces(_said(events, kinds), before=b"\x01"),
    }


def _said(events: PlainEvents, kinds: Numbers) -> list[bytes]:
    """Return as JSON what each event said of its memory's content."""
    tags = _Spelled()
    importance = double_values(events.walk, cast("Spans", events.found["importance"])).tolist()
    expiries: list[bytes] = [_NULL] * len(events)
    if isinstance(moments := events.found["expires_at"], Numbers):
        places = np.flatnonzero(~events.absent("expires_at"))
        spelled = _json_items([of_micros(moment) for moment in moments.values[places].tolist()])
        for place, text in zip(places.tolist(), spelled, strict=True):
            expiries[place] = text
    return [
        _CONTENT % each
        for each in zip(
            _json_texts(events, "key"),
            [_JSON_KINDS[kind] for kind in kinds.values.tolist()],
            _json_texts(events, "text"),
            events.pieces("payload"),
            [b",".join([tags[tag] for tag in each]) for each in events.tags],
            orjson.dumps(importance)[1:-1].split(b","),
            _json_texts(events, "subject"),
            expiries,
            strict=True,
        )
    ]


class _Spelled(dict[bytes, bytes]):
    """Texts as JSON, each spelled once."""

    def __missing__(self, text: bytes) -> bytes:
        spelled = self[text] = orjson.dumps(text.decode())
        return spelled


def _json_texts(events: PlainEvents, field: str) -> list[bytes]:
    spelled = _json_items([text.decode() for text in events.pieces(field)])
    for place in np.flatnonzero(events.absent(field)).tolist():
        spelled[place] = _NULL
    return spelled


def _json_items(items: list[str] | list[datetime]) -> list[bytes]:
    """Return each as JSON, all with one call."""
    # Within a string a line break is spelled, so these are all between two.
    spelled = orjson.dumps(items, option=orjson.OPT_INDENT_2)
    return spelled[4:-2].split(b",\n  ") if items else []
