"""What the native extension calls sound, the reference takes, and makes the same event and rows of."""

import io
import json
from contextlib import suppress
from random import Random
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import A_MOMENT, SCHEMA_IDS, WRITER_SCHEMAS, a_record, an_id, deleted, encoded, linked, stored
from native_and_reference import CONDITIONAL, LOOK_CLOSER, SMALL, SOUND, BothWays, mutated
from odd_events import A_UUID, ODD, STRATEGIES, raw, wire
from soma_schemas.avro_schemas import latest, released
from soma_schemas.events import MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_streams.delivery.native import NativeReader
from soma_streams.delivery.writer_schemas import WriterSchema, judged
from soma_streams.transport.records import Record, Unreadable

WAYS = {limits: BothWays(limits) for limits in (DEFAULT_LIMITS, SMALL)}
DIGITS = st.characters(codec="ascii")
ORDINARY = [
    stored(),
    stored(key="a"),
    stored(key="č" * 512, actor="agent-7", text='čaj\n\t"\\\x1f\x7f ' * 2000, tags=["x", "y" * 128]),
    stored(payload=json.dumps({"id": str(an_id()), "at": 1e-3, "deep": [[{"a": [None, True, -1]}]]})),
    stored(payload='{"hash": "77e12f3e-9", "price": 12.5, "b": 1e300, "c": 0.1, "d": 1e-300}'),
    stored(payload=r'{"escaped": "\u00e9\ud83d\ude00", "brackets in text": "' + "[" * 64 + '"}'),
    stored(tags=[f"t{number}" for number in range(64)], importance=1.0, kind="SEMANTIC", expires_at=A_MOMENT),
    stored(coordinate=[1.5, -0.0, 1e300, 1e308, 1e16, 1e15, 1e-5, 123456.789, 5e-324, 0.0001, 1e-7]),
    stored(key="a", embedding=[0.5, -0.25] * 2048, embedding_model="m"),
    stored(namespace="%25/%2F/č", tenant="0.a_b-"),
]  # fmt: skip


@pytest.mark.parametrize("event", ORDINARY)
def test_an_ordinary_event_is_sound(event: MemoryStored) -> None:
    assert list(WAYS[DEFAULT_LIMITS].agree([a_record(event)])) == [SOUND]


@pytest.mark.parametrize("expected_version", [0, 2**53 - 1])
def test_an_event_for_one_version_alone_is_told_apart(expected_version: int) -> None:
    event = stored(key="a", expected_version=expected_version)

    assert list(WAYS[DEFAULT_LIMITS].agree([a_record(event)])) == [CONDITIONAL]


def test_what_is_no_stored_memory_in_bytes_is_looked_at() -> None:
    event = stored()
    value = encoded(event)
    key = event.log_key()
    odd = [
        a_record(None, key=key),
        a_record(b"", key=key),
        a_record(value[:4], key=key),
        a_record(b"\1" + value[1:], key=key),
        a_record(b"\0\0\0\7\xff" + value[5:], key=key),
        Record(0, 0, a_record(event).timestamp_type, key, Unreadable(value), ()),
        Record(0, 0, a_record(event).timestamp_type, None, value, ()),
        a_record(value, key=b""),
        a_record(value, key=key[:-1]),
        a_record(value, key=key + b"0"),
        a_record(value, key=key.upper()),
        a_record(value, key=key.replace(b"/", b"|")),
        a_record(deleted(event)),
        a_record(linked(event, an_id())),
        a_record(value + b"\0", key=key),
    ]

    assert list(WAYS[DEFAULT_LIMITS].agree([*odd, a_record(event)])) == [LOOK_CLOSER] * len(odd) + [SOUND]


