"""What the native extension is told of stored memories, where it is installed: the fields and their rules.

The extension says of an event that it is sound, or that the Avro library and the model have to look at it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import AfterValidator

from soma_schemas.events import MemoryStored
from soma_schemas.fields import (
    AtMostCharacters,
    Coordinate,
    Embedding,
    ExpectedVersion,
    Importance,
    Kind,
    Moment,
    Namespace,
    Payload,
    Tags,
    Tenant,
    Text,
)
from soma_schemas.identity import MEMORY_NAMESPACE
from soma_schemas.limits import (
    MAX_NAMESPACE_BYTES,
    MAX_NAMESPACE_SEGMENTS,
    MAX_PAYLOAD_DEPTH,
    MAX_SEGMENT_CHARACTERS,
    Limits,
)
from soma_schemas.moments import micros
from soma_schemas.versions import VERSION_LIMIT

try:
    # Both: an extension that is older is none.
    from soma_native import Reader, Writer
except ImportError as error:
    # Everything works without it; a worker says so when it begins.
    ABSENCE = str(error)
else:
    ABSENCE = ""

# A word and its bounds, as the extension knows them.
Rule = tuple[Any, ...]


class NativeField(NamedTuple):
    """A field of the model.

    Attributes:
        avro: The type that it is read of and written as, as `label` has it.
        nullable: Whether that is in a union with null.
    """

    name: str
    avro: str
    rule: Rule
    nullable: bool

    @property
    def label(self) -> str:
        """Return the whole type in one word."""
        return f"null|{self.avro}" if self.nullable else self.avro


def native_fields(limits: Limits) -> Sequence[NativeField]:
    """Return the fields of a stored memory, in the order of the model.

    Args:
        limits: How large an event may be.
    """
    hints = get_type_hints(MemoryStored, include_extras=True)
    return [_field(name, hints[name], limits) for name in MemoryStored.model_fields]


def native_reader(fields: Sequence[NativeField]) -> "Reader":
    """Return the extension's reader of records with these fields; only where it is installed."""
    return Reader([(each.name, each.rule, each.nullable) for each in fields], MEMORY_NAMESPACE.bytes)


def native_writer(fields: Sequence[NativeField], schema: Sequence[str], given: Sequence[str]) -> "Writer":
    """Return the extension's writer of events with these fields; only where it is installed.

    Args:
        fields: All of them.
        schema: The names of those that are written, in their order.
        given: The names of those that it is given, in their order.
    """
    places = {each.name: place for place, each in enumerate(fields)}
    reader = native_reader(fields)
    return reader.writer([places[name] for name in schema], given, UUID, datetime, micros, list(Kind))


def label(schema: Any) -> str:
    """Return an Avro type in one word, such as `null|array<double>`; equal words are read equally."""
    if isinstance(schema, list):
        return "|".join(map(label, schema))
    if isinstance(schema, Mapping):
        match schema["type"]:
            case "array":
                return f"array<{label(schema['items'])}>"
            case "enum":
                return f"enum<{','.join(schema['symbols'])}>"
            case kind:
                return str(schema.get("logicalType", label(kind)))
    return str(schema)


def _rules(limits: Limits) -> Sequence[tuple[object, str, Rule]]:
    """Return the types of the model's fields: each with the Avro type that it is read of, and its rule.

    Those that are short texts say their bound themselves.
    """
    path = (MAX_NAMESPACE_SEGMENTS, MAX_SEGMENT_CHARACTERS, MAX_NAMESPACE_BYTES)
    kinds = [kind.value for kind in Kind]
    return (
        (UUID, "uuid", ("uuid",)),
        (Tenant, "string", ("tenant",)),
        (Namespace, "string", ("namespace", *path)),
        (Moment, "timestamp-micros", ("moment",)),
        (Text, "string", ("bytes", limits.text_bytes)),
        (Payload, "string", ("json", limits.payload_bytes, MAX_PAYLOAD_DEPTH)),
        (Tags, "array<string>", ("texts", limits.tags, limits.tag_characters)),
        (Coordinate, "array<double>", ("doubles", limits.coordinate_dimensions)),
        (Embedding, "array<float>", ("floats", limits.embedding_dimensions)),
        (Importance, "double", ("share",)),
        (Kind, f"enum<{','.join(kinds)}>", ("symbol", kinds)),
        (ExpectedVersion, "long", ("below", VERSION_LIMIT)),
    )


def _field(name: str, hint: Any, limits: Limits) -> NativeField:
    nullable = get_origin(hint) is UnionType or NoneType in get_args(hint)
    wanted = next(each for each in get_args(hint) if each is not NoneType) if nullable else hint
    for each in get_args(wanted):
        if isinstance(each, AfterValidator) and isinstance(each.func, AtMostCharacters):
            return NativeField(name, "string", ("characters", each.func.most(limits)), nullable)
    avro, rule = next((avro, rule) for known, avro, rule in _rules(limits) if known == wanted)
    return NativeField(name, avro, rule, nullable)
