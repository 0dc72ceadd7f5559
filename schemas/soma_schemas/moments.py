"""Times as they are written, and as the log, the index and Avro count them: exactly."""

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)

# When the log can have received a record: the tables have no months before and after.
FIRST_LOGGED = datetime(2000, 1, 1, tzinfo=UTC)
LAST_LOGGED = datetime(2200, 1, 1, tzinfo=UTC) - _MILLISECOND

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII | re.IGNORECASE,
)


def of_rfc3339(text: str) -> datetime:
    """Return the time that RFC 3339 writes so, to the microsecond; what is finer is cut off.

    Taken are `T` and `Z` in either case, seconds always, and up to nine digits of a fraction. A leap second
    is refused: no clock here can hold it.

    Raises:
        ValueError: It is none.
        OverflowError: It lies before year 1 or after year 9999 in UTC.
    """
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError("is not a time with an offset as RFC 3339 has it, like 2026-03-02T09:15:00Z")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("is a time that the calendar of years 1 to 9999 does not have") from None
    return moment.astimezone(UTC)


def micros(moment: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def of_micros(microseconds: int) -> datetime:
    """Return the time that `micros` was given, in UTC.

    Raises:
        OverflowError: No datetime is so far away.
    """
    return EPOCH + timedelta(microseconds=microseconds)


def millis(moment: datetime) -> int:
    """Return a time as milliseconds since 1970, as brokers stamp records; what is finer is cut off."""
    return (moment - EPOCH) // _MILLISECOND


def of_millis(milliseconds: int) -> datetime:
    """Return the time, in UTC, that milliseconds since 1970 mean.

    Raises:
        OverflowError: No datetime is so far away.
    """
    return EPOCH + timedelta(milliseconds=milliseconds)


def of_timestamp(milliseconds: int) -> datetime:
    """Return when the log received a record, in UTC, by the record's timestamp.

    A clock that was wrong by decades gives the nearest time that can be.
    """
    return of_millis(min(max(milliseconds, _FIRST_MILLIS), _LAST_MILLIS))


_FIRST_MILLIS, _LAST_MILLIS = millis(FIRST_LOGGED), millis(LAST_LOGGED)
