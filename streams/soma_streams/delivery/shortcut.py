"""Reads and checks a plain MemoryStored at a fraction of what the Avro library and the model take together.

The model is the one source of the rules. The shortcut gives an event only where it is certain that the
model would give that very event, and leaves everything else to the model, above all what is wrong: so a
refusal keeps its code. Properties hold the two to each other.
"""

import re
import struct
from hashlib import sha1
from math import isfinite
from typing import Any
from uuid import UUID, SafeUUID

import orjson
from pydantic import TypeAdapter

from soma_schemas.events import MemoryStored
from soma_schemas.fields import Kind, Name, Namespace, Tag, Tenant
from soma_schemas.identity import MEMORY_NAMESPACE, memory_id_for_coordinate
from soma_schemas.json_text import CERTAIN_CHARACTERS
from soma_schemas.limits import MAX_PAYLOAD_DEPTH, Limits
from soma_schemas.moments import of_micros
from soma_streams.delivery.wire import Program, label, program_for

# The fields, and the types for which the checks below are made; a schema with others gets no shortcut.
_TYPES = {
    "event_id": "uuid",
    "tenant": "string",
    "occurred_at": "timestamp-micros",
    "actor": "string",
    "namespace": "string",
    "memory_id": "uuid",
    "key": "null|string",
    "coordinate": "null|array<double>",
    "kind": "enum<EPISODIC,SEMANTIC>",
    "text": "string",
    "payload": "string",
    "tags": "array<string>",
    "importance": "double",
    "embedding": "null|array<float>",
    "embedding_model": "null|string",
    "subject": "null|string",
    "expires_at": "null|timestamp-micros",
    "expected_version": "null|long",
}
_FIELDS = set(_TYPES)
_BODY = 5  # where it begins, behind magic and schema id
_KINDS = {kind.value: kind for kind in Kind}
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_SAFETY = SafeUUID.unknown
# What uuid5 makes of a hash.
_OTHER_BITS = ~(0xF << 76 | 0b11 << 62)
_VERSION_5 = 5 << 76 | 0b10 << 62
_IDENTITY = sha1(MEMORY_NAMESPACE.bytes, usedforsecurity=False)
# What could be a number that is not kept as it is written, or not at all: see `soma_schemas.json_text`.
# Three searches that begin with a set of characters are faster than one with a choice; the second is rare.
_EXPONENT = re.compile(rb"[0-9][eE][-+0-9]").search
_NUMBER_WITH_EXPONENT = re.compile(rb"[:\[,\s]-?[0-9.]+[eE]").search
_LONG_NUMBER = CERTAIN_CHARACTERS + 1
_LONG_NUMBERS = re.compile(rb"[0-9.]{%d,}" % _LONG_NUMBER).findall
_LONGEST_SURE_INTEGER = 300
_VERSION_LIMIT = 2**53
_REMEMBERED = 10_000

_new = object.__new__
_set = object.__setattr__


class _UncertainError(Exception):
    """The model has to look at it."""


class Repeated(dict[bytes, str]):
    """Texts that were checked by the model's own rule for their type, each checked once and held once."""

    def __init__(self, rule: Any, limits: Limits) -> None:
        super().__init__()
        self._rule: TypeAdapter[str] = TypeAdapter(rule)
        self._context = {"limits": limits}

    def __missing__(self, raw: bytes) -> str:
        # A violation is a ValueError, and so the end of the shortcut for this event.
        text = self._rule.validate_python(raw.decode(), context=self._context)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[raw] = text
        return text


class RepeatedTexts:
    """The texts of which many events have the same few.

    Args:
        limits: How large each may be.
    """

    def __init__(self, limits: Limits) -> None:
        self.tenants = Repeated(Tenant, limits)
        self.namespaces = Repeated(Namespace, limits)
        self.actors = Repeated(Name, limits)
        self.tags = Repeated(Tag, limits)
        self.models = Repeated(Name, limits)


def is_plain_schema(schema: object) -> bool:
    """Say whether a schema, as fastavro parses it, is the MemoryStored that the checks are made for."""
    return (
        isinstance(schema, dict)
        and {each["name"]: label(each["type"]) for each in schema["fields"]} == _TYPES
    )


