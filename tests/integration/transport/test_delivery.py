import asyncio
from pathlib import Path

from integration.transport.harness import CLOCK, Cluster, Gate, Worker, running
from soma_streams.transport import Limits, Options, TimestampType
from waiting import eventually_so


async def test_records_arrive_as_they_were_sent(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic(message_timestamp_type="LogAppendTime")
    cluster.produce(topic, [b"tea"], key=b"cup", headers=[("trace", b"1"), ("trace", None)])
    cluster.produce(topic, [None], key=b"cup")
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: len(worker.offsets) == 2)
    first, second = (record for batch in worker.batches for record in batch)
    assert (first.offset, first.key, first.value) == (0, b"cup", b"tea")
    assert first.headers == (("trace", b"1"), ("trace", None))
    assert first.timestamp_type is TimestampType.LOG_APPEND_TIME
    assert abs(first.timestamp_ms / 1000 - CLOCK.now().timestamp()) < 120
    assert (second.offset, second.key, second.value) == (1, b"cup", None)


async def test_what_is_acknowledged_is_committed(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"%d" % n for n in range(50)])
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 50)
    assert worker.offsets == list(range(50))


async def test_what_is_not_acknowledged_is_not_committed(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"first"])
    gate = Gate()
    async with running(cluster, topic, tmp_path, work=gate) as worker:
        await eventually_so(lambda: worker.batches)
        cluster.produce(topic, [b"second"])
        await eventually_so(lambda: worker.consumer.unacknowledged().waiting_records == 1)
        await worker.consumer.commit()
        assert cluster.committed(worker.group, topic) == 0
        gate.open.set()
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 2)


async def test_what_arrives_while_the_agent_works_becomes_one_batch(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"0"])
    gate = Gate()
    async with running(cluster, topic, tmp_path, work=gate) as worker:
        await eventually_so(lambda: worker.batches)
        for number in range(1, 6):
            cluster.produce(topic, [b"%d" % number])
        await eventually_so(lambda: worker.consumer.unacknowledged().waiting_records == 5)
        gate.open.set()
        await eventually_so(lambda: len(worker.batches) == 2)
    assert [len(batch) for batch in worker.batches] == [1, 5]


async def test_several_topics_share_an_agent_and_are_committed_each(cluster: Cluster, tmp_path: Path) -> None:
    topics = [cluster.create_topic(partitions=2) for _ in range(2)]
    for topic in topics:
        for partition in range(2):
            cluster.produce(topic, [b"x"] * 3, partition=partition)
    async with running(cluster, topics, tmp_path) as worker:
        lanes = [(topic, partition) for topic in topics for partition in range(2)]
        await eventually_so(lambda: all(cluster.committed(worker.group, *lane) == 3 for lane in lanes))
    assert {batch.topic for batch in worker.batches} == set(topics)


async def test_a_stop_lets_the_agent_finish_what_it_has_and_commits_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"] * 5)
    gate = Gate()
    async with running(cluster, topic, tmp_path, work=gate) as worker:
        await eventually_so(lambda: worker.batches)
        asyncio.get_running_loop().call_later(0.5, gate.open.set)
    assert cluster.committed(worker.group, topic) == 5


async def test_a_stop_waits_no_longer_than_its_bound_for_an_agent_that_hangs(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"])
    options = Options(limits=Limits(drain_seconds=0.5))
    async with running(cluster, topic, tmp_path, work=Gate(), options=options) as worker:
        await eventually_so(lambda: worker.batches)
        stopped_at = CLOCK.monotonic()
    assert 0.5 <= CLOCK.monotonic() - stopped_at < 5
    assert cluster.committed(worker.group, topic) == 0


async def test_a_stop_does_not_wait_for_a_batch_that_was_given_up(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"])
    options = Options(limits=Limits(drain_seconds=20))
    async with running(cluster, topic, tmp_path, work=Gate(), options=options) as worker:
        await eventually_so(lambda: worker.batches)
        worker.consumer.abandon(worker.batches[0])
        stopped_at = CLOCK.monotonic()
    assert CLOCK.monotonic() - stopped_at < 10
    assert cluster.committed(worker.group, topic) == 0


async def test_what_is_held_stays_within_the_limits(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic(partitions=2)
    for partition in range(2):
        cluster.produce(topic, [b"x" * 1_000] * 500, partition=partition)
    limits = Limits(batch_records=20, lane_records=100, total_records=150)
    gate = Gate()
    async with running(cluster, topic, tmp_path, work=gate, options=Options(limits=limits)) as worker:
        await eventually_so(lambda: _held(worker) >= 150)
        # A fetch that finds room brings at most lane_records.
        assert _held(worker) < 150 + 100
        gate.open.set()
        await eventually_so(lambda: len(worker.offsets) == 1_000)
    assert max(len(batch) for batch in worker.batches) == 20


def _held(worker: Worker) -> int:
    report = worker.consumer.unacknowledged()
    return report.records + report.waiting_records


async def test_the_monitor_counts_records(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"] * 30)
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: len(worker.offsets) == 30)
        monitor = worker.app.monitor
        await eventually_so(lambda: monitor.messages_active == 0)
        assert (monitor.messages_received_total, monitor.events_total, monitor.events_active) == (30, 30, 0)
        assert monitor.messages_received_by_topic[topic] == 30
        await eventually_so(lambda: list(monitor.tp_committed_offsets.values()) == [30])
        assert list(monitor.tp_end_offsets.values()) == [30]
        assert list(monitor.tp_read_offsets.values()) == [29]
