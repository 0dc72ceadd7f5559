"""Dull, valid parts for tests of the transport."""

from collections.abc import Iterable

from soma_streams.transport.limits import Limits
from soma_streams.transport.records import Chunk, Record, TimestampType, TopicPartition

EVENTS = TopicPartition("events", 0)


def a_record(offset: int, value: bytes = b"v") -> Record:
    return Record(offset, 1_700_000_000_000 + offset, TimestampType.LOG_APPEND_TIME, b"k", value)


def a_chunk(
    offsets: Iterable[int],
    position: int | None = None,
    *,
    epoch: int = 1,
    partition: TopicPartition = EVENTS,
    value: bytes = b"v",
) -> Chunk:
    records = tuple(a_record(offset, value) for offset in offsets)
    if position is None:
        position = records[-1].offset + 1
    return Chunk(partition, epoch, records, position, sum(record.size_bytes for record in records))


def some_limits(
    *,
    batch_records: int = 100,
    batch_bytes: int = 10_000,
    batches_in_flight: int = 1,
    lane_records: int = 1_000,
    lane_bytes: int = 100_000,
    total_records: int = 10_000,
    total_bytes: int = 1_000_000,
) -> Limits:
    return Limits(
        batch_records=batch_records,
        batch_bytes=batch_bytes,
        batches_in_flight=batches_in_flight,
        lane_records=lane_records,
        lane_bytes=lane_bytes,
        total_records=total_records,
        total_bytes=total_bytes,
    )
