"""What the brokers send is taken apart whatever it holds, and never takes more memory than is allowed."""

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import aiokafka.codec as codecs  # type: ignore[import-untyped]  # aiokafka ships no types
import pytest
from aiokafka.record.default_records import (  # type: ignore[import-untyped]  # likewise
    DefaultRecordBatchBuilder,
    _DefaultRecordBatchBuilderPy,
)
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]  # likewise
from hypothesis import given
from hypothesis import strategies as st

from odd_headers import name_of
from soma_streams.transport.fetched import (
    MOST_BATCH_BYTES,
    MOST_RECORD_BYTES,
    Codec,
    FetchedBatches,
    inflated,
)
from soma_streams.transport.records import Unreadable

MIB = 1024 * 1024
COMPRESS: dict[Codec, Callable[[bytes], bytes]] = {
    Codec.NONE: bytes,
    Codec.GZIP: lambda content: zlib.compress(content, wbits=31),
    Codec.SNAPPY: codecs.snappy_encode,
    Codec.LZ4: codecs.lz4_encode,
    Codec.ZSTD: codecs.zstd_encode,
}
ALL_CODECS = pytest.mark.parametrize("codec", list(Codec))
_Headers = Sequence[tuple[bytes, bytes | None]]


def a_batch(
    records: Sequence[tuple[bytes | None, bytes | None, _Headers]], codec: Codec = Codec.NONE, base: int = 0
) -> bytes:
    """A batch as brokers send it; the records' times are 1000, 1001 and so on."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 2**31 - 1)
    for number, (key, value, headers) in enumerate(records):
        named = [(name_of(name), held) for name, held in headers]
        builder.append(number, 1000 + number, key, value, named)
    plain = bytes(builder.build())
    content = COMPRESS[codec](plain[61:])
    header = bytearray(plain[:61])
    struct.pack_into(">q", header, 0, base)
    struct.pack_into(">i", header, 8, 49 + len(content))
    struct.pack_into(">h", header, 21, codec)
    return bytes(header) + content


def read(data: bytes) -> list[Any]:
    batches = FetchedBatches(data)
    found = []
    while batches.has_next():
        found += list(batches.next_batch())
    return found


@ALL_CODECS
def test_a_name_that_is_no_text_is_read_and_so_is_everything_around_it(codec: Codec) -> None:
    odd = b"a\xff\xfeb"
    data = a_batch([(b"k", b"1", [(b"x", b"y")]), (b"k", b"2", [(odd, None)]), (b"k", b"3", [])], codec, 7)

    records = read(data + a_batch([(b"k", b"4", [])], codec, 10))

    assert [(record.offset, record.timestamp, record.value) for record in records] == [
        (7, 1000, b"1"), (8, 1001, b"2"), (9, 1002, b"3"), (10, 1000, b"4"),
    ]  # fmt: skip
    ((name, value),) = records[1].headers
    assert name.encode(errors="surrogateescape") == odd
    assert value is None


@ALL_CODECS
@given(data=st.data())
def test_ordinary_batches_are_read_as_aiokafka_reads_them(codec: Codec, data: st.DataObject) -> None:
    part = st.none() | st.binary(max_size=40)
    headers = st.lists(st.tuples(st.text(max_size=5).map(str.encode), part), max_size=4)
    sent = a_batch(data.draw(st.lists(st.tuples(part, part, headers), min_size=1, max_size=5)), codec, 3)

    def told(batch: Any) -> list[Any]:
        facts = [
            (r.offset, r.timestamp, r.timestamp_type, r.key, r.value, list(r.headers)) for r in list(batch)
        ]
        return [facts, batch.base_offset, batch.next_offset, batch.is_control_batch, batch.is_transactional]

    assert told(FetchedBatches(sent).next_batch()) == told(MemoryRecords(sent).next_batch())
    # Its own way of reading, which is taken where aiokafka's fails, gives the same.
    ours = FetchedBatches(sent).next_batch()
    plain = inflated(codec, sent[61:], MOST_BATCH_BYTES) if codec else sent[61:]
    assert [list(each)[:6] for each in ours._records(plain)] == [
        [r.offset, r.timestamp, r.timestamp_type, r.key, r.value, list(r.headers)]
        for r in MemoryRecords(sent).next_batch()
    ]


def test_a_batch_that_was_cut_off_is_not_given() -> None:
    data = a_batch([(b"k", b"1", [])])

    batches = FetchedBatches(data + data[:-1])

    assert batches.next_batch() is not None
    assert not batches.has_next()
    assert not FetchedBatches(b"").has_next()
    assert FetchedBatches(data[:5]).size_in_bytes() == 5


def test_headers_of_every_sort_are_read() -> None:
    headers = [(b"", b""), (b"x", None), (b"x", b"y"), (b"\0", b"\xff" * 100_000), *[(b"n", b"v")] * 10_000]

    (plain,) = read(a_batch([(None, None, headers)]))
    (odd,) = read(a_batch([(None, None, [*headers, (b"\xff", b"")])]))

    assert [(name.encode(), value) for name, value in plain.headers] == headers
    assert odd.headers == [*plain.headers, ("\udcff", b"")]


@ALL_CODECS
def test_a_record_that_is_too_large_is_not_read_but_those_around_it_are(codec: Codec) -> None:
    large = b"x" * (MOST_RECORD_BYTES + 1)
    data = a_batch([(b"a", b"1", []), (b"b", large, [(b"h", b"v")]), (b"c", b"3", [(b"h", b"v")])], codec, 5)

    before, large_one, after = read(data)

    assert (before.offset, before.value) == (5, b"1")
    assert (large_one.offset, large_one.timestamp, large_one.key) == (6, 1001, b"b")
    assert isinstance(large_one.value, Unreadable)
    assert large_one.headers == []
    assert (after.offset, after.value, after.headers) == (7, b"3", [("h", b"v")])


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_what_lies_beyond_the_bound_is_not_decompressed(codec: Codec) -> None:
    large = b"x" * (200 * MIB)
    data = a_batch([(b"a", b"1", []), (b"b", large, []), (b"c", b"3", [])], codec, 5)
    del large

    tracemalloc.start()
    records = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert [(record.offset, record.key, type(record.value)) for record in records] == [
        (5, b"a", bytes),
        (6, b"b", Unreadable),
        (7, None, Unreadable),
    ]
    assert peak < 4 * MOST_BATCH_BYTES


def test_an_answer_ends_after_many_bytes_so_that_the_rest_is_fetched_again() -> None:
    one = a_batch([(b"k", b"x" * 7 * MIB, [])], Codec.ZSTD)

    assert len(read(one * 20)) == -(-MOST_BATCH_BYTES // (7 * MIB))


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
@pytest.mark.parametrize("size", [0, 1, 1000, 3 * MIB])
def test_what_was_compressed_comes_back_or_its_beginning(codec: Codec, size: int) -> None:
    content = os.urandom(size // 2) + bytes(size - size // 2)
    packed = COMPRESS[codec](content)

    assert inflated(codec, packed, 4 * MIB) == content
    assert inflated(codec, packed, 1000) == content[:1000]


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_records_that_nobody_can_decompress_keep_their_places(codec: Codec) -> None:
    data = a_batch([(b"a", b"1", []), (b"b", b"2", [])], Codec.NONE, 5)
    damaged = bytearray(data[:61] + b"\xff" * 30)
    struct.pack_into(">i", damaged, 8, 49 + 30)
    struct.pack_into(">h", damaged, 21, codec)

    records = read(bytes(damaged))

    assert [(record.offset, type(record.value)) for record in records] == [(5, Unreadable), (6, Unreadable)]


def test_gzip_in_several_parts_is_read_whole() -> None:
    pack = COMPRESS[Codec.GZIP]

    assert inflated(Codec.GZIP, pack(b"one") + pack(b"two"), 100) == b"onetwo"


def test_a_builder_of_aiokafka_writes_what_the_tests_write() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1000)
    builder.append(0, 1000, b"k", b"v", [("h", b"x")])
    ours = a_batch([(b"k", b"v", [(b"h", b"x")])])

    assert bytes(builder.build())[21:] == ours[21:]
