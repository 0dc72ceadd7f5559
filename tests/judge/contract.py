"""Which records are events: the contract of section 5 of the design, written down once more."""

import io
import json
import math
import re
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import unquote
from uuid import NAMESPACE_URL, UUID, uuid5

import fastavro

from judge.log import FIRST_LOGGED, Place, Record, of_millis

SINK_EVENTS = (
    "MemoryStored",
    "MemoryPatched",
    "MemoryDeleted",
    "MemoryExpired",
    "MemoryLinked",
    "MemoryUnlinked",
    "MemoryAccessed",
)
PATCHABLE = ("kind", "text", "payload", "tags", "importance", "embedding", "subject", "source", "expires_at")
_CLEARABLE = ("embedding", "subject", "source", "expires_at")
_MEMORIES = uuid5(NAMESPACE_URL, "https://somafractalmemory.example/memory")
_REPLAYED = tuple(f"x-replay-{name}" for name in ("offset", "epoch", "timestamp"))


class Limits(NamedTuple):
    """How large an event may be."""

    text_bytes: int = 64 * 1024
    payload_bytes: int = 256 * 1024
    tags: int = 64
    tag_characters: int = 128
    coordinate_dimensions: int = 16
    key_characters: int = 512
    embedding_dimensions: int = 4096
    name_characters: int = 256


class Event(NamedTuple):
    """An event in its place.

    Attributes:
        kind: The name of its record.
        version: What orders it among the events of its memory.
        origin: The partition where it lay first.
        logged_at: When the log received it first.
        replayed: Whether it is a dead letter that was published again.
    """

    place: Place
    kind: str
    fields: Mapping[str, Any]
    version: int
    origin: int
    logged_at: datetime
    replayed: bool


class OneOf(frozenset[str]):
    """Codes of which one is told: equal to each."""

    def __eq__(self, other: object) -> bool:
        return other in self if isinstance(other, str) else super().__eq__(other)

    __hash__ = frozenset.__hash__


class Poison(NamedTuple):
    """A record that can never be applied, and what may be told as the reason."""

    place: Place
    codes: OneOf


def poison(record: Record, *codes: str) -> Poison:
    """Return what a record is that can never be applied."""
    return Poison(record.place, OneOf(codes))


def version_of(epoch: int, offset: int) -> int:
    """Return the version that a place gives."""
    return epoch * 2**40 + offset


def point_id(tenant: str, memory_id: UUID) -> UUID:
    """Return the id of a memory's point."""
    return uuid5(memory_id, tenant)


def read(record: Record, writer: Any, reader: Any, epoch: int, limits: Limits) -> Event | Poison:
    """Return what a record is.

    Args:
        record: Its value names a schema.
        writer: That schema, of an event of the sinks.
        reader: The newest released schema of the same record.
        epoch: Of the topic.
        limits: How large an event may be.
    """
    value = record.value or b""
    body = io.BytesIO(value[5:])
    try:
        fields: Any = fastavro.schemaless_reader(body, writer, reader)
    except Exception:  # noqa: BLE001  # whatever a decoder says of bytes, they are not of the schema
        return poison(record, "avro")
    if body.tell() != len(value) - 5:
        return poison(record, "trailing_bytes")
    kind = reader["name"]
    broken = set(_violations(kind, fields, limits))
    if broken:
        return poison(record, *broken)
    if record.key != f"{fields['tenant']}/{fields['memory_id']}".encode():
        return poison(record, "key_mismatch")
    own = version_of(epoch, record.place[1])
    headers = dict(record.headers)
    if _REPLAYED[0] not in headers:
        return Event(record.place, kind, fields, own, record.place[0], record.logged_at, replayed=False)
    try:
        offset, first_epoch, milliseconds = (int(headers[name] or b"") for name in _REPLAYED)
        logged_at = of_millis(milliseconds)
    except (KeyError, ValueError, OverflowError):
        return poison(record, "replay_headers")
    version = version_of(first_epoch, offset)
    if not (1 <= first_epoch < 2**13 and 0 <= offset < 2**40 and version < own):
        return poison(record, "replay_headers")
    if not FIRST_LOGGED <= logged_at <= record.logged_at:
        return poison(record, "replay_headers")
    return Event(record.place, kind, fields, version, record.place[0], logged_at, replayed=True)


def json_tree(text: str) -> Any:
    """Return JSON with its numbers as what they are worth, told apart from all else.

    An integer is worth itself, any other number the double nearest to it (ADR 31). One that is not kept is
    told by its name.
    """

    def number(literal: str) -> tuple[str, Decimal | str]:
        value, nearest = Decimal(literal), float(Decimal(literal))
        if not math.isfinite(nearest):
            return "no", "not_finite"
        if value and not nearest:
            return "no", "out_of_range"
        return "number", value if literal.lstrip("-").isdigit() else Decimal(repr(nearest))

    return json.loads(
        text, parse_float=number, parse_int=number, parse_constant=lambda _: ("no", "not_finite")
    )


def plain_tree(tree: Any) -> Any:
    """Return a tree with its numbers as Python has them."""
    match tree:
        case dict():
            return {name: plain_tree(value) for name, value in tree.items()}
        case list():
            return [plain_tree(value) for value in tree]
        case ("number", Decimal() as number):
            return int(number) if number.as_tuple().exponent == 0 else float(number)
        case _:
            return tree


