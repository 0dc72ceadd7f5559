"""Values on a command line that are more than words: coordinates, JSON, durations, moments."""

import re
from datetime import datetime, timedelta

from soma_cli.failures import UsageError
from soma_schemas.json_text import JsonError, number_of, read_json
from soma_schemas.moments import of_rfc3339

_EXAMPLES = {"payload": """'{"channel": "chat"}'""", "filter": """'{"importance": {"gte": 0.5}}'"""}
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(f"([0-9]{{1,12}})([{''.join(_SECONDS)}])", re.ASCII)


def coordinate_of(text: str) -> list[float]:
    """Read numbers joined by commas.

    Raises:
        UsageError: One is no number.
    """
    try:
        return [float(number_of(number)) for number in text.split(",")]
    except JsonError:
        raise UsageError(f"`{text}` is not a coordinate", remedy="join numbers by commas: `1,2.5`") from None


def json_object_of(what: str, text: str) -> dict[str, object]:
    """Read a JSON object.

    Args:
        what: It is.
        text: That holds it.

    Raises:
        UsageError: It is none.
    """
    try:
        value = read_json(text).value
    except JsonError as error:
        raise UsageError(f"the {what} {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"the {what} is not a JSON object", remedy=f"write it as {_EXAMPLES[what]}")
    return value


def seconds_of(option: str, text: str) -> int:
    """Read a duration, such as `30d`, `12h`, `15m` or `90s`, as seconds.

    Raises:
        UsageError: It is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} is not a duration", remedy="write it as `30d`, `12h`, `15m` or `90s`")
    return int(match[1]) * _SECONDS[match[2]]


def spelled_seconds(seconds: int) -> str:
    """Return a duration as `seconds_of` reads it, in the largest unit that leaves no rest."""
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def moment_of(option: str, text: str) -> datetime:
    """Read a moment as RFC 3339 has it, in UTC.

    Raises:
        UsageError: It is none.
    """
    try:
        return of_rfc3339(text)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} is not a time", remedy="write it as `2026-03-02T09:15:00Z`") from None


def spelled_moment_of(option: str, text: str | None) -> str | None:
    """Read a moment as `moment_of` does, and return it as the API takes it; nothing for nothing.

    Raises:
        UsageError: It is none.
    """
    return None if text is None else moment_of(option, text).isoformat()


def moment_or_ago(option: str, text: str | None, now: datetime) -> datetime | None:
    """Read a moment, or how long ago it was, such as `2h`; nothing for nothing.

    Raises:
        UsageError: It is neither.
    """
    if text is not None and _DURATION.fullmatch(text) is not None:
        try:
            return now - timedelta(seconds=seconds_of(option, text))
        except OverflowError:
            raise UsageError(f"{option} lies before the year 1") from None
    return None if text is None else moment_of(option, text)
