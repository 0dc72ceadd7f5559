"""The request headers that mean something here, as typed parameters of routes.

They are read strictly where guessing would be wrong; what `If-Match` or `Soma-Position` cannot be is refused
with `invalid_header`.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header
from pydantic import BeforeValidator, WithJsonSchema

from soma_api.problems import FieldError, InvalidHeaderError, Source
from soma_schemas.fields import broken
from soma_schemas.versions import NO_VERSION, VERSION_LIMIT, Position
from soma_schemas.violations import ViolationCode

# One preference: a token, perhaps a value, perhaps parameters, which `wait` does not have (RFC 7240).
_PREFERENCE = re.compile(r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^\s,;"]*))?""")
_WAIT_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_ENTITY_TAG = re.compile(r'"(\d{1,16})"', re.ASCII)
_DELTA_SECONDS = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)
_MAX_POSITIONS = 64


def _read_uuid(value: object) -> object:
    # Structured field strings come in quotes, and the header's draft has it as one.
    try:
        return UUID(str(value).strip().strip('"'))
    except ValueError:
        raise broken(ViolationCode.INVALID_VALUE, "is not a UUID; it becomes the event's id") from None


def _read_version(value: object) -> object:
    # A list, a weak tag and `*` are conditions that the log cannot decide.
    match = _ENTITY_TAG.fullmatch(str(value).strip())
    if match is None or int(match[1]) >= VERSION_LIMIT:
        raise broken(
            ViolationCode.INVALID_VALUE, "a write takes the one ETag that a read returned, in its quotes"
        )
    return int(match[1])


def _read_absence(value: object) -> object:
    if str(value).strip() != "*":
        raise broken(ViolationCode.INVALID_VALUE, "a write takes `If-None-Match: *` alone")
    return NO_VERSION


def _read_positions(values: object) -> object:
    # An empty header is refused too: whoever sent it meant to wait for something.
    texts = [text.strip() for value in _strings(values) for text in value.split(",")]
    if len(texts) > _MAX_POSITIONS:
        raise broken(
            ViolationCode.INVALID_VALUE, f"at most {_MAX_POSITIONS} positions are waited for at once"
        )
    try:
        return [Position.parse(text) for text in texts]
    except ValueError as error:
        raise broken(ViolationCode.INVALID_VALUE, str(error)) from None


def _read_seconds(value: object) -> object:
    if _DELTA_SECONDS.fullmatch(str(value).strip()) is None:
        raise broken(ViolationCode.INVALID_VALUE, "is not a number of seconds, such as `5` or `0.5`")
    return float(str(value))


def _strings(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, Sequence) else []


def _described(pattern: str | None, example: str) -> WithJsonSchema:
    """Return how a header's text looks, where its Python type does not say."""
    schema: dict[str, Any] = {"type": "string", "examples": [example]}
    return WithJsonSchema(schema if pattern is None else schema | {"pattern": pattern})


_VERSION_TAG = _described('^"[0-9]{1,15}"$', '"1099511628818"')
_WAIT = _described(None, "wait=5")  # what is not understood in it is ignored

IdempotencyKey = Annotated[
    UUID | None,
    BeforeValidator(_read_uuid),
    _described(
        "^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        "0198c5b0-6f1a-7c3e-9d42-1b2c3d4e5f60",
    ),
    Header(
        alias="Idempotency-Key",
        description="A UUID, used as the id of the event. Requests with the same key are applied once.",
    ),
]
IfMatch = Annotated[
    int | None,
    BeforeValidator(_read_version),
    _VERSION_TAG,
    Header(
        alias="If-Match",
        description="An ETag: write only if the memory has this version. If not, the response with "
        "`Prefer: wait` is 412.",
    ),
]
IfAbsent = Annotated[
    int | None,
    BeforeValidator(_read_absence),
    _described(r"^\*$", "*"),
    Header(alias="If-None-Match", description="`*`: write only if the memory does not exist."),
]
IfNoneMatch = Annotated[
    str | None,
    _VERSION_TAG,
    Header(alias="If-None-Match", description="An ETag: the response is 304 if the memory still has it."),
]
Positions = Annotated[
    list[Position] | None,
    BeforeValidator(_read_positions),
    _described("^[0-9]{1,3}:[0-9]{1,12}(, ?[0-9]{1,3}:[0-9]{1,12}){0,63}$", "3:1042"),
    Header(
        alias="Soma-Position",
        description="Wait until this position, or several separated by commas, is visible; if not, 503 "
        "`not_yet_visible`.",
    ),
]
MaxStaleness = Annotated[
    float | None,
    BeforeValidator(_read_seconds),
    _described(r"^[0-9]{1,6}(\.[0-9]{1,3})?$", "5"),
    Header(
        alias="Soma-Max-Staleness",
        description="Seconds: an answer that could be older is refused with 503 `too_stale`. Less than 0.5 "
        "is refused now and then also at rest; to see a certain write, send its `Soma-Position`.",
    ),
]
PreferOfWrite = Annotated[
    list[str] | None,
    _WAIT,
    Header(
        alias="Prefer",
        description="`wait=SECONDS`: answer when the write is readable and searchable, or when the time is "
        "over (RFC 7240).",
    ),
]
PreferOfRead = Annotated[
    list[str] | None,
    _WAIT,
    Header(alias="Prefer", description="`wait=SECONDS`: how long to wait for `Soma-Position` (RFC 7240)."),
]


def preferred_wait(values: Sequence[str] | None, longest: float) -> float | None:
    """Return how many seconds the client would wait for completion, or None.

    Args:
        values: Every `Prefer` header. What is not understood in them is ignored, as RFC 7240 demands; of
            several waits the first counts.
        longest: The most that this installation grants.
    """
    for value in values or ():
        for part in value.split(","):
            match = _PREFERENCE.match(part)
            if match is not None and match[1].lower() == "wait":
                seconds = (match[2] or "").strip('"')
                if _WAIT_SECONDS.fullmatch(seconds):
                    return min(float(seconds), longest)
                return None
    return None


def applied_wait(seconds: float) -> dict[str, str]:
    """Return the header that tells the client which wait it got."""
    return {"Preference-Applied": f"wait={seconds:g}"}


def entity_tag(version: int) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def expected_version(if_match: int | None, if_absent: int | None) -> int | None:
    """Return the version that a conditional write expects, or None when it is unconditional.

    Raises:
        InvalidHeaderError: Both headers are there.
    """
    if if_match is not None and if_absent is not None:
        raise _refused("If-Match", "`If-Match` and `If-None-Match` exclude each other")
    return if_absent if if_match is None else if_match


def both_expected(header: int | None, body: int | None) -> int | None:
    """Return the version that header and body expect together.

    Raises:
        InvalidHeaderError: They expect different ones.
    """
    if header is not None and body is not None and header != body:
        raise _refused("If-Match", "expects another version than `expected_version` in the body")
    return body if header is None else header


def is_unchanged(if_none_match: str | None, version: int) -> bool:
    """Say whether a reader already has this version (RFC 9110 section 13.1.2)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or entity_tag(version) in tags


def _refused(header: str, message: str) -> InvalidHeaderError:
    error = FieldError(
        source=Source.HEADER, path=f"/{header}", code=ViolationCode.INVALID_VALUE, message=message
    )
    return InvalidHeaderError(f"{header}: {message}", errors=[error])
