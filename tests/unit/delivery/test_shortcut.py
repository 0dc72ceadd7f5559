"""The shortcut gives what the Avro library and the model give, or nothing."""

import io
import json
from contextlib import suppress
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import A_MOMENT, SCHEMA_IDS, WRITER_SCHEMAS, a_batch, a_record, an_id, encoded, stored
from odd_events import A_UUID, ODD, STRATEGIES, raw, wire
from soma_schemas.avro_schemas import latest
from soma_schemas.events import SINK_EVENTS, MemoryEvent, MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_streams.delivery.decode import Decoder, Poison
from soma_streams.delivery.shortcut import Shortcut
from soma_streams.delivery.state import LoggedEvent
from soma_streams.delivery.wire import program_for
from soma_streams.transport.records import Record

SCHEMA = WRITER_SCHEMAS[SCHEMA_IDS["MemoryStored"]].parsed
SMALL = Limits(text_bytes=12, payload_bytes=60, tags=3, tag_characters=4, key_characters=6, name_characters=8)


class LongWay(Decoder):
    """The decoder as it is without a shortcut."""

    def _plain(self, record: Record) -> None:
        del record


DECODERS = {
    limits: (Decoder(SINK_EVENTS, limits, epoch=1), LongWay(SINK_EVENTS, limits, epoch=1))
    for limits in (DEFAULT_LIMITS, SMALL)
}


def both(record: Record, limits: Limits) -> tuple[list[LoggedEvent | Poison], list[LoggedEvent | Poison]]:
    batch = a_batch([record])
    short, long = DECODERS[limits]
    return list(short.decode(batch, WRITER_SCHEMAS).items), list(long.decode(batch, WRITER_SCHEMAS).items)


def shortcut_of(event: MemoryEvent, limits: Limits = DEFAULT_LIMITS) -> MemoryStored | None:
    shortcut = Shortcut.of(SCHEMA, limits)
    assert shortcut is not None
    return shortcut.read(encoded(event), event.log_key())


@pytest.mark.parametrize(
    "event",
    [
        stored(),
        stored(key="a"),
        stored(key="č" * 200, subject="mira", actor="agent-7", text="čaj " * 2000, tags=["x", "y" * 100]),
        stored(payload=json.dumps({"id": str(an_id()), "at": 1e-3, "deep": [[{"a": [None, True, -1]}]]})),
        stored(payload='{"hash": "77e12f3e-9", "price": 12.5}', expires_at=A_MOMENT, expected_version=0),
        stored(tags=[f"t{number}" for number in range(64)], importance=1.0, kind="SEMANTIC"),
        stored(coordinate=[1.5, -0.0, 1e300]),
        stored(key="a", embedding=[0.5, -0.25] * 200, embedding_model="m"),
    ],
)
def test_an_ordinary_event_takes_the_shortcut(event: MemoryStored) -> None:
    assert shortcut_of(event) == event


@pytest.mark.parametrize(
    "event",
    [
        stored(coordinate=[1e308, 1e308]),
        stored(payload='{"tiny": 1e-300}'),
        stored(payload=r'{"escaped": "\u00e9"}'),
        stored(payload='{"brackets in text": "' + "[" * 64 + '"}'),
    ],
)
def test_what_is_less_common_gives_the_same_by_the_long_way(event: MemoryStored) -> None:
    short, long = both(a_record(event), DEFAULT_LIMITS)

    assert short == long
    assert isinstance(short[0], LoggedEvent)


def test_an_event_by_the_shortcut_is_as_the_model_makes_it() -> None:
    event = stored(key="a", subject="mira", expires_at=A_MOMENT)

    made = shortcut_of(event)

    assert made is not None
    assert (repr(made), made.model_dump(), made.model_fields_set) == (
        repr(event),
        event.model_dump(),
        event.model_fields_set,
    )
    assert made.model_copy(update={"text": "x"}) == event.model_copy(update={"text": "x"})
    assert made.model_fields_set == set(MemoryStored.model_fields)


def test_a_schema_that_the_checks_were_not_made_for_gets_no_shortcut() -> None:
    assert Shortcut.of(None, DEFAULT_LIMITS) is None
    schema = latest("MemoryStored").parsed()
    first, *others = schema["fields"]
    for fields in (
        others,
        [first, *others, {"name": "mood", "type": "string"}],
        [first | {"type": "string"}, *others],
    ):
        assert Shortcut.of(fastavro.parse_schema(schema | {"fields": fields}), DEFAULT_LIMITS) is None


def test_a_newer_order_of_the_fields_is_read_too() -> None:
    schema = latest("MemoryStored").parsed()
    schema["fields"].reverse()
    parsed = fastavro.parse_schema(schema)
    event = stored(key="a", tags=["x"])
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parsed, event.model_dump())

    shortcut = Shortcut.of(parsed, DEFAULT_LIMITS)

    assert shortcut is not None
    assert shortcut.read(b"\0\0\0\0\1" + body.getvalue(), event.log_key()) == event


