"""When a group will have caught up, and how long until retention deletes what it has not read: pure."""

from typing import NamedTuple

from soma_streams.lag.rules import Trail


class Retention(NamedTuple):
    """How a topic is cleaned up.

    Attributes:
        seconds: Older records are deleted; None keeps them whatever their age.
        by_size: Whether the oldest are deleted where there are too many bytes.
    """

    seconds: float | None
    by_size: bool


def catch_up_seconds(trail: Trail) -> float | None:
    """Return in how many seconds the lag is gone if all goes on as of late; None when it does not shrink."""
    latest, anchor = trail.latest, trail.anchor
    if not trail.lag:
        return 0.0
    shrunk, took = anchor.lag - trail.lag, latest.at - anchor.at
    # What was deleted unread, or jumped over by a reset to the log's start, was not read.
    if shrunk <= 0 or took <= 0 or latest.start > anchor.position:
        return None
    return trail.lag * took / shrunk


def headroom_records(trail: Trail) -> int:
    """Return how many offsets retention can delete before it comes to what the group has not read."""
    return trail.position - trail.latest.start


def headroom_seconds(trail: Trail, lag_seconds: float | None, retention: Retention) -> float | None:
    """Return in how many seconds retention may delete what the group has not read, at the earliest.

    Kafka deletes whole segments, so it is usually later. What is deleted because there are too many bytes
    goes as new records come: that is reckoned from their pace of late.

    Args:
        trail: Of the group in the partition.
        lag_seconds: The age of the oldest record that it has not read; None when nobody knows.
        retention: Of the topic.

    Returns:
        None when nothing will be deleted, or nobody knows when.
    """
    by_age = None
    if retention.seconds is not None and lag_seconds is not None:
        by_age = max(0.0, retention.seconds - lag_seconds)
    if not retention.by_size:
        return by_age
    written, took = trail.latest.end - trail.anchor.end, trail.latest.at - trail.anchor.at
    if written <= 0 or took <= 0:
        return by_age
    by_size = headroom_records(trail) * took / written
    return by_size if by_age is None else min(by_age, by_size)
