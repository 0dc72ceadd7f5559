"""The types that fields of events and of requests share, with their rules."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from soma_schemas.json_text import LARGEST_DOUBLE, JsonError, json_text, read_json, too_large
from soma_schemas.limits import DEFAULT_LIMITS, MAX_PAYLOAD_DEPTH, Limits
from soma_schemas.moments import of_rfc3339
from soma_schemas.namespaces import namespace_fault
from soma_schemas.violations import ViolationCode

_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
# What an embedding's numbers become, in events and in both stores: IEEE 754 single precision.
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127
_SMALLEST_FLOAT32 = 2.0**-149
_SURROGATE = re.compile("[\ud800-\udfff]")


class Kind(StrEnum):
    """What sort of memory it is: something that happened, or something that is known."""

    EPISODIC = "EPISODIC"
    SEMANTIC = "SEMANTIC"


def broken(code: ViolationCode, message: str) -> PydanticCustomError:
    """Return the error that a validator raises, carrying one of our codes."""
    return PydanticCustomError(code.value, "{reason}", {"reason": message})


def limits_of(info: ValidationInfo) -> Limits:
    """Return the limits that the caller of `model_validate` handed in as context."""
    context = info.context
    if isinstance(context, dict) and isinstance(limits := context.get("limits"), Limits):
        return limits
    return DEFAULT_LIMITS


def _storable(text: str) -> str:
    # PostgreSQL's text holds no NUL, and a lone surrogate has no UTF-8.
    if "\0" in text:
        raise broken(ViolationCode.INVALID_CHARACTER, "holds a NUL character")
    if not text.isascii() and _SURROGATE.search(text):
        raise broken(ViolationCode.INVALID_CHARACTER, "holds half a surrogate pair")
    return text


def _at_most_characters(limit: str) -> Callable[[str, ValidationInfo], str]:
    def check(text: str, info: ValidationInfo) -> str:
        most = getattr(limits_of(info), limit)
        if len(text) > most:
            raise broken(ViolationCode.TOO_LONG, f"has {len(text)} characters, at most {most} are allowed")
        return text

    return check


def _at_most_items(limit: str) -> Callable[[list[Any], ValidationInfo], list[Any]]:
    def check(items: list[Any], info: ValidationInfo) -> list[Any]:
        most = getattr(limits_of(info), limit)
        if len(items) > most:
            raise broken(ViolationCode.TOO_MANY, f"has {len(items)} items, at most {most} are allowed")
        return items

    return check


def _text_within_limit(text: str, info: ValidationInfo) -> str:
    most = limits_of(info).text_bytes
    size = len(text) if text.isascii() else len(text.encode())
    if size > most:
        raise broken(ViolationCode.TOO_LONG, f"has {size} bytes, at most {most} are allowed")
    return text


def _tenant(tenant: str) -> str:
    if _TENANT.fullmatch(tenant) is None:
        raise broken(
            ViolationCode.INVALID_TENANT,
            "a tenant is 1 to 63 of a-z, 0-9, dot, underscore and hyphen, beginning with a letter or digit",
        )
    return tenant


def _namespace(namespace: str) -> str:
    if (fault := namespace_fault(namespace)) is not None:
        raise broken(ViolationCode.INVALID_NAMESPACE, fault)
    return namespace


def _moment(value: object) -> datetime:
    # pydantic would take a number, also one in quotes, for seconds or milliseconds since 1970.
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise broken(ViolationCode.WRONG_TYPE, "is not a string that holds a time")
    try:
        return of_rfc3339(value)
    except ValueError as error:
        raise broken(ViolationCode.INVALID_TIME, str(error)) from None
    except OverflowError:
        raise _beyond_years() from None


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise _beyond_years() from None


def _beyond_years() -> PydanticCustomError:
    return broken(ViolationCode.OUT_OF_RANGE, "lies before year 1 or after year 9999 in UTC")


def _has_direction(embedding: list[float]) -> list[float]:
    if all(abs(number) < _SMALLEST_FLOAT32 for number in embedding):
        raise broken(ViolationCode.INVALID_VALUE, "is all zeros in single precision, which has no direction")
    return embedding


def check_json_object(value: object) -> None:
    """Refuse what is not a JSON object that both stores can hold.

    Raises:
        PydanticCustomError: It is no object, nests too deep, or holds a number or a character that the
            stores cannot keep.
    """
    if not isinstance(value, dict):
        raise broken(ViolationCode.WRONG_TYPE, "is not a JSON object")
    # A JSON text of n bytes has fewer than n values, so the size limit bounds this walk.
    pending: list[tuple[object, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_PAYLOAD_DEPTH and isinstance(item, dict | list):
            raise broken(ViolationCode.TOO_DEEP, f"nests deeper than {MAX_PAYLOAD_DEPTH} levels")
        match item:
            case str():
                _storable(item)
            case float():
                if not math.isfinite(item):
                    raise broken(ViolationCode.NOT_FINITE, "holds a number that is not finite")
            case int():
                if not -LARGEST_DOUBLE <= item <= LARGEST_DOUBLE:
                    raise broken(ViolationCode.NOT_FINITE, str(too_large()))
            case dict():
                for name, child in item.items():
                    _storable(name)
                    pending.append((child, depth + 1))
            case list():
                pending.extend((child, depth + 1) for child in item)


def json_object(text: str) -> str:
    """Return the text of a JSON object that both stores can hold, with its numbers as they are kept.

    Raises:
        PydanticCustomError: As `check_json_object` does, or it is no JSON.
    """
    try:
        read = read_json(text)
    except JsonError as error:
        raise broken(error.code, str(error)) from None
    check_json_object(read.value)
    return json_text(read.value) if read.respelled else text


def _within_payload_limit(text: str, info: ValidationInfo) -> str:
    size, most = len(text.encode(errors="surrogatepass")), limits_of(info).payload_bytes
    if size > most:
        raise broken(ViolationCode.TOO_LONG, f"has {size} bytes, at most {most} are allowed")
    return text


def _payload(text: str, info: ValidationInfo) -> str:
    return _within_payload_limit(json_object(_within_payload_limit(text, info)), info)


StorableString = Annotated[str, Field(strict=True), AfterValidator(_storable)]

Tenant = Annotated[str, Field(strict=True), AfterValidator(_tenant)]
Namespace = Annotated[str, Field(strict=True), AfterValidator(_namespace)]
Key = Annotated[StorableString, Field(min_length=1), AfterValidator(_at_most_characters("key_characters"))]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Coordinate = Annotated[
    list[Finite], Field(min_length=1), AfterValidator(_at_most_items("coordinate_dimensions"))
]
Text = Annotated[StorableString, Field(min_length=1), AfterValidator(_text_within_limit)]
Payload = Annotated[str, Field(strict=True), AfterValidator(_payload)]
Tag = Annotated[StorableString, Field(min_length=1), AfterValidator(_at_most_characters("tag_characters"))]
Tags = Annotated[list[Tag], AfterValidator(_at_most_items("tags"))]
Importance = Annotated[Finite, Field(ge=0.0, le=1.0)]
Embedding = Annotated[
    list[Annotated[Finite, Field(ge=-_LARGEST_FLOAT32, le=_LARGEST_FLOAT32)]],
    Field(min_length=1),
    AfterValidator(_at_most_items("embedding_dimensions")),
    AfterValidator(_has_direction),
]
Name = Annotated[StorableString, Field(min_length=1), AfterValidator(_at_most_characters("name_characters"))]
Moment = Annotated[
    AwareDatetime,
    Field(description="RFC 3339 with an offset; kept in UTC, to the microsecond."),
    BeforeValidator(_moment),
    AfterValidator(_utc),
]
ExpectedVersion = Annotated[int, Field(strict=True, ge=0, lt=2**53)]
Weight = Annotated[Finite, Field(ge=0.0)]
