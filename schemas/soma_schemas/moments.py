"""Times as the log, the index and Avro count them: whole milliseconds or microseconds since 1970, exactly."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)


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
    """Return the time, in UTC, that a record's timestamp means.

    Raises:
        OverflowError: No datetime is so far away.
    """
    return EPOCH + timedelta(milliseconds=milliseconds)