class Shortcut:
    """Turns values of one writer schema into events.

    Args:
        program: Takes a value apart.
        limits: How large an event may be.
    """

    def __init__(self, program: Program, limits: Limits) -> None:
        self._program = program
        self._limits = limits
        repeated = RepeatedTexts(limits)
        self._tenants, self._namespaces = repeated.tenants, repeated.namespaces
        self._actors, self._tags, self._models = repeated.actors, repeated.tags, repeated.models

    @classmethod
    def of(cls, schema: object, limits: Limits) -> "Shortcut | None":
        """Return the shortcut for a writer schema of MemoryStored as fastavro parses it, or None."""
        if not isinstance(schema, dict) or not is_plain_schema(schema):
            return None
        program = program_for(schema, list(_TYPES))
        return cls(program, limits) if program is not None else None

    def read(self, value: bytes, key: bytes | None) -> MemoryStored | None:
        """Return the event of a record, or None when the Avro library and the model have to look at it.

        Args:
            value: In wire format, under this schema's id.
            key: The record's key.
        """
        try:
            return self._read(value, key)
        except (_UncertainError, ValueError, LookupError, OverflowError, struct.error):
            return None

    def _read(self, value: bytes, key: bytes | None) -> MemoryStored:
        (
            event_id, tenant, occurred_at, actor, namespace, memory_id, name, coordinate, kind, text, payload,
            tags, importance, embedding, embedding_model, subject, expires_at, expected_version,
        ) = self._program(value, _BODY)  # fmt: skip
        limits = self._limits
        identity = _uuid(memory_id)
        if (
            key != b"%b/%b" % (tenant, memory_id)
            or (embedding is None) != (embedding_model is None)
            or not 0.0 <= importance <= 1.0
            or not 0 < len(text) <= limits.text_bytes
            or b"\0" in text
            or len(tags) > limits.tags
            or not (expected_version is None or 0 <= expected_version < _VERSION_LIMIT)
        ):
            raise _UncertainError
        if name is not None:
            # The hash without its beginning, as `memory_id_for_key` has it.
            hashed = _IDENTITY.copy()
            hashed.update(b"%b\x1f%b\x1fkey\x1f%b" % (tenant, namespace, name))
            digest = int.from_bytes(hashed.digest()[:16])
            if digest & _OTHER_BITS | _VERSION_5 != identity.int:
                raise _UncertainError
        # A finite sum has finite parts; finite parts with a sum too large for a double are for the model.
        if coordinate is not None and (
            name is not None
            or not 0 < len(coordinate) <= limits.coordinate_dimensions
            or not isfinite(sum(coordinate))
            or memory_id_for_coordinate(self._tenants[tenant], self._namespaces[namespace], coordinate)
            != identity
        ):
            raise _UncertainError
        if embedding is not None and (
            not 0 < len(embedding) <= limits.embedding_dimensions
            or not isfinite(sum(embedding))
            or not any(embedding)
        ):
            raise _UncertainError
        if payload != b"{}":
            _check_payload(payload, limits)
        event = _new(MemoryStored)
        _set(
            event,
            "__dict__",
            {
                "event_id": _uuid(event_id),
                "tenant": self._tenants[tenant],
                "occurred_at": of_micros(occurred_at),
                "actor": self._actors[actor],
                "namespace": self._namespaces[namespace],
                "memory_id": identity,
                "key": _text(name, limits.key_characters) if name is not None else None,
                "coordinate": list(coordinate) if coordinate is not None else None,
                "kind": _KINDS[kind],
                "text": text.decode(),
                "payload": payload.decode(),
                "tags": [self._tags[tag] for tag in tags],
                "importance": importance,
                "embedding": list(embedding) if embedding is not None else None,
                "embedding_model": self._models[embedding_model] if embedding_model is not None else None,
                "subject": _text(subject, limits.name_characters) if subject is not None else None,
                "expires_at": of_micros(expires_at) if expires_at is not None else None,
                "expected_version": expected_version,
            },
        )
        # As the model leaves an instance. The set is shared: nobody changes that of a frozen instance.
        _set(event, "__pydantic_fields_set__", _FIELDS)
        _set(event, "__pydantic_extra__", None)
        _set(event, "__pydantic_private__", None)
        return event


def _uuid(text: bytes) -> UUID:
    """Return an id in its one spelling, at a quarter of what `UUID` takes."""
    if _UUID(text) is None:
        raise _UncertainError
    made = _new(UUID)
    _set(made, "int", int(text.replace(b"-", b""), 16))
    _set(made, "is_safe", _SAFETY)
    return made


def _text(raw: bytes, most: int) -> str:
    # Bytes are never fewer than characters, and decoding refuses halves of surrogate pairs.
    if not 0 < len(raw) <= most or b"\0" in raw:
        raise _UncertainError
    return raw.decode()


def _check_payload(payload: bytes, limits: Limits) -> None:
    if (
        len(payload) > limits.payload_bytes
        or payload.count(b"{") + payload.count(b"[") > MAX_PAYLOAD_DEPTH
        or may_surprise(payload)
        or type(orjson.loads(payload)) is not dict
    ):
        raise _UncertainError


def may_surprise(payload: bytes) -> bool:
    """Say whether JSON may hold what the model looks at more closely."""
    return (
        b"\\u" in payload  # may be a NUL, or half a surrogate pair
        or (_EXPONENT(payload) is not None and _NUMBER_WITH_EXPONENT(payload) is not None)
        or any(map(_is_odd, _LONG_NUMBERS(payload)))
    )


def _is_odd(number: bytes) -> bool:
    if number.isdigit():
        return len(number) > _LONGEST_SURE_INTEGER
    try:
        return repr(float(number)).encode() != number
    except ValueError:
        return True  # dots of something else, within a string
