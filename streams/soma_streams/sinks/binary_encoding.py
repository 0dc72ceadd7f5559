"""Packs rows as PostgreSQL takes them in binary: an array of a row type, as one parameter of a statement.

A program is written for each row type once. It takes half of the time of an adapter that looks at every value
to find out what it is; here the row type has said so. Built-in types have the same numbers on every server.
"""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import UnionType
from typing import Annotated, Any, LiteralString, NamedTuple, get_args, get_origin, get_type_hints
from uuid import UUID

from psycopg.adapt import Dumper
from psycopg.errors import NumericValueOutOfRange
from psycopg.postgres import types
from psycopg.pq import Format

_ARRAY = struct.Struct(">iiIii")  # dimensions, whether nulls, element type, length, lower bound
_EMPTY_ARRAY = struct.Struct(">iiI")
_LENGTH = struct.Struct(">i").pack
_HEAD = struct.Struct(">Ii").pack  # type and length of a field
_UUID_BYTES = 16
_SHORT = 256  # lengths below are not packed anew each time
_LENGTHS = tuple(_LENGTH(length) for length in range(_SHORT))
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECONDS_A_SECOND = 1_000_000
_SECONDS_A_DAY = 86_400

# Types of one size: how `struct` calls them, and what gives it the value.
_FIXED = {
    "uuid": ("16s", 16, "{0}.int.to_bytes(16)"),
    "bigint": ("q", 8, "{0}"),
    "boolean": ("?", 1, "{0}"),
    "double precision": ("d", 8, "{0}"),
    "timestamptz": ("q", 8, "microseconds({0})"),
}
# The others: what gives their bytes.
_VARIABLE = {
    "text": "{0}.encode()",
    "jsonb": "json({0})",
    "text[]": "texts({0})",
    "uuid[]": "uuids({0})",
    "double precision[]": "doubles({0})",
    "real[]": "reals({0})",
}

EncodeRows = Callable[[Sequence[tuple[Any, ...]]], bytes]


class Encoded(NamedTuple):
    """A parameter in binary. The statement's cast says of what type it is."""

    data: bytes


class Elements(NamedTuple):
    """Rows that are packed already, one after the other."""

    data: bytes
    rows: int


NO_ELEMENTS = Elements(b"", 0)


class EncodedDumper(Dumper):
    """Sends what is packed as it is."""

    format = Format.BINARY

    def dump(self, obj: Encoded) -> bytes:
        """Return the parameter."""
        return obj.data


def row_encoder(row: type[tuple[Any, ...]]) -> EncodeRows:
    """Return what packs rows of a named tuple whose fields are annotated with types of the database.

    It returns the elements alone; `encode_rows` makes a parameter of them.

    Raises:
        KeyError: A field has a type that nobody packs here.
    """
    fields = [database_type(hint) for hint in get_type_hints(row, include_extras=True).values()]
    names = [f"f{number}" for number in range(len(fields))]
    constants: dict[str, Any] = {
        "head": _HEAD, "length": _LENGTH, "microseconds": _microseconds, "json": _json, "texts": _texts,
        "uuids": _uuids, "doubles": _doubles, "reals": _reals, "count": _LENGTH(len(fields)),
    }  # fmt: skip
    lines = ["def pack(rows):", " out = []", f" for {', '.join(names)}, in rows:", "  parts = [count]"]
    numbers = iter(range(len(fields)))
    for number in numbers:
        name, (kind, optional) = names[number], fields[number]
        oid = type_number(kind)
        if kind in _VARIABLE:
            constants[f"heads{number}"] = tuple(_HEAD(oid, length) for length in range(_SHORT))
            found = [
                f"b = {_VARIABLE[kind].format(name)}",
                "n = len(b)",
                f"parts += heads{number}[n] if n < {_SHORT} else head({oid}, n), b",
            ]
        else:
            run = [number]
            while not optional and run[-1] + 1 < len(fields) and _is_plain(fields[run[-1] + 1]):
                run.append(next(numbers))
            constants[f"run{number}"] = struct.Struct(
                ">" + "".join(f"Ii{_FIXED[fields[each][0]][0]}" for each in run)
            ).pack
            given = ", ".join(_given(names[each], fields[each][0]) for each in run)
            found = [f"parts.append(run{number}({given}))"]
        if optional:
            constants[f"null{number}"] = _HEAD(oid, -1)
            found = [
                f"if {name} is None: parts.append(null{number})",
                "else:",
                *(f" {line}" for line in found),
            ]
        lines += [f"  {line}" for line in found]
    lines += ["  row = b''.join(parts)", "  out += length(len(row)), row", " return b''.join(out)"]
    exec("\n".join(lines), constants)  # noqa: S102  # our own text: of a row type it holds numbers alone
    made: EncodeRows = constants["pack"]
    return made


