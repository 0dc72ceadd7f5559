"""Where a replayed event lay first, as its headers say."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from soma_schemas.dead_letters import REPLAY_EPOCH_HEADER, REPLAY_OFFSET_HEADER, REPLAY_TIMESTAMP_HEADER
from soma_schemas.moments import FIRST_LOGGED, LAST_LOGGED, of_millis
from soma_schemas.versions import pack_version


class FirstPlace(NamedTuple):
    """Where a replayed event lay first, and when the log received it there."""

    offset: int
    version: int
    logged_at: datetime


def is_replay(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Return whether a record with these headers is a dead letter that was published again."""
    return any(name == REPLAY_OFFSET_HEADER for name, _ in headers)


def first_place(headers: Iterable[tuple[str, bytes | None]]) -> FirstPlace | None:
    """Return where an event with these headers lay first; None when it is no replay.

    Raises:
        ValueError: The headers of the replay cannot be read, or name what cannot be.
    """
    found = dict(headers)
    if REPLAY_OFFSET_HEADER not in found:
        return None
    try:
        offset, epoch, milliseconds = (
            int(found[name] or b"")
            for name in (REPLAY_OFFSET_HEADER, REPLAY_EPOCH_HEADER, REPLAY_TIMESTAMP_HEADER)
        )
        place = FirstPlace(offset, pack_version(epoch, offset), of_millis(milliseconds))
    except (KeyError, OverflowError, ValueError) as error:
        raise ValueError("the headers of an earlier replay cannot be read") from error
    if not FIRST_LOGGED <= place.logged_at <= LAST_LOGGED:
        raise ValueError("the headers of an earlier replay name a time at which no log was there")
    return place
