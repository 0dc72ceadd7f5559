"""The meaning of a payload filter, the same in lists and in searches."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from soma_schemas.fields import broken
from soma_schemas.vectors.terms import MAX_FILTERABLE_DEPTH, MAX_FILTERABLE_FIELDS, Scalar, name_parts
from soma_schemas.violations import ViolationCode

MAX_COMPARED: Final = 64

MEANING: Final = (
    "Fields of the payload, and the string, number, boolean or null that each must have; all of them. "
    "A list in a payload has each of its strings, numbers, booleans and nulls; lists and objects in it count "
    "for nothing. Objects may nest, and a dot in a name means the same as an object: "
    '`{"a": {"b": 1}}` and `{"a.b": 1}` ask for one field, and find it in payloads written either way. '
    "Numbers are equal when their decimal values are: 1 is 1.0, and 1e30 is 1 with thirty zeros."
)
SEARCHED: Final = (
    f" A search looks at the first {MAX_FILTERABLE_FIELDS} fields of a payload, and at the first "
    f"{MAX_FILTERABLE_FIELDS} values of a list in it; a list of memories looks at all."
)


def compared(payload: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the fields that a filter compares, by names joined with dots.

    Raises:
        PydanticCustomError: A field is compared with something other than one value, or twice, its name has
            too many parts, or there are too many fields.
    """
    fields: dict[str, Scalar] = {}
    for name, value in _fields("", payload):
        if name_parts(name) > MAX_FILTERABLE_DEPTH:
            raise broken(
                ViolationCode.TOO_DEEP,
                f"`payload` names a field by more than {MAX_FILTERABLE_DEPTH} parts between dots and objects",
            )
        if name in fields:
            raise broken(ViolationCode.INVALID_VALUE, "`payload` compares one field twice")
        if len(fields) == MAX_COMPARED:
            raise broken(ViolationCode.TOO_MANY, f"`payload` compares more than {MAX_COMPARED} fields")
        fields[name] = value
    return fields


def _fields(above: str, payload: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    for name, value in payload.items():
        match value:
            case dict() if value:
                yield from _fields(f"{above}{name}.", value)
            case dict() | list():
                raise broken(
                    ViolationCode.WRONG_TYPE,
                    "`payload` compares fields with single values, not with lists or empty objects",
                )
            case _:
                yield above + name, value
