"""Which schemas are read with: decided from the schema alone, whatever it is."""

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import stored
from soma_schemas.avro_schemas import latest, record_names, released
from soma_streams.delivery.decode import UndecodableError, read_body
from soma_streams.delivery.writer_schemas import judged

STORED = "MemoryStored"
READER = fastavro.parse_schema(latest(STORED).parsed())


def ours(*added: Any, **changed: Any) -> str:
    """Our newest MemoryStored with further fields, and with other types for some of its own."""
    schema = latest(STORED).parsed()
    schema["fields"] = [
        {**field, "type": changed.get(field["name"], field["type"])} for field in schema["fields"]
    ] + [{"name": f"added_{number}", "type": type_} for number, type_ in enumerate(added)]
    return json.dumps(schema)


def without(*names: str) -> str:
    schema = latest(STORED).parsed()
    schema["fields"] = [field for field in schema["fields"] if field["name"] not in names]
    return json.dumps(schema)


def nested(depth: int, innermost: Any = "string") -> Any:
    for _ in range(depth):
        innermost = {"type": "array", "items": innermost}
    return innermost


def doubling(levels: int) -> dict[str, Any]:
    """Records that each hold the next one twice: few names, very many types."""
    schema: Any = "long"
    for level in range(levels):
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": f"l{level - 1}" if level else "long"}]
        schema = {"type": "record", "name": f"l{level}", "fields": fields}
    held: dict[str, Any] = schema
    return held


def record_of(type_: Any, name: str = "held") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "value", "type": type_}]}


@pytest.mark.parametrize(("record", "version"), [(n, s.version) for n in record_names() for s in released(n)])
def test_every_released_version_is_read_as_what_it_is(record: str, version: int) -> None:
    schema = judged(released(record)[version - 1].text, "AVRO")

    assert (schema.record, schema.version, schema.fault) == (record, version, None)


def test_a_released_version_without_its_words_is_the_same_version() -> None:
    schema = latest(STORED).parsed()
    for field in schema["fields"]:
        del field["doc"]

    assert judged(json.dumps(schema)).version == latest(STORED).version


@pytest.mark.parametrize(
    "text",
    [
        ours("string"),
        ours(["null", "string"], {"type": "map", "values": "long"}),
        ours(record_of({"type": "array", "items": record_of("long", "inner")})),
        ours(text="bytes", importance="float", expected_version=["null", "int"]),
        ours(key="string"),
        ours({"type": "bytes", "logicalType": "decimal", "precision": 10**9}),
        ours(nested(12)),
        ours({"type": "enum", "name": "soma.memory.E", "symbols": ["A"]}, "E"),
    ],
)
def test_what_resolves_to_ours_is_read_but_is_no_released_version(text: str) -> None:
    schema = judged(text)

    assert (schema.record, schema.version, schema.fault) == (STORED, None, None)


def test_a_value_of_a_schema_that_resolves_is_read_as_ours() -> None:
    schema = judged(ours({"type": "array", "items": "long"}, expected_version=["null", "int"]))
    event = stored(key="tea")
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema.parsed, event.model_dump() | {"added_0": [1, 2, 3]})

    fields, left = read_body(b"\0\0\0\0\1" + body.getvalue(), schema, 1000, READER)

    assert left == 0
    assert fields == event.model_dump()


@pytest.mark.parametrize("length", [1, 2**20, 2**62])
def test_a_field_that_is_skipped_has_to_be_there(length: int) -> None:
    schema = judged(ours("bytes"))
    body = io.BytesIO()
    fastavro.schemaless_writer(body, READER, stored(key="tea").model_dump())
    varint = io.BytesIO()
    fastavro.schemaless_writer(varint, "long", length)

    with pytest.raises(UndecodableError):
        read_body(b"\0\0\0\0\1" + body.getvalue() + varint.getvalue(), schema, 1000, READER)


