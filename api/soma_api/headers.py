"""The request headers that mean something here, read strictly where guessing would be wrong."""

import re
from collections.abc import Sequence
from uuid import UUID

from soma_api.problems import Fault, InvalidHeaderError, Source
from soma_schemas.versions import NO_VERSION, VERSION_LIMIT, Position
from soma_schemas.violations import ViolationCode

# One preference: a token, perhaps a value, perhaps parameters, which `wait` does not have (RFC 7240).
_PREFERENCE = re.compile(r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^\s,;"]*))?""")
_WAIT_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_ENTITY_TAG = re.compile(r'"(\d{1,16})"', re.ASCII)
_DELTA_SECONDS = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)
_MAX_POSITIONS = 64


def preferred_wait(values: Sequence[str], longest: float) -> float | None:
    """Return how many seconds the client would wait for completion, or None.

    Args:
        values: Every `Prefer` header. What is not understood in them is ignored, as RFC 7240 demands; of
            several waits the first counts.
        longest: The most that this installation grants.
    """
    for value in values:
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


def expected_version(if_match: str | None, if_none_match: str | None) -> int | None:
    """Return the version that a conditional write expects, or None when it is unconditional.

    Raises:
        InvalidHeaderError: The condition cannot be decided by the log: a list, a weak tag, `If-Match: *`,
            or both headers.
    """
    if if_match is not None and if_none_match is not None:
        raise _refused("If-Match", "`If-Match` and `If-None-Match` exclude each other")
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise _refused("If-None-Match", "a write takes `If-None-Match: *` alone")
        return NO_VERSION
    if if_match is None:
        return None
    match = _ENTITY_TAG.fullmatch(if_match.strip())
    if match is None or int(match[1]) >= VERSION_LIMIT:
        raise _refused("If-Match", "a write takes the one ETag that a read returned, in its quotes")
    return int(match[1])


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


def idempotency_key(value: str | None) -> UUID | None:
    """Return the event id that the client chose.

    Raises:
        InvalidHeaderError: It is no UUID.
    """
    if value is None:
        return None
    try:
        # Structured field strings come in quotes, and the header's draft has it as one.
        return UUID(value.strip().strip('"'))
    except ValueError:
        raise _refused("Idempotency-Key", "is not a UUID; it becomes the event's id") from None


def positions(values: Sequence[str]) -> list[Position]:
    """Return the positions that a read asks for, from every `Soma-Position` header.

    Raises:
        InvalidHeaderError: One is not `partition:offset`, or there are too many.
    """
    # An empty header is refused too: whoever sent it meant to wait for something.
    texts = [text.strip() for value in values for text in value.split(",")]
    if len(texts) > _MAX_POSITIONS:
        raise _refused("Soma-Position", f"at most {_MAX_POSITIONS} positions are waited for at once")
    try:
        return [Position.parse(text) for text in texts]
    except ValueError as error:
        raise _refused("Soma-Position", str(error)) from None


def max_staleness(value: str | None) -> float | None:
    """Return how old an answer may be, in seconds.

    Raises:
        InvalidHeaderError: It is not a number of seconds.
    """
    if value is None:
        return None
    if _DELTA_SECONDS.fullmatch(value.strip()) is None:
        raise _refused("Soma-Max-Staleness", "is not a number of seconds, such as `5` or `0.5`")
    return float(value)


def _refused(header: str, message: str) -> InvalidHeaderError:
    fault = Fault(source=Source.HEADER, path=f"/{header}", code=ViolationCode.INVALID_VALUE, message=message)
    return InvalidHeaderError(f"{header}: {message}", faults=[fault])
