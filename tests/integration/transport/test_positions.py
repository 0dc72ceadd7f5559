import asyncio
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import NewPartitions

from integration.transport.harness import (
    Cluster,
    Gate,
    a_name,
    crash_of,
    passing,
    running,
)
from soma_streams.transport import Isolation, Options, PositionError, RecordBatch, RecordsGoneError
from soma_streams.transport.thread import ConsumerThread
from waiting import eventually_so


def transaction(cluster: Cluster, topic: str, values: list[bytes], *, commit: bool) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": a_name("producer")})
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.flush(20)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


async def test_markers_of_transactions_are_committed_past(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    transaction(cluster, topic, [b"a", b"b"], commit=True)
    transaction(cluster, topic, [b"never"], commit=False)
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == cluster.end_offset(topic))
        assert worker.values == [b"a", b"b"]
        transaction(cluster, topic, [b"c"], commit=True)
        await eventually_so(lambda: cluster.committed(worker.group, topic) == cluster.end_offset(topic))
    assert worker.values == [b"a", b"b", b"c"]
    assert cluster.end_offset(topic) > len(worker.values)


async def test_batches_get_to_the_end_of_a_log_that_ends_with_an_aborted_transaction(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"a"])
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: worker.values == [b"a"])
        transaction(cluster, topic, [b"never"] * 3, commit=False)
        await eventually_so(lambda: worker.batches[-1].next_offset == cluster.end_offset(topic))
        await eventually_so(lambda: cluster.committed(worker.group, topic) == cluster.end_offset(topic))
    assert worker.values == [b"a"]
    assert len(worker.batches[-1]) == 0


async def test_no_batch_and_no_commit_passes_the_beginning_of_an_open_transaction(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"a"])
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": a_name("producer")})
    await asyncio.to_thread(producer.init_transactions, 20)
    producer.begin_transaction()
    producer.produce(topic, b"undecided", partition=0)
    producer.flush(20)
    cluster.produce(topic, [b"behind it"])
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 1)
        await passing(1.0)
        assert (worker.values, worker.batches[-1].next_offset) == ([b"a"], 1)
        await asyncio.to_thread(producer.abort_transaction, 20)
        await eventually_so(lambda: worker.values == [b"a", b"behind it"])
        await eventually_so(lambda: worker.batches[-1].next_offset == cluster.end_offset(topic))
        await eventually_so(lambda: cluster.committed(worker.group, topic) == cluster.end_offset(topic))


async def test_a_partition_whose_records_are_all_gone_is_told_of_at_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"] * 7)
    for done in cluster.admin.delete_records([KafkaPartition(topic, 0, 7)]).values():
        done.result(20)
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: [(len(batch), batch.next_offset) for batch in worker.batches] == [(0, 7)])
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 7)


async def test_records_of_aborted_transactions_are_read_when_asked_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    transaction(cluster, topic, [b"aborted"], commit=False)
    options = Options(isolation=Isolation.READ_UNCOMMITTED)
    async with running(cluster, topic, tmp_path, options=options) as worker:
        await eventually_so(lambda: worker.values == [b"aborted"])


async def test_a_compacted_log_is_read_over_its_gaps_and_committed_to_its_end(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic(
        cleanup_policy="compact",
        segment_ms="100",
        segment_bytes="1048576",
        min_cleanable_dirty_ratio="0.01",
        min_compaction_lag_ms="0",
        max_compaction_lag_ms="100",
        delete_retention_ms="0",
    )
    for number in range(300):
        cluster.produce(topic, [b"%d" % number], key=b"%d" % (number % 3))
        if number % 100 == 99:
            await rolled(cluster, topic)
    first = await first_read(cluster, topic, tmp_path)
    assert len(first) < 300, "the log was not compacted"
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == cluster.end_offset(topic))
    assert worker.offsets == sorted(set(worker.offsets))
    follows = zip(worker.batches, worker.batches[1:], strict=False)
    assert all(batch.next_offset <= after.first_offset for batch, after in follows)


async def rolled(cluster: Cluster, topic: str) -> None:
    """Give the segment time to be old enough, so that the next record rolls it."""
    seen = cluster.end_offset(topic)
    cluster.produce(topic, [b"roll"], key=b"roll")
    await eventually_so(lambda: cluster.end_offset(topic) > seen)


async def first_read(cluster: Cluster, topic: str, data: Path) -> list[int]:
    """Read until the cleaner has been there."""
    for _ in range(40):
        async with running(cluster, topic, data) as worker:
            end = cluster.end_offset(topic)
            await eventually_so(lambda: cluster.committed(worker.group, topic) == end)  # noqa: B023  # awaited here
        if len(worker.offsets) < end:
            return worker.offsets
    return worker.offsets


async def test_records_come_again_after_a_seek_back_and_the_commit_follows(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"%d" % n for n in range(6)])
    gate = Gate()
    gate.open.set()
    async with running(cluster, topic, tmp_path, work=gate) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 6)
        gate.open.clear()
        [partition] = worker.consumer.assignment()
        await worker.consumer.seek(partition, 2)
        await eventually_so(lambda: worker.offsets == [*range(6), *range(2, 6)])
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 2)
        gate.open.set()
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 6)