NASTY: dict[str, str | Callable[[], str]] = {
    "an enum of our name": '{"type":"enum","name":"soma.memory.MemoryStored","symbols":["A"]}',
    "a fixed of our name": '{"type":"fixed","name":"soma.memory.MemoryStored","size":16}',
    "an added type in itself": ours(record_of(["null", "held"])),
    "two types in each other": ours(record_of(["null", record_of(["null", "held"], "other")])),
    "itself": ours(["null", "MemoryStored"]),
    "nulls in an array": ours({"type": "array", "items": "null"}),
    "nulls in a map": ours({"type": "map", "values": "null"}),
    "nulls in a record in an array": ours({"type": "array", "items": record_of("null")}),
    "records without fields": ours({"type": "array", "items": {"type": "record", "name": "e", "fields": []}}),
    "fixed of no bytes": ours({"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}}),
    "fixed of many bytes": ours({"type": "fixed", "name": "f", "size": 2**40}),
    "fixed of negative bytes": ours({"type": "fixed", "name": "f", "size": -1}),
    "fixed of a share": ours({"type": "fixed", "name": "f", "size": 1.5}),
    "fixed of true": ours({"type": "fixed", "name": "f", "size": True}),
    "a null field": ours("null"),
    "deep": ours(nested(100)),
    "deeper than the interpreter": lambda: (
        '{"type":"record","name":"soma.memory.MemoryStored","fields":[{"name":"a","type":'
        + '{"type":"array","items":' * 2000
        + '"long"'
        + "}" * 2000
        + "}]}"
    ),
    "deep JSON": lambda: '{"type":"record","name":"a","fields":' + "[" * 60_000,
    "doubling": ours(doubling(20)),
    "many branches": ours([record_of("long", f"r{number}") for number in range(1000)]),
    "many fields": ours(*["long"] * 2000),
    "large": lambda: ours({"type": "enum", "name": "e", "symbols": ["A" * 200_000]}),
    "megabytes": lambda: "[" + " " * 5_000_000 + "]",
    "a union in a union": ours([["null", "string"]]),
    "a branch twice": ours(["string", "string"]),
    "no branches": ours([]),
    "a name twice": ours(record_of("long"), record_of("long")),
    "a field twice": json.dumps(record_of("long") | {"fields": [{"name": "a", "type": "long"}] * 2}),
    "a symbol twice": ours({"type": "enum", "name": "e", "symbols": ["A", "A"]}),
    "no symbols": ours({"type": "enum", "name": "e", "symbols": []}),
    "symbols that are numbers": ours({"type": "enum", "name": "e", "symbols": [1]}),
    "an unknown type": ours("nothing.of.ours"),
    "a type that is a number": ours(7),
    "a type that is nothing": ours(None),
    "a description of nothing": ours({}),
    "an array of nothing": ours({"type": "array"}),
    "fields that are text": '{"type":"record","name":"soma.memory.MemoryStored","fields":"all"}',
    "fields that are numbers": '{"type":"record","name":"soma.memory.MemoryStored","fields":[1]}',
    "no fields": '{"type":"record","name":"soma.memory.MemoryStored"}',
    "no name": '{"type":"record","fields":[]}',
    "a name that is a number": '{"type":"record","name":7,"fields":[]}',
    "a name with a space": '{"type":"record","name":"a b","fields":[]}',
    "a name of a type": ours(record_of("long", "string") | {"namespace": ""}),
    "an error": '{"type":"error","name":"a","fields":[]}',
    "a union": '["null","string"]',
    "a primitive": '"string"',
    "nothing": "",
    "no JSON": "<html>",
    "half a surrogate pair": '{"type":"record","name":"\\ud800","fields":[]}',
    "a huge number": '{"type":"record","name":"a","fields":' + "9" * 5000 + "}",
    "a field of ours is missing": without("tenant"),
    "another kind of number": ours(importance="string"),
    "times in milliseconds": ours(occurred_at={"type": "long", "logicalType": "timestamp-millis"}),
    "times that are plain numbers": ours(occurred_at="long"),
    "an id that is no id": ours(memory_id="string"),
    "another enum": ours(kind={"type": "enum", "name": "Sort", "symbols": ["EPISODIC"]}),
    "our time on text": ours(occurred_at={"type": "string", "logicalType": "timestamp-micros"}),
}


@pytest.mark.parametrize("name", NASTY)
def test_what_is_not_read_with_says_why_in_words(name: str) -> None:
    made = NASTY[name]

    schema = judged(made if isinstance(made, str) else made())

    assert schema.parsed is None
    assert schema.version is None
    assert schema.fault


@pytest.mark.parametrize("kind", ["PROTOBUF", "JSON", "avro", ""])
def test_a_schema_in_another_language_is_not_read_with(kind: str) -> None:
    assert judged(latest(STORED).text, kind).fault == "it is no Avro schema"


def test_a_schema_that_refers_to_others_is_not_read_with() -> None:
    fault = judged(latest(STORED).text, "AVRO", refers=True).fault

    assert fault == "it refers to other schemas of the registry, and none is followed"


def test_a_record_of_somebody_else_keeps_its_whole_name() -> None:
    assert judged(json.dumps(record_of("long", "com.acme.Order"))).record == "com.acme.Order"
    assert judged(json.dumps(record_of("long", "MemoryStored") | {"namespace": "com.acme"})).record == (
        "com.acme.MemoryStored"
    )


_words = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "bytes", "string", "r", "e"])
_names = st.sampled_from(["r", "e", "f", "soma.memory.MemoryStored", "a.b", "", "1", "string"])
_types = st.recursive(
    _words | st.none() | st.integers(),
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item}, inner),
        st.builds(lambda item: {"type": "map", "values": item}, inner),
        st.builds(lambda item: {"type": item, "logicalType": "uuid"}, inner),
        st.lists(inner, max_size=4),
        st.builds(
            lambda name, types: {
                "type": "record",
                "name": name,
                "fields": [{"name": f"f{number}", "type": type_} for number, type_ in enumerate(types)],
            },
            _names,
            st.lists(inner, max_size=4),
        ),
        st.builds(lambda name, size: {"type": "fixed", "name": name, "size": size}, _names, st.integers()),
        st.builds(lambda name: {"type": "enum", "name": name, "symbols": ["A", "B"]}, _names),
    ),
    max_leaves=30,
)


@given(_types, st.binary(max_size=300))
def test_no_schema_makes_judging_fail_and_no_value_costs_more_than_its_bytes(type_: Any, body: bytes) -> None:
    for text in (json.dumps(type_), json.dumps(record_of(type_, "top")), ours(type_)):
        schema = judged(text)
        if schema.fault is None:
            assert _values_read(schema.parsed, body) <= 20 * (len(body) + 1)


def _values_read(parsed: Any, body: bytes) -> int:
    """Count the values that fastavro makes, until the bytes end or are not of the schema."""
    made = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        del frame, argument
        nonlocal made
        made += event == "call"

    sys.setprofile(count)
    try:
        _read_in_python(parsed, body)
    finally:
        sys.setprofile(None)
    return made


def _read_in_python(parsed: Any, body: bytes) -> None:
    # The one written in Python, because the compiled one does not let itself be counted.
    from fastavro._read_py import schemaless_reader  # noqa: PLC0415  # see above

    try:
        schemaless_reader(io.BytesIO(body), parsed, None)
    except (EOFError, IndexError, ValueError, OverflowError, KeyError, TypeError, StopIteration):
        return