def encode_rows(
    pack: EncodeRows, rows: Sequence[tuple[Any, ...]], row_oid: int, more: Elements = NO_ELEMENTS
) -> Encoded:
    """Return rows as a parameter.

    Args:
        pack: Made by `row_encoder` for their type.
        rows: The rows.
        row_oid: The number of the row type in the session that gets the parameter.
        more: Rows of the same type that come first.

    Raises:
        NumericValueOutOfRange: A number is too large for its column.
    """
    return Encoded(_array_head(row_oid, more.rows + len(rows)) + more.data + encode_elements(pack, rows))


def encode_elements(pack: EncodeRows, rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Return rows as `Elements` have them.

    Raises:
        NumericValueOutOfRange: A number is too large for its column.
    """
    try:
        return pack(rows)
    except struct.error as error:
        raise NumericValueOutOfRange("a number is too large for its column") from error


def encode_texts(values: Sequence[str]) -> Encoded:
    """Return a parameter of type text[]."""
    return Encoded(_texts(values))


def encode_uuids(values: Sequence[UUID]) -> Encoded:
    """Return a parameter of type uuid[]."""
    return Encoded(_uuids(values))


def database_type(hint: Any) -> tuple[LiteralString, bool]:
    """Return the database's type of an annotated field, and whether it can be null."""
    if get_origin(hint) is Annotated:
        return hint.__metadata__[0], False
    if isinstance(hint, UnionType) or get_origin(hint) is not None:
        return next(database_type(each)[0] for each in get_args(hint) if each is not type(None)), True
    raise KeyError(hint)


def _is_plain(field: tuple[str, bool]) -> bool:
    kind, optional = field
    return kind in _FIXED and not optional


def _given(name: str, kind: str) -> str:
    _, size, value = _FIXED[kind]
    return f"{type_number(kind)}, {size}, {value.format(name)}"


def type_number(kind: str) -> int:
    """Return the number of a built-in type."""
    if kind.endswith("[]"):
        return types[kind.removesuffix("[]")].array_oid
    return types[kind].oid


def _array_head(element: int, length: int) -> bytes:
    return _ARRAY.pack(1, 0, element, length, 1) if length else _EMPTY_ARRAY.pack(0, 0, element)


def _microseconds(moment: datetime) -> int:
    since = moment - _POSTGRES_EPOCH
    return (since.days * _SECONDS_A_DAY + since.seconds) * _MICROSECONDS_A_SECOND + since.microseconds


def _json(text: str | bytes) -> bytes:
    """Return JSON that is text already, without parsing it here."""
    return b"\x01" + (text if isinstance(text, bytes) else text.encode())


_TEXT = types["text"].oid
_UUID = types["uuid"].oid
_DOUBLE = types["float8"].oid
_REAL = types["float4"].oid


def _texts(values: Sequence[str]) -> bytes:
    parts = [_array_head(_TEXT, len(values))]
    for value in values:
        raw = value.encode()
        parts += _LENGTHS[len(raw)] if len(raw) < _SHORT else _LENGTH(len(raw)), raw
    return b"".join(parts)


def _uuids(values: Sequence[UUID]) -> bytes:
    size = _LENGTH(_UUID_BYTES)
    return _array_head(_UUID, len(values)) + b"".join([size + each.int.to_bytes(16) for each in values])


def _doubles(values: Sequence[float]) -> bytes:
    return _array_head(_DOUBLE, len(values)) + _numbers("d", 8, values)


def _reals(values: Sequence[float]) -> bytes:
    # What is too small for single precision becomes zero, as it does in the vector engine.
    try:
        return _array_head(_REAL, len(values)) + _numbers("f", 4, values)
    except OverflowError as error:
        raise NumericValueOutOfRange("an embedding holds a number beyond single precision") from error


def _numbers(code: str, size: int, values: Sequence[float]) -> bytes:
    sized = [size] * (2 * len(values))
    sized[1::2] = values  # type: ignore[assignment]  # numbers either way
    return struct.pack(f">{f'i{code}' * len(values)}", *sized)
