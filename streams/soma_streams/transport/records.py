"""What an agent gets: records as the log holds them, in micro-batches of one partition."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class TopicPartition(NamedTuple):
    """A partition's name; equal to the named tuples that Faust and aiokafka use for it."""

    topic: str
    partition: int


class TimestampType(IntEnum):
    """Who stamped a record."""

    CREATE_TIME = 0
    LOG_APPEND_TIME = 1


class Unreadable(bytes):
    """Stands for a value that was not read: too large, or in a batch that cannot be taken apart."""

    __slots__ = ()


class Record(NamedTuple):
    """One record, undecoded.

    Attributes:
        offset: Its place in the partition.
        timestamp_ms: Milliseconds since the epoch, by the producer's or the broker's clock.
        timestamp_type: Whose clock that was.
        key: The key's bytes, or None.
        value: The value's bytes, or None (a tombstone), or `Unreadable`: then there are no headers, and the
            key only where it could be read.
        headers: Names and values in the order in which they were sent; a name may repeat. Bytes of a name
            that are no UTF-8 are halves of surrogate pairs (`surrogateescape`).
    """

    offset: int
    timestamp_ms: int
    timestamp_type: TimestampType
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of key, value and headers."""
        size = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size += len(name) + len(value or b"")
        return size


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Successive records of one partition, handed over together and acknowledged together; or none of them.

    A batch without records tells that the log holds nothing to read up to its next offset: markers of
    transactions, records of aborted ones, or gaps that compaction left.

    Settling wants this very object: an equal one made by hand is not recognised.

    Attributes:
        topic: The topic's name.
        partition: The partition's number.
        records: In the order of their offsets, which may have such gaps too.
        next_offset: Where the next batch begins: past the last record and past any gap that is known to
            follow it.
        size_bytes: Bytes of all keys, values and headers.
    """

    topic: str
    partition: int
    records: tuple[Record, ...]
    next_offset: int
    size_bytes: int

    @classmethod
    def of(
        cls,
        partition: tuple[str, int],
        records: Iterable[Record],
        next_offset: int | None = None,
    ) -> "RecordBatch":
        """Make a batch of these records; without a next offset, the one after the last record.

        Raises:
            ValueError: There are neither records nor a next offset.
        """
        held = tuple(records)
        if next_offset is None:
            if not held:
                raise ValueError("a batch without records has a next offset")
            next_offset = held[-1].offset + 1
        return cls(
            topic=partition[0],
            partition=partition[1],
            records=held,
            next_offset=next_offset,
            size_bytes=sum(record.size_bytes for record in held),
        )

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition's full name."""
        return TopicPartition(self.topic, self.partition)

    @property
    def first_offset(self) -> int:
        """Offset of the first record; without records, the next offset."""
        return self.records[0].offset if self.records else self.next_offset

    @property
    def last_offset(self) -> int:
        """Offset of the last record; without records, the last one that is passed."""
        return self.records[-1].offset if self.records else self.next_offset - 1

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one fetch drained from one partition; also with no records, when only the position moved.

    Attributes:
        partition: Where it comes from.
        epoch: Counts the times at which the partition's position was set anew. Records of one epoch follow
            each other without a hole.
        records: In the order of their offsets.
        position: Offset of the next fetch: past the records and past markers and gaps behind them.
        size_bytes: Bytes of all keys, values and headers.
        end_offset: The end of the partition as the broker last told it, or None.
    """

    partition: TopicPartition
    epoch: int
    records: tuple[Record, ...]
    position: int
    size_bytes: int
    end_offset: int | None = None