def an_odd_record(fields: dict[str, Any]) -> Record:
    return a_record(wire(fields), key=f"{fields['tenant']}/{fields['memory_id']}".encode())


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, SMALL], ids=["usual", "small"])
@pytest.mark.parametrize("field", sorted(ODD))
def test_one_odd_field_is_judged_as_the_reference_does(field: str, limits: Limits) -> None:
    named: list[dict[str, Any]] = [
        {},
        {"key": "k"},
        {"coordinate": [1.0, 2.0]},
        {"embedding": [1.0], "embedding_model": "m"},
    ]

    WAYS[limits].agree(
        [an_odd_record(raw(**name | {field: value})) for value in ODD[field] for name in named]
    )


@pytest.mark.parametrize("name", [{}, {"key": "k"}, {"coordinate": [1.0]}, {"key": "k", "coordinate": [1.0]}])
def test_an_id_of_its_own_is_judged_as_the_reference_does(name: dict[str, Any]) -> None:
    spellings = [A_UUID, A_UUID.upper(), "no id", "x" * 36, A_UUID[:-1]]

    verdicts = WAYS[DEFAULT_LIMITS].agree([an_odd_record(raw(memory_id=each, **name)) for each in spellings])

    assert list(verdicts) == [LOOK_CLOSER if name else SOUND, *[LOOK_CLOSER] * 4]


@given(
    st.lists(st.sampled_from(sorted(STRATEGIES)), max_size=3).flatmap(
        lambda names: st.fixed_dictionaries({name: STRATEGIES[name] for name in names})
    ),
    st.sampled_from([DEFAULT_LIMITS, SMALL]),
)
def test_whatever_an_event_says_is_judged_as_the_reference_does(
    changes: dict[str, Any], limits: Limits
) -> None:
    with suppress(UnicodeEncodeError):  # half a surrogate pair: nothing that Avro can write
        WAYS[limits].agree([an_odd_record(raw(**changes))])


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=16),
    st.floats(0, 1),
    st.datetimes(),
)
def test_numbers_and_times_are_spelled_as_the_reference_does(
    coordinate: list[float], importance: float, moment: Any
) -> None:
    moment = moment.replace(tzinfo=A_MOMENT.tzinfo)
    event = stored(coordinate=coordinate, importance=importance, expires_at=moment, occurred_at=moment)

    assert list(WAYS[DEFAULT_LIMITS].agree([a_record(event)])) == [SOUND]


@given(st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text))
def test_texts_are_spelled_as_the_reference_does(text: str) -> None:
    event = stored(
        key=text, text=text, tags=[text], subject=text, source=text, payload=json.dumps({text: text})
    )

    (verdict,) = WAYS[DEFAULT_LIMITS].agree([a_record(event)])

    assert verdict == SOUND


@given(
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["r", ".17g", ".20f", "e", ".3e", "g"])
)
def test_numbers_of_payloads_are_kept_or_looked_at(number: float, spelling: str) -> None:
    literal = repr(number) if spelling == "r" else format(number, spelling)

    (verdict,) = WAYS[DEFAULT_LIMITS].agree([an_odd_record(raw(payload=f'{{"a":{literal}}}'))])

    assert verdict == SOUND or spelling != "r"


def test_every_byte_that_is_changed_is_judged_as_the_reference_does() -> None:
    event = stored(
        key="a",
        tags=["x", "y"],
        subject="mira",
        source="a file",
        payload='{"a": [1, "b"]}',
        expires_at=A_MOMENT,
    )
    value = encoded(event)

    verdicts = WAYS[DEFAULT_LIMITS].agree(
        [
            a_record(value[:place] + bytes([value[place] ^ change]) + value[place + 1 :], key=event.log_key())
            for place in range(5, len(value))
            for change in (1, 2, 128)
        ]
    )

    assert {LOOK_CLOSER, SOUND} == set(verdicts)


def test_thousands_of_mutated_records_are_judged_as_the_reference_does() -> None:
    random = Random(5)
    records = [
        a_record(mutated(encoded(event), random), key=event.log_key())
        for event in ORDINARY
        if len(encoded(event)) < 2000
        for _ in range(600)
    ]

    verdicts = WAYS[DEFAULT_LIMITS].agree(records)

    assert len(records) > 4000
    assert min(verdicts.count(LOOK_CLOSER), verdicts.count(SOUND)) > 100


