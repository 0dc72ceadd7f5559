"""Records that no producer of ours writes: each arrives, and so does what follows."""

from pathlib import Path

import pytest

from integration.transport.harness import Cluster, a_name, running
from odd_headers import name_of, odd_producer
from soma_streams.transport.records import Unreadable
from waiting import eventually_so

MIB = 1024 * 1024


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_a_header_whose_name_is_no_text_arrives_and_so_does_what_follows(
    cluster: Cluster, tmp_path: Path, compression: str | None
) -> None:
    topic = cluster.create_topic()
    odd = [(name_of(b"a\xff\xfe"), b"1"), (name_of(b""), b"2")]
    async with odd_producer(cluster.bootstrap, compression_type=compression, linger_ms=50) as producer:
        for number, headers in enumerate([[], odd, []]):
            sent = await producer.send(topic, b"%d" % number, partition=0, headers=headers)
        await sent
    cluster.produce(topic, [b"3"])

    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 4)

    assert worker.values == [b"0", b"1", b"2", b"3"]
    found = [record.headers for batch in worker.batches for record in batch]
    assert found == [(), (("a\udcff\udcfe", b"1"), ("", b"2")), (), ()]


async def test_such_a_header_in_a_transaction_is_read_when_it_is_committed_alone(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    odd = [(name_of(b"\xff"), None)]
    async with odd_producer(cluster.bootstrap, transactional_id=a_name("producer")) as producer:
        async with producer.transaction():
            await producer.send(topic, b"kept", partition=0, headers=odd)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"never", partition=0, headers=odd)
        await producer.abort_transaction()
    cluster.produce(topic, [b"after"])

    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == cluster.end_offset(topic))

    assert worker.values == [b"kept", b"after"]


async def test_what_decompresses_to_very_much_arrives_unread_and_what_follows_arrives(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    sizes = {"compression.type": "zstd", "message.max.bytes": 1_000_000_000}
    cluster.produce_with(sizes, topic, [b"x" * (300 * MIB)])
    cluster.produce(topic, [b"after"])

    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 2, seconds=60)

    assert worker.values == [b"", b"after"]
    (first,) = [record for record in worker.batches[0] if record.offset == 0]
    assert isinstance(first.value, Unreadable)