def _violations(kind: str, fields: Mapping[str, Any], limits: Limits) -> Iterator[str]:
    """Tell the code of each rule that an event breaks."""
    yield from _texts(fields, limits)
    for name, many in (
        ("coordinate", limits.coordinate_dimensions),
        ("embedding", limits.embedding_dimensions),
    ):
        if (numbers := fields.get(name)) is not None:
            yield from _numbers(numbers, many)
    if (embedding := fields.get("embedding")) is not None and not any(embedding):
        yield "invalid_value"
    if (fields.get("embedding") is None) != (fields.get("embedding_model") is None):
        yield "missing_field"
    for name, least, most in (
        ("importance", 0.0, 1.0),
        ("weight", 0.0, math.inf),
        ("expected_version", 0, 2**53 - 1),
        ("count", 1, 2**31 - 1),
    ):
        if (number := fields.get(name)) is not None:
            yield from _within(number, least, most)
    if kind == "MemoryStored":
        yield from _identity(fields)
    if kind == "MemoryPatched":
        yield from _patch(fields)


def _texts(fields: Mapping[str, Any], limits: Limits) -> Iterator[str]:
    if re.fullmatch("[a-z0-9][a-z0-9._-]{0,62}", fields["tenant"]) is None:
        yield "invalid_tenant"
    if not _is_path(fields["namespace"]):
        yield "invalid_namespace"
    names = ("actor", "subject", "embedding_model", "link_type")
    yield from _strings([fields.get(name) for name in names], limits.name_characters)
    yield from _strings([fields.get("key")], limits.key_characters)
    yield from _strings([fields.get("source")], 2048)
    yield from _strings(fields.get("tags") or (), limits.tag_characters)
    if len(fields.get("tags") or ()) > limits.tags:
        yield "too_many"
    if (text := fields.get("text")) is not None:
        yield from _strings([text], limits.text_bytes, len(text.encode()))
    if (payload := fields.get("payload")) is not None:
        yield from _json_object(payload, limits.payload_bytes)


def _strings(texts: Any, most: int, size: int | None = None) -> Iterator[str]:
    for text in texts:
        if text == "":
            yield "empty"
        if text is not None and "\0" in text:
            yield "invalid_character"
        if text is not None and (len(text) if size is None else size) > most:
            yield "too_long"


def _numbers(numbers: list[float], most: int) -> Iterator[str]:
    if not numbers:
        yield "empty"
    if len(numbers) > most:
        yield "too_many"
    if not all(map(math.isfinite, numbers)):
        yield from ("not_finite", "out_of_range")


def _within(number: float, least: float, most: float) -> Iterator[str]:
    if not math.isfinite(number):
        yield "not_finite"
    if not least <= number <= most:
        yield "out_of_range"


def _is_path(namespace: str) -> bool:
    segments = namespace.split("/")
    return (
        len(namespace.encode()) <= 2500
        and len(segments) <= 16
        and all(1 <= len(unquote(segment)) <= 128 for segment in segments)
        and all(hexes in ("25", "2F") for hexes in re.findall("%(.{0,2})", namespace, re.DOTALL))
        and not any(unicodedata.category(character) == "Cc" for character in unquote(namespace))
    )


def _json_object(text: str, most: int) -> Iterator[str]:
    if len(text.encode()) > most:
        yield "too_long"
    try:
        tree = json_tree(text)
    except RecursionError:
        yield "too_deep"
        return
    except ValueError:
        yield "not_json"
        return
    if not isinstance(tree, dict):
        yield "wrong_type"
    waiting = [(tree, 1)]
    while waiting:
        item, depth = waiting.pop()
        match item:
            case dict():
                waiting += [(each, depth + 1) for pair in item.items() for each in pair]
            case list():
                waiting += [(each, depth + 1) for each in item]
            case str() if "\0" in item or any("\ud800" <= character <= "\udfff" for character in item):
                yield "invalid_character"
            case ("no", str() as reason):
                yield reason
        if depth > 64 and isinstance(item, dict | list):
            yield "too_deep"


def _identity(fields: Mapping[str, Any]) -> Iterator[str]:
    key, coordinate = fields["key"], fields["coordinate"]
    if key is not None and coordinate is not None:
        yield "key_and_coordinate"
    if key is not None:
        name = ("key", key)
    elif coordinate is not None:
        name = ("coordinate", ",".join(struct.pack(">d", number + 0.0).hex() for number in coordinate))
    else:
        return
    if uuid5(_MEMORIES, "\x1f".join((fields["tenant"], fields["namespace"], *name))) != fields["memory_id"]:
        yield "identity_mismatch"


def _patch(fields: Mapping[str, Any]) -> Iterator[str]:
    named = fields["fields"]
    if not named:
        yield "empty"
    if not set(named) <= set(PATCHABLE):
        yield "invalid_value"
    if len(set(named)) != len(named):
        yield "invalid_patch"
    for name in PATCHABLE:
        given = fields[name] is not None
        if (given and name not in named) or (name in named and not given and name not in _CLEARABLE):
            yield "invalid_patch"