@pytest.mark.long
def test_hundreds_of_thousands_of_mutated_records_are_judged_as_the_reference_does() -> None:
    random = Random(7)
    for _ in range(300):
        fields = raw(key="k", tags=["a"], payload='{"a":[1.5,{"b":"c"}],"d":-1e5}', subject="mira")
        fields |= {name: random.choice(ODD[name]) for name in random.sample(sorted(ODD), random.randrange(3))}
        value, key = wire(fields), f"{fields['tenant']}/{fields['memory_id']}".encode()
        WAYS[DEFAULT_LIMITS].agree([a_record(mutated(value, random), key=key) for _ in range(1000)])


def written(
    fields: list[dict[str, Any]], event: MemoryStored, more: dict[str, Any]
) -> tuple[WriterSchema, Record]:
    """A schema of these fields, and the record of an event under it."""
    schema = judged(json.dumps(latest("MemoryStored").parsed() | {"fields": fields}))
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema.parsed, event.model_dump(mode="python") | more)
    return schema, a_record(b"\0\0\0\0\1" + body.getvalue(), key=event.log_key())


FIELDS: list[dict[str, Any]] = latest("MemoryStored").parsed()["fields"]
MORE: list[tuple[Any, list[Any]]] = [
    ("string", ["", "čaj"]),
    ("bytes", [b"\xff"]),
    ("boolean", [True]),
    ("int", [-1]),
    ("float", [0.5]),
    ("double", [0.5]),
    (["null", "string"], [None, "x"]),
    (["null", "long", {"type": "array", "items": "string"}], [None, 2**60, [], ["a", "b"]]),
    ({"type": "map", "values": "long"}, [{}, {"a": 1, "b": -1}]),
    ({"type": "fixed", "name": "Sum", "size": 3}, [b"abc"]),
    ({"type": "enum", "name": "Mood", "symbols": ["GOOD", "BAD"]}, ["BAD"]),
    ({"type": "long", "logicalType": "timestamp-micros"}, [1]),
    ("soma.memory.Kind", ["SEMANTIC"]),
    (
        {
            "type": "record",
            "name": "Where",
            "fields": [
                {"name": "page", "type": "long"},
                {"name": "lines", "type": {"type": "array", "items": ["null", "int"]}},
            ],
        },
        [{"page": 1, "lines": []}, {"page": 1, "lines": [1, None, 2]}],
    ),
]


@pytest.mark.parametrize("version", released("MemoryStored"), ids=lambda schema: f"version {schema.version}")
def test_every_released_version_is_read(version: Any) -> None:
    fields = version.parsed()["fields"]
    event = stored(
        key="a", tags=["x"], embedding=[1.0], embedding_model="m", expires_at=A_MOMENT, source="a file"
    )

    schema, record = written(fields, event, {})

    assert schema.version == version.version
    assert list(BothWays(schemas={1: schema}).agree([record])) == [SOUND]


@pytest.mark.parametrize("place", ["first", "amid", "last"])
@pytest.mark.parametrize(("kind", "values"), MORE, ids=lambda value: str(value)[:30])
def test_a_later_schema_with_one_more_field_is_read(kind: Any, values: list[Any], place: str) -> None:
    more = {"name": "later", "type": kind}
    # A name is defined before it is used.
    at = {"first": 0, "amid": 9, "last": len(FIELDS)}[place] if kind != "soma.memory.Kind" else len(FIELDS)
    for value in values:
        event = stored(key="a", tags=["x"], subject="mira")
        schema, record = written([*FIELDS[:at], more, *FIELDS[at:]], event, {"later": value})
        ways = BothWays(schemas={1: schema})
        random = Random(3)

        assert list(ways.agree([record])) == [SOUND]
        assert record.value is not None
        ways.agree([a_record(mutated(record.value, random), key=record.key) for _ in range(100)])


