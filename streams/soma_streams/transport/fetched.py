"""Takes apart what the brokers send, in aiokafka's place where it would raise or take any amount of memory.

aiokafka reads every batch that is sound and of ordinary size. A header's name that is no UTF-8 makes it raise
for ever, and it decompresses whatever there is to decompress: such batches are read here, and what cannot be
read within bounds comes as `Unreadable`. Damage on the way or on a disk is found before, by the checksum.
"""

import mmap
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import cramjam
from aiokafka.consumer import fetcher  # type: ignore[import-untyped]  # aiokafka ships no types
from aiokafka.errors import CorruptRecordException  # type: ignore[import-untyped]  # likewise
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]  # likewise

from .records import Unreadable

MIB = 1024 * 1024
# Far above what any topic of ours takes uncompressed.
MOST_RECORD_BYTES = 8 * MIB
# What one batch may be decompressed to; records behind it are not read.
MOST_BATCH_BYTES = 32 * MIB
_MOST_KEY_BYTES = 64 * 1024
# What a batch of ordinary size is decompressed into, again and again.
_USUAL_BYTES = 2 * MIB

_LOG_OVERHEAD = 12  # base offset and length
_LENGTH_AT = 8
_MAGIC_AT = 16
_ATTRIBUTES_AT = 21
_HEADER_BYTES = 61
_MAGIC = 2
_CODEC = 0x07
_LOG_APPEND_TIME = 0x08
_GZIP_BITS = 31
# Attributes, last offset delta, first and largest time.
_HEAD = struct.Struct(">hiqq")
_COUNT_AT = 57
_XERIAL = b"\x82SNAPPY\0"
_XERIAL_BYTES = 16


class Codec(IntEnum):
    """How a batch is compressed; the low bits of its attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class FetchedRecord(NamedTuple):
    """A record with the attributes that aiokafka's own records have."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


def install() -> None:
    """Have aiokafka's consumers read with this."""
    fetcher.MemoryRecords = FetchedBatches


