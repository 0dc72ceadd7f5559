"""The schemas that fuzzed records are written with: the released ones, and some that nobody released."""

import copy
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import fastavro
import httpx

Schema = dict[str, Any]

_DEEPEST = 20


@dataclass(frozen=True)
class Written:
    """A schema as registered.

    Attributes:
        what: What is odd about it.
        record: Which record's events it may be of.
        raw: A body to write whatever the event; None has the event written.
    """

    what: str
    record: str
    schema_id: int
    schema: Any
    raw: bytes | None = None

    def encode(self, fields: Mapping[str, Any]) -> bytes:
        """Return a value with these fields."""
        body = io.BytesIO()
        fastavro.schemaless_writer(body, fastavro.parse_schema(copy.deepcopy(self.schema)), fields)
        return self._framed(body.getvalue())

    def encode_at_random(self, fields: Mapping[str, Any], random: Random) -> bytes:
        """Return a value with these fields as far as the schema takes them, and anything for the rest."""
        if self.raw is not None:
            return self._framed(self.raw)
        try:
            return self.encode(_datum(self.schema, fields, random, {}, 0))
        except Exception:  # noqa: BLE001  # a schema that cannot be written with is one all the same
            return self._framed(random.randbytes(40))

    def _framed(self, body: bytes) -> bytes:
        return b"\0" + self.schema_id.to_bytes(4, "big") + body


def _datum(schema: Any, given: Any, random: Random, named: dict[str, Any], depth: int) -> Any:
    """Return a value of a schema: the given one where it may be of it."""
    if isinstance(schema, list):
        rest = [each for each in schema if each != "null"]
        if (given is None and "null" in schema) or not rest or depth > _DEEPEST:
            return None
        return _datum(random.choice(rest), given, random, named, depth + 1)
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and "name" in schema:
        named[schema["name"]] = schema
    match kind:
        case "record":
            known = given if isinstance(given, Mapping) else {}
            return {
                each["name"]: _datum(each["type"], known.get(each["name"]), random, named, depth + 1)
                for each in schema["fields"]
            }
        case "array":
            items = given if isinstance(given, list) else [None] * random.randrange(3)
            return [_datum(schema["items"], each, random, named, depth + 1) for each in items]
        case "map":
            return {"k": _datum(schema["values"], None, random, named, depth + 1)}
        case "enum":
            return given if given in schema["symbols"] else random.choice(schema["symbols"])
        case "fixed":
            return random.randbytes(schema["size"])
        case "bytes":
            return str(given).encode()
        case _:
            anything = {"null": None, "boolean": True, "int": 7, "long": 2**33, "string": "anything"}
            return anything.get(kind, 0.25) if given is None else given


def _with(field: Any) -> Callable[[Schema], None]:
    def change(schema: Schema) -> None:
        schema["fields"].append({"name": "more", **field})

    return change


def _types(old: Any, new: Any) -> Callable[[Schema], None]:
    def change(schema: Schema) -> None:
        for field in schema["fields"]:
            field["type"] = new if field["type"] == old else field["type"]

    return change


def _set(**attributes: Any) -> Callable[[Schema], None]:
    return lambda schema: schema.update(attributes)


_DEEP: Any = "string"
for _level in range(60):
    _DEEP = {"type": "record", "name": f"Level{_level}", "fields": [{"name": "of", "type": _DEEP}]}
_NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}