def test_more_than_a_few_unknown_items_are_left_to_the_reference() -> None:
    more = {"name": "later", "type": {"type": "array", "items": "int"}}
    for count, verdict in ((255, SOUND), (256, LOOK_CLOSER)):
        schema, record = written([*FIELDS, more], stored(), {"later": [1] * count})

        assert list(BothWays(schemas={1: schema}).agree([record])) == [verdict]


def test_the_order_of_the_fields_is_the_writers() -> None:
    event = stored(key="a", tags=["x"], embedding=[1.0], embedding_model="m")

    schema, record = written(FIELDS[::-1], event, {})

    assert list(BothWays(schemas={1: schema}).agree([record])) == [SOUND]


def test_a_schema_with_other_types_is_left_to_the_reference() -> None:
    (importance,) = [field for field in FIELDS if field["name"] == "importance"]
    others = [field for field in FIELDS if field is not importance]
    event = stored()
    schema, record = written([*others, importance | {"type": "float"}], event, {"importance": 0.5})

    assert schema.fault is None
    assert list(BothWays(schemas={1: schema}).agree([record])) == [LOOK_CLOSER]


def test_a_schema_id_with_another_meaning_is_learned_anew() -> None:
    event = stored(key="a")
    schema, record = written(FIELDS[::-1], event, {})
    native = NativeReader(DEFAULT_LIMITS)
    other = WRITER_SCHEMAS[SCHEMA_IDS["MemoryDeleted"]]

    verdicts = [native.read([record], schemas).verdicts[0] for schemas in ({}, {1: schema}, {}, {1: other})]

    assert verdicts == [LOOK_CLOSER, SOUND, SOUND, LOOK_CLOSER]


def test_rows_lie_in_the_order_of_their_keys() -> None:
    ways = BothWays()
    tenants = enumerate(("b", "a", "b", "a-", "a"))
    records = [a_record(stored(tenant=tenant), offset) for offset, tenant in tenants]
    ordered = sorted(records, key=lambda record: (record.key or b"").rpartition(b"/")[::2])
    rows = b"".join(ways.memory_rows([record]) for record in ordered)

    assert ways.memory_rows(records) == ways.memory_rows(records[2:], records[:2]) == rows


def test_mixed_versions_are_read_in_one_call() -> None:
    event = stored(key="a")
    one, first = written(FIELDS, event, {})
    two, second = written([*FIELDS, {"name": "later", "type": "string"}], event, {"later": "x"})
    assert second.value is not None
    second = a_record(b"\0\0\0\0\2" + second.value[5:], key=second.key)

    assert list(BothWays(schemas={1: one, 2: two}).agree([first, second] * 3)) == [SOUND] * 6


def test_only_sound_records_have_rows_and_fields() -> None:
    native, other = NativeReader(DEFAULT_LIMITS), NativeReader(DEFAULT_LIMITS)
    event = stored()
    read = native.read([a_record(event), a_record(b"\0", key=b"")], WRITER_SCHEMAS)
    layout = native.reader.layout([(25, ("field", "text"))])

    assert list(read.verdicts) == [SOUND, LOOK_CLOSER]
    with pytest.raises(IndexError):
        read.fields(1)
    with pytest.raises(IndexError):
        read.rows(layout, [0, 1], [1, 2], [0, 0], 0)
    with pytest.raises(ValueError, match="one place for each"):
        read.rows(layout, [0], [1, 2], [0, 0], 0)
    with pytest.raises(ValueError, match="another reader"):
        read.rows(other.reader.layout([]), [0], [1], [0], 0)
    with pytest.raises(ValueError, match="one key for each"):
        native.reader.read([b""], [])


@pytest.mark.parametrize(
    ("writer", "reason"), [([0, 0], "not once"), ([], "not once"), ([99], "no field"), ([("x",)], "x")]
)
def test_a_writer_that_does_not_fit_is_refused(writer: list[Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        NativeReader(DEFAULT_LIMITS).reader.for_writers({1: writer})