def agree(fields: dict[str, Any], limits: Limits) -> None:
    key = f"{fields['tenant']}/{fields['memory_id']}".encode()
    short, long = both(a_record(wire(fields), key=key), limits)
    assert repr(short) == repr(long)


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, SMALL], ids=["usual", "small"])
@pytest.mark.parametrize("field", sorted(ODD))
def test_one_odd_field_gives_the_same_both_ways(field: str, limits: Limits) -> None:
    for value in ODD[field]:
        agree(raw(**{field: value}), limits)
        agree(raw(**{"key": "k", field: value}), limits)
        agree(raw(**{"coordinate": [1.0, 2.0], field: value}), limits)
        agree(raw(**{"embedding": [1.0], "embedding_model": "m", field: value}), limits)


@pytest.mark.parametrize("memory_id", [str(an_id()), A_UUID, A_UUID.upper(), "no id", "x" * 36, A_UUID[:-1]])
@pytest.mark.parametrize("name", [{}, {"key": "k"}, {"coordinate": [1.0]}, {"key": "k", "coordinate": [1.0]}])
def test_an_id_of_its_own_gives_the_same_both_ways(memory_id: str, name: dict[str, Any]) -> None:
    agree(raw(memory_id=memory_id, **name), DEFAULT_LIMITS)


@given(
    st.lists(st.sampled_from(sorted(STRATEGIES)), max_size=3).flatmap(
        lambda names: st.fixed_dictionaries({name: STRATEGIES[name] for name in names})
    ),
    st.sampled_from([DEFAULT_LIMITS, SMALL]),
)
def test_whatever_an_event_says_both_ways_come_to_the_same(changes: dict[str, Any], limits: Limits) -> None:
    with suppress(UnicodeEncodeError):  # half a surrogate pair: nothing that Avro can write
        agree(raw(**changes), limits)


def test_every_byte_that_is_changed_gives_the_same_both_ways() -> None:
    event = stored(key="a", tags=["x", "y"], subject="mira", payload='{"a": [1, "b"]}', expires_at=A_MOMENT)
    value = encoded(event)

    for place in range(5, len(value)):
        for changed in (value[place] ^ 1, value[place] ^ 2, value[place] ^ 128):
            odd = value[:place] + bytes([changed]) + value[place + 1 :]
            short, long = both(a_record(odd, key=event.log_key()), DEFAULT_LIMITS)
            assert repr(short) == repr(long)


@given(st.data())
def test_whatever_becomes_of_the_bytes_both_ways_come_to_the_same(data: st.DataObject) -> None:
    event = stored(key="a", text="čaj " * 30, tags=["x", "y"], subject="mira", payload='{"a": [1, "b"]}')
    value = bytearray(encoded(event))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(5, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(value)) | st.integers(5, len(value)))
    more = data.draw(st.just(b"") | st.binary(max_size=3))

    short, long = both(a_record(bytes(value[:cut]) + more, key=event.log_key()), DEFAULT_LIMITS)

    assert repr(short) == repr(long)


EVERY_TYPE = {
    "type": "record",
    "name": "Everything",
    "fields": [
        {"name": "text", "type": "string"},
        {"name": "raw", "type": "bytes"},
        {"name": "count", "type": "int"},
        {"name": "at", "type": "long"},
        {"name": "weight", "type": "double"},
        {"name": "share", "type": "float"},
        {"name": "mood", "type": {"type": "enum", "name": "Mood", "symbols": ["GOOD", "BAD"]}},
        {"name": "words", "type": {"type": "array", "items": "string"}},
        {"name": "vector", "type": ["null", {"type": "array", "items": "float"}]},
        {"name": "nothing", "type": ["null", "double"]},
    ],
}


@given(
    text=st.text(max_size=200),
    numbers=st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)),
    words=st.lists(st.text(max_size=70), max_size=70),
    vector=st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=70),
)
def test_a_program_takes_apart_what_the_avro_library_wrote(
    text: str, numbers: tuple[int, int], words: list[str], vector: list[float] | None
) -> None:
    schema: Any = fastavro.parse_schema(EVERY_TYPE)
    names = [str(each["name"]) for each in schema["fields"]]
    values = (text, b"\0raw", *numbers, 0.1, 0.5, "BAD", words, vector, None)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, dict(zip(names, values, strict=True)))
    program = program_for(schema, list(reversed(names)))

    assert program is not None
    taken = program(b"head" + body.getvalue(), 4)

    assert taken == (
        None,
        None if vector is None else list(vector) if not vector else tuple(vector),
        [word.encode() for word in words],
        "BAD",
        0.5,
        0.1,
        *reversed(numbers),
        b"\0raw",
        text.encode(),
    )


def test_no_program_is_written_for_types_without_a_use_here() -> None:
    field = {"name": "a", "type": {"type": "map", "values": "int"}}
    maps: Any = fastavro.parse_schema({"type": "record", "name": "R", "fields": [field]})
    everything: Any = fastavro.parse_schema(EVERY_TYPE)

    assert program_for(maps, ["a"]) is None
    assert program_for(everything, ["text"]) is None