_CHANGES: dict[str, Callable[[Schema], None]] = {
    "an optional field more": _with({"type": ["null", "string"], "default": None}),
    "a required field more": _with({"type": "string"}),
    "an array of nulls more": _with({"type": {"type": "array", "items": "null"}}),
    "a map of nulls more": _with({"type": {"type": "map", "values": "null"}}),
    "an empty record more": _with({"type": {"type": "record", "name": "Empty", "fields": []}}),
    "an array of empty records more": _with(
        {"type": {"type": "array", "items": {"type": "record", "name": "Empty", "fields": []}}}
    ),
    "a recursive field more": _with({"type": ["null", _NODE]}),
    "itself as a field": _with({"type": ["null", "soma.memory.MemoryStored"]}),
    "sixty levels more": _with({"type": _DEEP}),
    "a fixed of a megabyte more": _with({"type": {"type": "fixed", "name": "Blob", "size": 2**20}}),
    "an empty fixed, in an array": _with(
        {"type": {"type": "array", "items": {"type": "fixed", "name": "Nothing", "size": 0}}}
    ),
    "a decimal more": _with(
        {"type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}
    ),
    "a date more": _with({"type": {"type": "int", "logicalType": "date"}}),
    "a union of many more": _with({"type": ["null", "int", "string", "bytes", "double", "boolean"]}),
    "its fields reversed": lambda schema: schema["fields"].reverse(),
    "a field less": lambda schema: schema["fields"].pop(),
    "its first field less": lambda schema: schema["fields"].pop(0),
    "no field": _set(fields=[]),
    "another name": _set(name="MemoryStolen"),
    "another namespace": _set(namespace="soma.other"),
    "no namespace": _set(namespace=""),
    "an alias": _set(name="Renamed", aliases=["soma.memory.MemoryStored"]),
    "strings as bytes": _types("string", "bytes"),
    "doubles as longs": _types("double", "long"),
    "doubles as floats": _types("double", "float"),
    "strings in unions": _types("string", ["null", "string"]),
    "no logical types": _types({"type": "string", "logicalType": "uuid"}, "string"),
    "times in milliseconds": _types(
        {"type": "long", "logicalType": "timestamp-micros"},
        {"type": "long", "logicalType": "timestamp-millis"},
    ),
    "times as longs": _types({"type": "long", "logicalType": "timestamp-micros"}, "long"),
}


def _zigzag(number: int) -> bytes:
    number <<= 1
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def register(
    registry: str, prefix: str, released: Mapping[str, Schema], fields: Mapping[str, Any]
) -> tuple[dict[str, Written], list[Written], list[int]]:
    """Return the released schemas, others under subjects of their own, and ids that are of no event.

    Args:
        registry: URL of the Confluent-compatible API.
        prefix: Of the topics whose released schemas are registered, and of the new subjects.
        released: The newest schema of each record of the sinks.
        fields: Of a MemoryStored, whose body gets an odd end.
    """
    with httpx.Client(base_url=registry, trust_env=False, timeout=60) as client:
        own = {
            name: Written(
                "released", name, _latest(client, f"{prefix}memory.events-soma.memory.{name}"), schema
            )
            for name, schema in released.items()
        }
        others = list(_others(client, prefix, released, own["MemoryStored"].encode(fields)[5:]))
        notice = _latest(client, f"{prefix}memory.expiring-soma.memory.MemoryExpiring")
    return own, others, [notice, 0, 2**31 - 2, 2**31, 2**32 - 1]


def _others(
    client: httpx.Client, prefix: str, released: Mapping[str, Schema], body: bytes
) -> Iterator[Written]:
    def registered(what: str, record: str, schema: Any, raw: bytes | None = None) -> Iterator[Written]:
        subject = f"{prefix}fuzz-{what.replace(' ', '-')}-{record}"
        client.put(f"/config/{subject}", json={"compatibility": "NONE"}).raise_for_status()
        answer = client.post(f"/subjects/{subject}/versions", json={"schema": json.dumps(schema)})
        if answer.status_code == httpx.codes.OK:  # not every registry takes every one
            yield Written(what, record, answer.json()["id"], schema, raw)

    for record in ("MemoryStored", "MemoryDeleted"):
        for what, change in _CHANGES.items():
            schema = copy.deepcopy(released[record])
            change(schema)
            yield from registered(what, record, schema)
    stored = released["MemoryStored"]
    for what, field, tail in (
        ("a hundred thousand levels", {"type": ["null", _NODE]}, b"\x02" * 100_000 + b"\0"),
        (
            "two hundred million nulls",
            {"type": {"type": "array", "items": "null"}},
            _zigzag(200_000_000) + b"\0",
        ),
        ("two to the sixty nulls", {"type": {"type": "array", "items": "null"}}, _zigzag(2**60) + b"\0"),
        ("a string of two to the sixty bytes", {"type": "string"}, _zigzag(2**60)),
        ("a string of less than nothing", {"type": "string"}, b"\x03"),
    ):
        schema = copy.deepcopy(stored)
        _with(field)(schema)
        yield from registered(what, "MemoryStored", schema, body + tail)
    names = {"name": "MemoryStored", "namespace": "soma.memory"}
    yield from registered(
        "an enum of our name", "MemoryStored", {"type": "enum", **names, "symbols": ["A", "B"]}, b"\0"
    )
    yield from registered(
        "a fixed of our name", "MemoryStored", {"type": "fixed", **names, "size": 4}, b"abcd"
    )
    yield from registered("a string", "MemoryStored", "string", b"\x02a")
    yield from registered("an array of records", "MemoryStored", {"type": "array", "items": stored}, b"\0")
    yield from registered(
        "a union of records", "MemoryStored", [stored, released["MemoryDeleted"]], b"\0" + body
    )


def _latest(client: httpx.Client, subject: str) -> int:
    answer = client.get(f"/subjects/{subject}/versions/latest").raise_for_status()
    return int(answer.json()["id"])