class FetchedBatches:
    """The batches of one answer for one partition, as `aiokafka.record.memory_records.MemoryRecords`.

    Args:
        data: What the brokers sent; its last batch may be cut off.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._batches = MemoryRecords(data)
        self._at = 0
        self._given = 0

    def size_in_bytes(self) -> int:
        """Return how much was sent."""
        return len(self._data)

    def has_next(self) -> bool:
        """Say whether there is a whole batch. After many bytes there is none: the rest is fetched again."""
        return self._end() is not None and self._given < MOST_BATCH_BYTES

    def next_batch(self) -> Any:
        """Return the next batch, or None."""
        end = self._end()
        if end is None:
            return None
        begin, self._at = self._at, end
        batch = self._batches.next_batch()
        if self._data[begin + _MAGIC_AT] < _MAGIC:
            return batch
        return FetchedBatch(batch, memoryview(self._data)[begin:end], self._count)

    def _count(self, size: int) -> None:
        self._given += size

    def _end(self) -> int | None:
        if len(self._data) - self._at < _LOG_OVERHEAD:
            return None
        length: int = struct.unpack_from(">i", self._data, self._at + _LENGTH_AT)[0]
        end = self._at + _LOG_OVERHEAD + length
        return end if end <= len(self._data) else None


class FetchedBatch:
    """One batch, whose records may be iterated over once.

    Args:
        batch: As aiokafka reads it; it tells of everything but records.
        data: The same, as it was sent.
        count: Hears how many bytes its records have.
    """

    def __init__(self, batch: Any, data: memoryview, count: Callable[[int], None]) -> None:
        self._batch = batch
        self._data = data
        self._count = count
        # What aiokafka asks of every batch.
        self.validate_crc = batch.validate_crc
        self.base_offset = batch.base_offset
        self.next_offset = batch.next_offset
        self.producer_id = batch.producer_id
        self.is_control_batch = batch.is_control_batch
        self.is_transactional = batch.is_transactional

    def __next__(self) -> Any:
        """Return the first record of a control batch."""
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        """Yield every record, as it is or as far as it can be read."""
        attributes = struct.unpack_from(">h", self._data, _ATTRIBUTES_AT)[0]
        content: bytes | memoryview = self._data[_HEADER_BYTES:]
        if attributes & _CODEC:
            content = inflated(attributes & _CODEC, bytes(content), MOST_BATCH_BYTES)
        self._count(len(content))
        if len(content) > MOST_RECORD_BYTES:
            yield from self._records(bytes(content))
            return
        given = 0
        try:
            for given, record in enumerate(self._plain(attributes, content), 1):  # noqa: B007  # asked below
                yield record
        except (UnicodeDecodeError, CorruptRecordException):
            # Compiled or not, aiokafka tells a name that is no text in another way.
            yield from islice(self._records(bytes(content)), given, None)

    def _plain(self, attributes: int, content: bytes | memoryview) -> Any:
        if not attributes & _CODEC:
            return self._batch
        header = bytearray(self._data[:_HEADER_BYTES])
        struct.pack_into(">i", header, _LENGTH_AT, _HEADER_BYTES - _LOG_OVERHEAD + len(content))
        struct.pack_into(">h", header, _ATTRIBUTES_AT, attributes & ~_CODEC)
        return MemoryRecords(bytes(header) + content).next_batch()

    def _records(self, content: bytes) -> Iterator[FetchedRecord]:
        attributes, _, first_time, last_time = _HEAD.unpack_from(self._data, _ATTRIBUTES_AT)
        count: int = struct.unpack_from(">i", self._data, _COUNT_AT)[0]
        stamped = attributes & _LOG_APPEND_TIME
        at = 0
        for number in range(count):
            try:
                offset, since, key, value, headers, at = _record(content, at)
            except (IndexError, ValueError):
                # It is behind the end of what was decompressed. A producer counts its records up.
                offset, since, key, value, headers = number, last_time - first_time, None, Unreadable(), []
            time = last_time if stamped else first_time + since
            yield FetchedRecord(self.base_offset + offset, time, int(bool(stamped)), key, value, headers)


_Read = tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]], int]


def _record(content: bytes, at: int) -> _Read:
    """Return offset and time since the batch's first, key, value, headers, and where the record ends.

    Raises:
        IndexError: It goes on where the content ends.
        ValueError: Likewise, or it is no record.
    """
    length, at = _number(content, at)
    end = at + length
    since, at = _number(content, at + 1)
    offset, at = _number(content, at)
    size, begin = _number(content, at)
    key, at = _sized(content, begin, size) if size <= _MOST_KEY_BYTES else (None, begin + size)
    if length > MOST_RECORD_BYTES:
        return offset, since, key, Unreadable(), [], end
    value, at = _bytes(content, at)
    count, at = _number(content, at)
    headers = []
    for _ in range(count):
        name, at = _bytes(content, at)
        held, at = _bytes(content, at)
        # Each byte that is no UTF-8 becomes half of a surrogate pair, from which it can be had again.
        headers.append(((name or b"").decode(errors="surrogateescape"), held))
    if at != end:
        raise ValueError("the record is not as long as it says")
    return offset, since, key, value, headers, at


def _number(content: bytes, at: int) -> tuple[int, int]:
    # Not aiokafka's: the compiled one is not made for bytes that end too early.
    number = shift = 0
    while True:
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  # the bit that says more follow
            return number >> 1 ^ -(number & 1), at
        shift += 7


def _bytes(content: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = _number(content, at)
    return _sized(content, at, size)


def _sized(content: bytes, at: int, size: int) -> tuple[bytes | None, int]:
    if size < 0:
        return None, at
    if at + size > len(content):
        raise IndexError
    return content[at : at + size], at + size


class _Usual(threading.local):
    def __init__(self) -> None:
        self.place = bytearray(_USUAL_BYTES)


_usual = _Usual()


def _into(codec: Any, content: bytes, most: int) -> bytes:
    usual = memoryview(_usual.place)[:most]
    try:
        return bytes(usual[: codec.decompress_into(content, usual)])
    except cramjam.DecompressionError:
        # It costs no more memory than is written to it. What fits is there when the rest does not.
        with mmap.mmap(-1, most) as whole:
            try:
                return whole[: codec.decompress_into(content, whole)]
            except cramjam.DecompressionError as error:
                if "whole buffer" not in str(error):
                    raise
                return whole[:]


def _of_gzip(content: bytes, most: int) -> bytes:
    found = bytearray()
    while content and len(found) < most:
        member = zlib.decompressobj(_GZIP_BITS)
        found += member.decompress(content, most - len(found))
        content = member.unused_data
    return bytes(found)


def _of_snappy(content: bytes, most: int) -> bytes:
    if not content.startswith(_XERIAL):
        return _block(content, most)
    found = bytearray()
    at = _XERIAL_BYTES
    while at < len(content) and len(found) < most:
        size: int = struct.unpack_from(">i", content, at)[0]
        at += 4
        found += _block(content[at : at + size], most)
        at += max(size, 0)
    return bytes(found[:most])


def _block(content: bytes, most: int) -> bytes:
    # A block says how large it is, and snappy makes it no hundredth of that.
    if cramjam.snappy.decompress_raw_len(content) > 100 * len(content):
        return b""
    return bytes(cramjam.snappy.decompress_raw(content))[:most]


_INFLATING: Mapping[int, Callable[[bytes, int], bytes]] = {
    Codec.GZIP: _of_gzip,
    Codec.SNAPPY: _of_snappy,
    Codec.LZ4: partial(_into, cramjam.lz4),
    Codec.ZSTD: partial(_into, cramjam.zstd),
}


def inflated(codec: int, content: bytes, most: int) -> bytes:
    """Return what was compressed, or so many of its first bytes; nothing where it cannot be told."""
    inflating = _INFLATING.get(codec)
    if inflating is None:
        return b""
    try:
        return inflating(content, most)
    except (zlib.error, cramjam.DecompressionError, struct.error):
        return b""
