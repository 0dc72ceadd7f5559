"""What an index says of itself: which log it holds, and how far. Kept in the index, so it is lost with it.

Three kinds of points without vectors, which no reader meets because they have no `within`: a header, which is
written once for each epoch and says which log the rest is of; the progress of each partition; and how far a
fill from the records has come. The last two are named after the header's instance: what a worker writes that
does not know of a new index says nothing about it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from soma_schemas.vectors.payload import VERSION
from soma_schemas.vectors.points import Point
from soma_schemas.versions import pack_version, unpack_version

HEADER_ID = UUID("5e1f0000-0000-4000-8000-000000000001")

_INSTANCE = "instance"
_TOPIC_ID = "topic_id"
_EPOCH = "epoch"
_FROM_RECORDS = "from_records"
_FILLED = "filled"
_TOTAL = "total"
_AFTER_TENANT = "after_tenant"
_AFTER_MEMORY = "after_memory_id"
_TAIL = "tail"
_DONE = "done"


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which log an index holds.

    Attributes:
        topic_id: The brokers' own id of the topic: one that is made anew has another.
        epoch: Of the versions.
    """

    topic_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Header:
    """What an index was begun for.

    Attributes:
        instance: Its own id; an index that is made anew has another.
        log: Which log it holds.
        from_records: Whether it was begun from the records in PostgreSQL, because the log has not everything.
    """

    instance: UUID
    log: LogIdentity
    from_records: bool

    def point(self) -> Point:
        """Return the point that says so. Of each epoch the first one stays, whoever writes another."""
        payload = {
            VERSION: self.log.epoch,
            _INSTANCE: str(self.instance),
            _TOPIC_ID: self.log.topic_id,
            _EPOCH: self.log.epoch,
            _FROM_RECORDS: self.from_records,
        }
        return _point(HEADER_ID, payload)

    def progress_id(self, partition: int) -> UUID:
        """Return the id of the point that tells a partition's progress."""
        return uuid5(self.instance, f"partition {partition}")

    def progress_point(self, partition: int, next_offset: int) -> Point:
        """Return the point that says: everything of the partition below this offset is in the index."""
        version = pack_version(self.log.epoch, next_offset)
        return _point(self.progress_id(partition), {VERSION: version})

    @property
    def fill_id(self) -> UUID:
        """The id of the point that tells how far the fill from the records has come."""
        return uuid5(self.instance, "fill")


@dataclass(frozen=True, slots=True)
class Fill:
    """How far a fill from the records has come.

    Attributes:
        filled: Memories and tombstones that are in.
        total: How many there were when it began.
        after: The key of the last one, in the order of the keys.
        tail: Where reading the log begins afterwards, by partition.
        done: Whether all are in.
    """

    filled: int
    total: int
    after: tuple[str, UUID]
    tail: Mapping[int, int]
    done: bool = False

    def point(self, header: Header) -> Point:
        """Return the point that says so."""
        tenant, memory_id = self.after
        payload = {
            # Rises with every page, and once more at the end.
            VERSION: self.filled + 1 + self.done,
            _FILLED: self.filled,
            _TOTAL: self.total,
            _AFTER_TENANT: tenant,
            _AFTER_MEMORY: str(memory_id),
            _TAIL: {str(partition): offset for partition, offset in self.tail.items()},
            _DONE: self.done,
        }
        return _point(header.fill_id, payload)


@dataclass(frozen=True, slots=True)
class Held:
    """What an index holds, by its own account.

    Attributes:
        progress: The next offset of each partition of which it has something.
        fill: Of a fill from the records that has begun.
    """

    header: Header
    progress: Mapping[int, int]
    fill: Fill | None

    @property
    def unfilled(self) -> bool:
        """Whether the records are not all in, on which everything else is built."""
        return self.header.from_records and (self.fill is None or not self.fill.done)


def ids_of(header: Header, partitions: Iterable[int]) -> list[UUID]:
    """Return the ids of all points in which an index speaks of itself."""
    return [HEADER_ID, header.fill_id, *map(header.progress_id, partitions)]


def header_of(payloads: Mapping[UUID, Mapping[str, Any]]) -> Header | None:
    """Return the header among these payloads, or None when the index has none."""
    found = payloads.get(HEADER_ID)
    if found is None:
        return None
    log = LogIdentity(found[_TOPIC_ID], int(found[_EPOCH]))
    return Header(UUID(found[_INSTANCE]), log, bool(found[_FROM_RECORDS]))


def held_of(
    header: Header, payloads: Mapping[UUID, Mapping[str, Any]], partitions: Iterable[int]
) -> Held | None:
    """Return what the payloads of `ids_of` say, or None when they are of an index with another header."""
    if header_of(payloads) != header:
        return None
    places = {partition: header.progress_id(partition) for partition in partitions}
    return Held(
        header,
        {
            partition: unpack_version(payloads[place][VERSION])[1]
            for partition, place in places.items()
            if place in payloads
        },
        _fill_of(payloads.get(header.fill_id)),
    )


def _fill_of(payload: Mapping[str, Any] | None) -> Fill | None:
    if payload is None:
        return None
    return Fill(
        filled=int(payload[_FILLED]),
        total=int(payload[_TOTAL]),
        after=(payload[_AFTER_TENANT], UUID(payload[_AFTER_MEMORY])),
        tail={int(partition): int(offset) for partition, offset in payload[_TAIL].items()},
        done=bool(payload[_DONE]),
    )


def _point(point_id: UUID, payload: Mapping[str, Any]) -> Point:
    return Point(point_id, payload[VERSION], payload, dense=None, sparse=None)
