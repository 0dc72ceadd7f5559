"""Plain events side by side become the very rows that they become one by one, or none."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import A_MOMENT, SCHEMA_IDS, WRITER_SCHEMAS, a_batch, a_record, encoded, stored
from odd_events import A_UUID, ODD, SCHEMA, STRATEGIES, raw, wire
from soma_schemas.events import SINK_EVENTS, MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_streams.delivery.decode import Decoder, Poison
from soma_streams.delivery.fold import fold
from soma_streams.delivery.plain import PlainEvents, PlainReader
from soma_streams.sinks.packing import packer
from soma_streams.sinks.postgres.plain_rows import plain_rows
from soma_streams.sinks.postgres.row_types import HistoryRow, MemoryRow
from soma_streams.sinks.postgres.rows import changes_of, history_months, history_rows
from soma_streams.transport.records import Record

SMALL = Limits(text_bytes=12, payload_bytes=60, tags=3, tag_characters=4, key_characters=6, name_characters=8)
DECODERS = {limits: Decoder(SINK_EVENTS, limits, epoch=1) for limits in (DEFAULT_LIMITS, SMALL)}
PACK_MEMORIES, PACK_HISTORY = packer(MemoryRow), packer(HistoryRow)


def reader(limits: Limits = DEFAULT_LIMITS) -> PlainReader:
    found = PlainReader.of(SCHEMA, limits)
    assert found is not None
    return found


READERS = {limits: reader(limits) for limits in DECODERS}


def sound(records: Sequence[Record], limits: Limits) -> tuple[list[Record], PlainEvents | None]:
    """The records that are plain, and their events."""
    left = list(records)
    while left:
        read = READERS[limits].read(left)
        if isinstance(read, PlainEvents):
            return left, read
        left = [record for record, kept in zip(left, read.tolist(), strict=True) if kept]
    return [], None


def agree(records: Sequence[Record], limits: Limits) -> int:
    """Assert that what is plain becomes the same rows one by one, and return how many are."""
    plain, events = sound(records, limits)
    payloads = events.pieces("payload") if events is not None else []
    items = {each.offset: DECODERS[limits].decode(a_batch([each]), WRITER_SCHEMAS).items for each in plain}
    for record, payload in zip(plain, payloads, strict=True):
        (item,) = items[record.offset]
        if isinstance(item, Poison):
            # The one thing that is left to PostgreSQL.
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(payload)
    kept, events = sound(
        [record for record in plain if not isinstance(items[record.offset][0], Poison)], limits
    )
    if events is None:
        return 0
    # Names as in a batch: each memory once, in the order of their keys.
    folded = [fold(DECODERS[limits].decode(a_batch([each]), WRITER_SCHEMAS).events, {}) for each in kept]
    rows = plain_rows(events, partition=0, epoch=1)
    assert rows.memories.rows == rows.history.rows == len(kept)
    assert rows.memories.data == b"".join(PACK_MEMORIES(changes_of(each).memories) for each in folded)
    assert rows.history.data == b"".join(PACK_HISTORY(history_rows(each.settlements, ())) for each in folded)
    assert rows.months == sorted({m for each in folded for m in history_months(each.settlements, ())})
    return len(kept)


def records_of(events: Sequence[dict[str, Any]]) -> list[Record]:
    return [
        a_record(wire(fields), offset, key=f"{fields['tenant']}/{fields['memory_id']}".encode())
        for offset, fields in enumerate(events)
    ]


def test_ordinary_events_are_all_plain() -> None:
    events: list[MemoryStored] = [
        stored(),
        stored(key="a", kind="SEMANTIC", importance=1.0),
        stored(
            key="č" * 200,
            subject="mira",
            actor="agent-7",
            text='čaj "\\\\" ",\n ' * 900,
            tags=["x", "y" * 100],
        ),
        stored(payload='{"deep": [[{"a": [null, true, -1]}]], "hash": "77e12f3e-9"}', expires_at=A_MOMENT),
        stored(tenant="other", namespace="a/b", tags=[f"t{number}" for number in range(12)]),
        stored(text='x",', subject='","', key='\\\\",', importance=1e-7),
    ]

    assert agree([a_record(each, offset) for offset, each in enumerate(events)], DEFAULT_LIMITS) == len(
        events
    )


@pytest.mark.parametrize(
    "event",
    [
        stored(coordinate=[1.0]),
        stored(embedding=[1.0], embedding_model="m"),
        stored(expected_version=0),
        stored(payload='{"tiny": 1e-300}'),
        stored(payload=" {}"),
        stored(tags=[f"t{number}" for number in range(64)]),
    ],
)
def test_what_is_less_common_is_not_plain(event: MemoryStored) -> None:
    records = [a_record(stored(key="a"), 0), a_record(event, 1), a_record(stored(key="b"), 2)]

    assert [record.offset for record in sound(records, DEFAULT_LIMITS)[0]] == [0, 2]
    assert agree(records, DEFAULT_LIMITS) == 2


def test_clocks_that_were_wrong_by_decades_give_the_same_rows() -> None:
    moments = (-(2**63), -1, 0, 946_684_800_000, 7_258_118_399_999, 7_258_118_400_000, 2**63 - 1)
    records = [
        a_record(stored(key=f"k{offset}"), offset)._replace(timestamp_ms=each)
        for offset, each in enumerate(moments)
    ]

    assert agree(records, DEFAULT_LIMITS) == len(moments)


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, SMALL], ids=["usual", "small"])
@pytest.mark.parametrize("field", sorted(ODD))
def test_odd_fields_among_others_become_the_same_rows(field: str, limits: Limits) -> None:
    events = [
        fields
        for value in ODD[field]
        for fields in (raw(**{field: value}), raw(**{"key": "k", field: value}))
    ]

    agree(records_of([raw(), *events, raw(key="last")]), limits)


@pytest.mark.parametrize("memory_id", [A_UUID, A_UUID.upper(), "no id", "x" * 36, A_UUID[:-1]])
def test_ids_of_their_own_become_the_same_rows(memory_id: str) -> None:
    agree(records_of([raw(memory_id=memory_id), raw(memory_id=memory_id, key="k")]), DEFAULT_LIMITS)


def test_a_key_of_another_memory_is_not_plain() -> None:
    assert agree([a_record(stored(key="a"), 0, key=stored(key="b").log_key())], DEFAULT_LIMITS) == 0


@given(
    st.lists(
        st.lists(st.sampled_from(sorted(STRATEGIES)), max_size=3).flatmap(
            lambda names: st.fixed_dictionaries({name: STRATEGIES[name] for name in names})
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([DEFAULT_LIMITS, SMALL]),
)
def test_whatever_events_say_they_become_the_same_rows(changes: list[dict[str, Any]], limits: Limits) -> None:
    with suppress(UnicodeEncodeError):  # half a surrogate pair: nothing that Avro can write
        agree(records_of([raw(**each) for each in changes]), limits)


def test_every_byte_that_is_changed_gives_the_same_rows() -> None:
    event = stored(key="a", tags=["x", "y"], subject="mira", payload='{"a": [1, "b"]}', expires_at=A_MOMENT)
    value = encoded(event)
    odd = [
        value[:place] + bytes([value[place] ^ bit]) + value[place + 1 :]
        for place in range(5, len(value))
        for bit in (1, 2, 128)
    ]

    records = [a_record(each, offset, key=event.log_key()) for offset, each in enumerate([*odd, value])]

    assert 0 < agree(records, DEFAULT_LIMITS) < len(odd)


def test_a_schema_that_the_checks_were_not_made_for_has_no_reader() -> None:
    assert PlainReader.of(None, DEFAULT_LIMITS) is None
    assert PlainReader.of(WRITER_SCHEMAS[SCHEMA_IDS["MemoryPatched"]].parsed, DEFAULT_LIMITS) is None
