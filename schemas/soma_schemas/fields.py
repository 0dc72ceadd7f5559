"""The types that fields of events and of requests share, with their rules."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from soma_schemas.json_text import LARGEST_DOUBLE, JsonError, json_text, read_json, too_large
from soma_schemas.limits import DEFAULT_LIMITS, MAX_PAYLOAD_DEPTH, Limits
from soma_schemas.moments import of_rfc3339
from soma_schemas.namespaces import namespace_fault
from soma_schemas.violations import WITHIN, ViolationCode, place_within

# Under this name the context of a validation has what `written_json` has just returned: not checked again.
WRITTEN = "written"
# Most events of a process are of few tenants and namespaces. What is refused is not kept.
_SOUND_NAMES = 1024
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
# What an embedding's numbers become, in events and in both stores: IEEE 754 single precision.
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127
_SMALLEST_FLOAT32 = 2.0**-149
# A tuple: a union would be made anew for every value that is looked at.
_HOLDERS = (dict, list, tuple)
# What contains itself nests too deep, and is refused before.
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Kind(StrEnum):
    """What sort of memory it is: something that happened, or something that is known."""

    EPISODIC = "EPISODIC"
    SEMANTIC = "SEMANTIC"


def broken(code: ViolationCode, message: str, within: str = "") -> PydanticCustomError:
    """Return the error that a validator raises, carrying one of our codes.

    Args:
        code: What is wrong.
        message: The same in words.
        within: Where in the field, as a JSON pointer; empty for the whole.
    """
    return PydanticCustomError(code.value, "{reason}", {"reason": message, WITHIN: within})


def limits_of(info: ValidationInfo) -> Limits:
    """Return the limits that the caller of `model_validate` handed in as context."""
    context: Mapping[str, Limits] | None = info.context
    return DEFAULT_LIMITS if context is None else context["limits"]


def _unstorable(text: str) -> str | None:
    """Say what a text holds that the stores cannot keep."""
    # PostgreSQL's text holds no NUL, and a lone surrogate has no UTF-8.
    if "\0" in text:
        return "holds a NUL character"
    if not text.isascii() and _SURROGATE.search(text):
        return "holds half a surrogate pair"
    return None


def _storable(text: str) -> str:
    if (fault := _unstorable(text)) is not None:
        raise broken(ViolationCode.INVALID_CHARACTER, fault)
    return text


@dataclass(frozen=True)
class AtMostCharacters:
    """Refuses a text that stores cannot keep, or that is too long.

    Attributes:
        limit: So many characters, or the name of one of the `Limits`.
    """

    limit: int | str

    def __call__(self, text: str, info: ValidationInfo) -> str:
        """Return the text.

        Raises:
            PydanticCustomError: It is refused.
        """
        most = self.most(limits_of(info))
        if len(_storable(text)) > most:
            raise broken(ViolationCode.TOO_LONG, f"has {len(text)} characters, at most {most} are allowed")
        return text

    def most(self, limits: Limits) -> int:
        """Return how many characters a text may have."""
        return self.limit if isinstance(self.limit, int) else int(getattr(limits, self.limit))


def _at_most_items(limit: str) -> Callable[[list[Any], ValidationInfo], list[Any]]:
    def check(items: list[Any], info: ValidationInfo) -> list[Any]:
        most = getattr(limits_of(info), limit)
        if len(items) > most:
            raise broken(ViolationCode.TOO_MANY, f"has {len(items)} items, at most {most} are allowed")
        return items

    return check


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _storable_text(text: str, info: ValidationInfo) -> str:
    size, most = _utf8_bytes(_storable(text)), limits_of(info).text_bytes
    if size > most:
        raise broken(ViolationCode.TOO_LONG, f"has {size} bytes, at most {most} are allowed")
    return text


@lru_cache(_SOUND_NAMES)
def _tenant(tenant: str) -> str:
    if _TENANT.fullmatch(tenant) is None:
        raise broken(
            ViolationCode.INVALID_TENANT,
            "a tenant is 1 to 63 of a-z, 0-9, dot, underscore and hyphen, beginning with a letter or digit",
        )
    return tenant


@lru_cache(_SOUND_NAMES)
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


class _Unkept(Exception):  # noqa: N818  # never leaves this module
    """What the stores cannot keep.

    Attributes:
        parts: Where it lies, from the inside out.
    """

    def __init__(self, code: ViolationCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.parts: list[int | str] = []


def check_json_object(value: object) -> None:
    """Refuse what is not a JSON object that both stores can hold.

    Raises:
        PydanticCustomError: It is no object, nests too deep, or holds a key or a value that is not JSON's or
            that the stores cannot keep; it says where.
    """
    if not isinstance(value, dict):
        raise broken(ViolationCode.WRONG_TYPE, "is not a JSON object")
    try:
        _require_kept(value, 1)
    except _Unkept as fault:
        raise broken(fault.code, str(fault), place_within(reversed(fault.parts))) from None


def _require_kept(holder: dict[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> None:
    if depth > MAX_PAYLOAD_DEPTH:
        raise _Unkept(ViolationCode.TOO_DEEP, f"nests deeper than {MAX_PAYLOAD_DEPTH} levels")
    items: Iterable[tuple[int | str, Any]]
    if isinstance(holder, dict):
        # A fault of a key lies in its object: what such a key is like cannot be shown.
        for key in holder:
            if not isinstance(key, str):
                raise _Unkept(ViolationCode.WRONG_TYPE, "has a key that is not a string")
            _require_kept_text(key, "has a key that ")
        items = holder.items()
    else:
        items = enumerate(holder)
    for part, item in items:
        try:
            if isinstance(item, str):
                _require_kept_text(item)
            elif isinstance(item, _HOLDERS):
                _require_kept(item, depth + 1)
            elif item is not None:
                _require_kept_number(item)
        except _Unkept as unkept:
            unkept.parts.append(part)
            raise


def _require_kept_text(text: str, beginning: str = "") -> None:
    if (fault := _unstorable(text)) is not None:
        raise _Unkept(ViolationCode.INVALID_CHARACTER, beginning + fault)


def _require_kept_number(item: object) -> None:
    if isinstance(item, float):
        if not math.isfinite(item):
            raise _Unkept(ViolationCode.NOT_FINITE, "holds a number that is not finite")
    elif not isinstance(item, int):
        raise _Unkept(ViolationCode.WRONG_TYPE, "holds a value that JSON does not have")
    elif not -LARGEST_DOUBLE <= item <= LARGEST_DOUBLE:
        raise _Unkept(ViolationCode.NOT_FINITE, str(too_large()))


def json_object(text: str) -> str:
    """Return the text of a JSON object that both stores can hold, with its numbers as they are kept.

    Raises:
        PydanticCustomError: As `check_json_object` does, or it is no JSON.
    """
    try:
        read = read_json(text)
    except JsonError as error:
        raise broken(error.code, str(error), error.within) from None
    check_json_object(read.value)
    return json_text(read.value) if read.respelled else text


def written_json(value: object) -> str:
    """Return a JSON object that both stores can hold as text.

    Raises:
        PydanticCustomError: As of `check_json_object`.
    """
    # Checked first: what writes JSON makes strings of numbers that are keys.
    check_json_object(value)
    return _ENCODER.encode(value)


def _within_payload_limit(text: str, info: ValidationInfo) -> str:
    size, most = _utf8_bytes(text), limits_of(info).payload_bytes
    if size > most:
        raise broken(ViolationCode.TOO_LONG, f"has {size} bytes, at most {most} are allowed")
    return text


def _payload(text: str, info: ValidationInfo) -> str:
    _within_payload_limit(text, info)
    context: Mapping[str, object] | None = info.context
    if context is not None and context.get(WRITTEN) is text:
        return text
    kept = json_object(text)
    return text if kept is text else _within_payload_limit(kept, info)


StorableString = Annotated[str, Field(strict=True), AfterValidator(_storable)]

Tenant = Annotated[str, Field(strict=True), AfterValidator(_tenant)]
Namespace = Annotated[str, Field(strict=True), AfterValidator(_namespace)]
Key = Annotated[
    str, Field(strict=True), AfterValidator(AtMostCharacters("key_characters")), Field(min_length=1)
]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Coordinate = Annotated[
    list[Finite], Field(min_length=1), AfterValidator(_at_most_items("coordinate_dimensions"))
]
Text = Annotated[str, Field(strict=True), AfterValidator(_storable_text), Field(min_length=1)]
Payload = Annotated[str, Field(strict=True), AfterValidator(_payload)]
Tag = Annotated[
    str, Field(strict=True), AfterValidator(AtMostCharacters("tag_characters")), Field(min_length=1)
]
Tags = Annotated[list[Tag], AfterValidator(_at_most_items("tags"))]
Importance = Annotated[Finite, Field(ge=0.0, le=1.0)]
Embedding = Annotated[
    list[Annotated[Finite, Field(ge=-_LARGEST_FLOAT32, le=_LARGEST_FLOAT32)]],
    Field(min_length=1),
    AfterValidator(_at_most_items("embedding_dimensions")),
    AfterValidator(_has_direction),
]
Name = Annotated[
    str, Field(strict=True), AfterValidator(AtMostCharacters("name_characters")), Field(min_length=1)
]
Source = Annotated[str, Field(strict=True), AfterValidator(AtMostCharacters(2048)), Field(min_length=1)]
Moment = Annotated[
    AwareDatetime,
    Field(description="RFC 3339 with an offset; kept in UTC, to the microsecond."),
    BeforeValidator(_moment),
    AfterValidator(_utc),
]
ExpectedVersion = Annotated[int, Field(strict=True, ge=0, lt=2**53)]
Weight = Annotated[Finite, Field(ge=0.0)]
