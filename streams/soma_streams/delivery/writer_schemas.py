"""Decides from a writer schema alone whether values written under it may be read: pure, total, and bounded.

Anybody who may write to the topic may name any schema of the registry. A released version is read as it is.
Of others, one that resolves to ours by Avro's rules may be read when its values cannot cost more than their
bytes: it does not nest without end, and nothing in it is without bytes but null in a union. So what a decoder
makes of a value is bounded by the bytes that there are, and its depth by the schema.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import fastavro

from soma_schemas.avro_schemas import AVRO_NAMESPACE, AvroSchema, latest, record_names, released

_MOST_CHARACTERS = 64 * 1024
_MOST_TYPES = 1000  # counted wherever they are used, not only where they are named
_MOST_DEPTH = 16
_MOST_BRANCHES = 16
_MOST_FIXED_BYTES = 64 * 1024

_AVRO = "AVRO"
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
# The only ones that ours have. Others are ignored, as Avro allows, so that none can make reading costly.
_LOGICAL_TYPES = {"uuid": "string", "timestamp-micros": "long"}
_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
_RESERVED = _PRIMITIVES | {"array", "map", "record", "enum", "fixed", "union", "error", "request"}
_DEFINED = frozenset({"record", "enum", "fixed"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}").fullmatch
_OURS = frozenset(record_names())


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """A schema that events were written with.

    Attributes:
        record: The name of the record, without its namespace when that is ours; empty when it is no record.
        parsed: As fastavro wants it; None when values may not be read with it.
        version: The released version that it is; None when it is none.
        fault: Why values may not be read, in words; None when they may.
    """

    record: str
    parsed: Any
    version: int | None = None
    fault: str | None = None


class _RefusedError(Exception):
    """The schema may not be read with; becomes a fault within this module."""


def judged(text: str, kind: str | None = None, *, refers: bool = False) -> WriterSchema:
    """Return what a schema of the registry is. Never raises for what it holds.

    Args:
        text: The schema.
        kind: The registry's name for its language; None is Avro.
        refers: Whether it refers to other schemas of the registry.
    """
    record = ""
    try:
        schema = _json(text, kind, refers=refers)
        record = _record_name(schema)
        walk = _Walk()
        clean = walk.clean(schema, "", 0)
        version = _released_version(record, clean)
    except _RefusedError as error:
        return WriterSchema(record, None, fault=str(error))
    if version is None and record in _OURS and not walk.resolves(clean, latest(record).parsed()):
        return WriterSchema(record, None, fault="it does not resolve to ours by Avro's rules")
    return WriterSchema(record, fastavro.parse_schema(clean), version)


def _json(text: str, kind: str | None, *, refers: bool) -> Mapping[str, Any]:
    if kind not in {None, _AVRO}:
        raise _RefusedError("it is no Avro schema")
    if refers:
        raise _RefusedError("it refers to other schemas of the registry, and none is followed")
    if len(text) > _MOST_CHARACTERS:
        raise _RefusedError(f"it has more than {_MOST_CHARACTERS:,} characters")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise _RefusedError("it is no JSON") from None
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise _RefusedError("it is no record")
    return schema


def _record_name(schema: Mapping[str, Any]) -> str:
    name = _full_name(schema, "")
    space, _, short = name.rpartition(".")
    return short if space == AVRO_NAMESPACE else name


def _full_name(schema: Mapping[str, Any], space: str) -> str:
    name, space = schema.get("name"), schema.get("namespace", space)
    if not (isinstance(name, str) and isinstance(space, str)):
        raise _RefusedError("a name is missing or no text")
    full = name if "." in name or not space else f"{space}.{name}"
    if not all(map(_NAME, full.split("."))) or full in _RESERVED:
        raise _RefusedError("a name is none that Avro allows")
    return full


class _Walk:
    """Goes through a schema once, and leaves out what has no meaning for whoever reads."""

    def __init__(self) -> None:
        self._types = 0
        self._known: dict[str, tuple[int, int]] = {}  # of each name, its types and how deep they nest
        self._definitions: dict[str, dict[str, Any]] = {}
        self._open: set[str] = set()
        self._deepest = 0

    def clean(self, schema: Any, space: str, depth: int) -> Any:
        """Return the schema with types, names and our logical types alone.

        Raises:
            _RefusedError: It breaks a rule of Avro, or a bound.
        """
        self._count(1, depth)
        if isinstance(schema, str):
            return self._named(schema, space, depth)
        if isinstance(schema, list):
            return self._union(schema, space, depth)
        if not isinstance(schema, dict):
            raise _RefusedError("a type is neither a name nor a description")
        kind = schema.get("type")
        if not isinstance(kind, str):
            return self.clean(kind, space, depth + 1)
        match kind:
            case "array":
                return {"type": kind, "items": self._with_bytes(schema.get("items"), space, depth + 1)}
            case "map":
                return {"type": kind, "values": self._with_bytes(schema.get("values"), space, depth + 1)}
            case "record" | "enum" | "fixed":
                return self._defined(schema, kind, _full_name(schema, space), depth)
        base = self._named(kind, space, depth)
        logical = schema.get("logicalType")
        ours = isinstance(logical, str) and _LOGICAL_TYPES.get(logical) == base
        return {"type": base, "logicalType": logical} if ours else base

    def _count(self, types: int, deepest: int) -> None:
        self._types += types
        self._deepest = max(self._deepest, deepest)
        if self._types > _MOST_TYPES:
            raise _RefusedError(f"it is made of more than {_MOST_TYPES:,} types")
        if deepest > _MOST_DEPTH:
            raise _RefusedError(f"it nests deeper than {_MOST_DEPTH} types")

    def _named(self, name: str, space: str, depth: int) -> str:
        if name in _PRIMITIVES:
            return name
        full = name if "." in name or not space else f"{space}.{name}"
        if full in self._open:
            raise _RefusedError("a type contains itself")
        if full not in self._known:
            raise _RefusedError("a type has a name that nothing defines")
        types, height = self._known[full]
        self._count(types, depth + height)
        return full

    def _union(self, branches: list[Any], space: str, depth: int) -> list[Any]:
        if not 0 < len(branches) <= _MOST_BRANCHES:
            raise _RefusedError(f"a union has none or more than {_MOST_BRANCHES} branches")
        if any(isinstance(branch, list) for branch in branches):
            raise _RefusedError("a union lies directly in a union")
        cleaned = [
            branch if branch == "null" else self._with_bytes(branch, space, depth + 1) for branch in branches
        ]
        names = [_kind(branch) if _kind(branch) not in _DEFINED else branch["name"] for branch in cleaned]
        if len(set(names)) < len(names):
            raise _RefusedError("a union has a branch twice")
        return cleaned

    def _with_bytes(self, schema: Any, space: str, depth: int) -> Any:
        """Return a type that costs its reader no more than its bytes."""
        cleaned = self.clean(schema, space, depth)
        if cleaned == "null":
            raise _RefusedError("a type has no bytes, and so could come in any number")
        return cleaned

    def _defined(self, schema: Mapping[str, Any], kind: str, name: str, depth: int) -> dict[str, Any]:
        if name in self._known or name in self._open:
            raise _RefusedError("a name is defined twice")
        # What is counted from here on is what the name stands for wherever it is used.
        before, outer, self._deepest = self._types, self._deepest, depth
        self._open.add(name)
        described: dict[str, Any]
        match kind:
            case "record":
                described = {"fields": self._fields(schema.get("fields"), name.rpartition(".")[0], depth)}
            case "enum":
                described = {"symbols": _symbols(schema.get("symbols"))}
            case _:
                described = {"size": _size(schema.get("size"))}
        self._open.remove(name)
        self._known[name] = self._types - before, self._deepest - depth
        self._deepest = max(outer, self._deepest)
        self._definitions[name] = {"type": kind, "name": name, **described}
        return self._definitions[name]

    def _fields(self, fields: Any, space: str, depth: int) -> list[dict[str, Any]]:
        if not isinstance(fields, list) or not fields:
            raise _RefusedError("a record has no fields")
        if not all(isinstance(field, dict) and "type" in field for field in fields):
            raise _RefusedError("a field has no type")
        names = [field.get("name") for field in fields]
        _require_names(names)
        types = [self._with_bytes(field["type"], space, depth + 1) for field in fields]
        return [{"name": name, "type": type_} for name, type_ in zip(names, types, strict=True)]

    def resolves(self, writer: Any, reader: Any) -> bool:
        """Say whether a value of a cleaned type can be one of ours; whether it is one, the value shows."""
        if isinstance(writer, list):
            return any(self.resolves(branch, reader) for branch in writer)
        if isinstance(reader, list):
            return any(self.resolves(writer, branch) for branch in reader)
        writer = self._definitions.get(writer, writer) if isinstance(writer, str) else writer
        kind, wanted = _kind(writer), _kind(reader)
        match kind:
            case "record" if wanted == kind:
                return all(self._resolves_field(writer["fields"], field) for field in reader["fields"])
            case "array" if wanted == kind:
                return self.resolves(writer["items"], reader["items"])
            case "map" if wanted == kind:
                return self.resolves(writer["values"], reader["values"])
            case "enum" if wanted == kind:
                return _short_name(writer) == _short_name(reader)
            case "fixed" if wanted == kind:
                return (_short_name(writer), writer["size"]) == (_short_name(reader), reader["size"])
        # Read under another logical type, a number would be another time.
        same = _logical_type(writer) == _logical_type(reader)
        return same and (kind == wanted or wanted in _PROMOTIONS.get(kind, ()))

    def _resolves_field(self, written: list[dict[str, Any]], field: Mapping[str, Any]) -> bool:
        found = next((each for each in written if each["name"] == field["name"]), None)
        return "default" in field if found is None else self.resolves(found["type"], field["type"])


def _symbols(symbols: Any) -> list[str]:
    if not isinstance(symbols, list) or not symbols:
        raise _RefusedError("an enum has no symbols")
    _require_names(symbols)
    return symbols


def _require_names(names: list[Any]) -> None:
    if not all(isinstance(name, str) and _NAME(name) for name in names):
        raise _RefusedError("a name is none that Avro allows")
    if len(set(names)) < len(names):
        raise _RefusedError("a name is defined twice")


def _size(size: Any) -> int:
    if type(size) is not int or not 0 < size <= _MOST_FIXED_BYTES:
        raise _RefusedError(f"a fixed type has no bytes or more than {_MOST_FIXED_BYTES:,}")
    return size


def _kind(schema: Any) -> str:
    """Return the word for a type; a named type that was defined before is its name."""
    if isinstance(schema, list):
        return "union"
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


@cache
def _cleaned(schema: AvroSchema) -> Any:
    return _Walk().clean(schema.parsed(), "", 0)


def _released_version(record: str, clean: Any) -> int | None:
    if record not in _OURS:
        return None
    return next((each.version for each in released(record) if _cleaned(each) == clean), None)


def _short_name(schema: Mapping[str, Any]) -> str:
    return str(schema["name"]).rpartition(".")[2]


def _logical_type(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None