async def test_a_batch_from_before_a_seek_settles_nothing(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"%d" % n for n in range(6)])

    async def never(batch: RecordBatch) -> bool:
        del batch
        return False

    async with running(cluster, topic, tmp_path, work=never) as worker:
        await eventually_so(lambda: len(worker.offsets) == 6)
        stale = worker.batches[0]
        await worker.consumer.perform_seek()
        await eventually_so(lambda: len(worker.offsets) == 12)
        assert not worker.consumer.acknowledge(stale)
        await worker.consumer.commit()
        assert cluster.committed(worker.group, topic) == 0
        assert worker.consumer.acknowledge(worker.batches[-1])
        await worker.consumer.commit()
        assert cluster.committed(worker.group, topic) == 6


async def test_drained_records_come_again_when_a_partition_without_a_commit_is_set_back(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"%d" % n for n in range(6)])

    async def refused(*_: object) -> bool:
        return False

    gate = Gate()
    async with running(cluster, topic, tmp_path, work=gate) as worker:
        monkeypatch.setattr(worker.consumer, "force_commit", refused)
        await eventually_so(lambda: len(worker.offsets) == 6)
        if cluster.committed(worker.group, topic) is not None:
            pytest.fail("the test comes too late: there is a commit")
        await worker.consumer.perform_seek()
        gate.open.set()
        await eventually_so(lambda: worker.offsets == [*range(6), *range(6)])


async def test_a_failing_seek_crashes_the_application(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = cluster.create_topic()

    async def broken(*_: object) -> None:
        raise ConnectionError("the broker went away")

    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(worker.consumer.assignment)
        monkeypatch.setattr(ConsumerThread, "_rewind", broken)
        with pytest.raises(PositionError, match="the broker went away"):
            await worker.consumer.perform_seek()
        assert isinstance(await crash_of(worker), PositionError)


async def test_a_log_whose_beginning_was_deleted_is_read_from_where_it_begins_now(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"%d" % n for n in range(10)])
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 10)
        [partition] = worker.consumer.assignment()
        deleted = cluster.admin.delete_records([KafkaPartition(topic, 0, 4)])
        for done in deleted.values():
            done.result(20)
        await worker.consumer.seek(partition, 1)
        assert worker.consumer.gone_unread == 0
        await eventually_so(lambda: worker.offsets == [*range(10), *range(4, 10)])
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 10)
        assert worker.consumer.gone_unread == 3


async def test_records_that_were_deleted_while_nobody_read_are_counted(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, group = cluster.create_topic(), a_name("group")
    cluster.produce(topic, [b"x"] * 2)
    async with running(cluster, topic, tmp_path, group=group) as worker:
        await eventually_so(lambda: cluster.committed(group, topic) == 2)
    cluster.produce(topic, [b"x"] * 8)
    for done in cluster.admin.delete_records([KafkaPartition(topic, 0, 7)]).values():
        done.result(20)
    async with running(cluster, topic, tmp_path, group=group) as worker:
        await eventually_so(lambda: worker.offsets == [7, 8, 9])
        assert worker.consumer.gone_unread == 5


async def test_records_that_are_gone_unread_end_an_application_whose_store_counts_for_itself(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, group = cluster.create_topic(), a_name("group")
    cluster.produce(topic, [b"x"] * 10)

    async def stands() -> dict[int, int]:
        return {0: 2}

    for done in cluster.admin.delete_records([KafkaPartition(topic, 0, 7)]).values():
        done.result(20)
    committed = ConsumerGroupTopicPartitions(group, [KafkaPartition(topic, 0, 9)])
    for changed in cluster.admin.alter_consumer_group_offsets([committed]).values():
        changed.result(20)
    async with running(cluster, topic, tmp_path, group=group, options=Options(stands=stands)) as worker:
        crash = await crash_of(worker)
        assert isinstance(crash, RecordsGoneError)
        assert worker.offsets == []
    assert cluster.committed(group, topic) == 9


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, group = cluster.create_topic(), a_name("group")
    cluster.produce(topic, [b"old"] * 10)
    async with running(cluster, topic, tmp_path, group=group):
        await eventually_so(lambda: cluster.committed(group, topic) == 10)
    # A commit beyond the end is what a smaller new log of the same name looks like.
    ahead = KafkaPartition(topic, 0, 500)
    request = ConsumerGroupTopicPartitions(group, [ahead])
    for changed in cluster.admin.alter_consumer_group_offsets([request]).values():
        changed.result(20)
    async with running(cluster, topic, tmp_path, group=group) as worker:
        await eventually_so(lambda: worker.offsets == list(range(10)))
        assert worker.consumer.gone_unread == 0
        await eventually_so(lambda: cluster.committed(group, topic) == 10)


async def test_partitions_that_are_added_are_read_from_their_beginning(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    async with running(cluster, topic, tmp_path, consumer_metadata_max_age_ms=500) as worker:
        await eventually_so(worker.consumer.assignment)
        for done in cluster.admin.create_partitions([NewPartitions(topic, 2)]).values():
            done.result(20)
        cluster.produce(topic, [b"old"], partition=0)
        await eventually_so(lambda: _producible(cluster, topic, 1))
        cluster.produce(topic, [b"new"], partition=1)
        await eventually_so(lambda: set(worker.values) == {b"old", b"new"})
        await eventually_so(lambda: cluster.committed(worker.group, topic, 1) == 1)


def _producible(cluster: Cluster, topic: str, partition: int) -> bool:
    return partition in cluster.admin.list_topics(topic, timeout=20).topics[topic].partitions
