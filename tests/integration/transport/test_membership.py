import asyncio
from pathlib import Path
from typing import Any

from integration.transport.harness import (
    Cluster,
    Gate,
    Worker,
    a_name,
    passing,
    running,
)
from soma_streams.transport import Limits, Options, RecordBatch
from waiting import eventually_so

# A member that does not show that it lives leaves its group after a second.
IMPATIENT: dict[str, Any] = {"broker_max_poll_interval": 1.0, "broker_heartbeat_interval": 0.1}


def generation(worker: Worker) -> int:
    number: int = worker.consumer._thread._ensure_consumer()._coordinator.generation
    return number


def assigned(worker: Worker) -> set[int]:
    return {tp.partition for tp in worker.consumer.assignment()}


async def ready(worker: Worker, partitions: int) -> None:
    """Wait until the worker has so many partitions and fetches from them."""
    await eventually_so(lambda: len(assigned(worker)) == partitions and worker.consumer.flow_active)
    await eventually_so(lambda: not worker.app.rebalancing)


async def test_a_paused_consumer_fetches_nothing_and_stays_in_its_group(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    async with running(cluster, topic, tmp_path, **IMPATIENT) as worker:
        await ready(worker, 1)
        joined = generation(worker)
        worker.consumer.pause()
        assert worker.consumer.paused
        await passing(1.2)  # the fetch under way ends
        cluster.produce(topic, [b"x"])
        await passing(2.5)
        assert worker.offsets == []
        assert generation(worker) == joined
        worker.consumer.resume()
        await eventually_so(lambda: worker.offsets == [0])
        assert generation(worker) == joined


async def test_a_consumer_without_room_stays_in_its_group(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    options = Options(limits=Limits(batch_records=1, lane_records=1))
    gate = Gate()
    async with running(cluster, topic, tmp_path, work=gate, options=options, **IMPATIENT) as worker:
        cluster.produce(topic, [b"x"] * 5)
        await eventually_so(lambda: worker.batches)
        joined = generation(worker)
        await passing(2.5)
        assert generation(worker) == joined
        gate.open.set()
        await eventually_so(lambda: worker.offsets == list(range(5)))
        assert generation(worker) == joined


async def test_a_static_member_comes_back_without_a_rebalance(cluster: Cluster, tmp_path: Path) -> None:
    topic, group = cluster.create_topic(partitions=2), a_name("group")
    static: dict[str, Any] = {"group": group, "broker_session_timeout": 20.0}
    async with running(cluster, topic, tmp_path, consumer_group_instance_id="a", **static) as stays:
        async with running(cluster, topic, tmp_path, consumer_group_instance_id="b", **static) as leaves:
            await ready(stays, 1)
            await ready(leaves, 1)
            [moved] = assigned(leaves)
            joined, rebalances = generation(stays), stays.app.rebalancing_count
        async with running(cluster, topic, tmp_path, consumer_group_instance_id="b", **static) as back:
            cluster.produce(topic, [b"x"], partition=moved)
            await eventually_so(lambda: back.offsets == [0])
            assert assigned(back) == {moved}
        assert (generation(stays), stays.app.rebalancing_count) == (joined, rebalances)


async def test_a_standby_without_partitions_takes_over(cluster: Cluster, tmp_path: Path) -> None:
    topic, group = cluster.create_topic(), a_name("group")
    async with running(cluster, topic, tmp_path, group=group) as first:
        await ready(first, 1)
        async with running(cluster, topic, tmp_path, group=group) as second:
            await eventually_so(lambda: second.app.rebalancing_count > 0 and not second.app.rebalancing)
            active, standby = (first, second) if assigned(first) else (second, first)
            cluster.produce(topic, [b"one"])
            await eventually_so(lambda: active.values == [b"one"])
            flowed: list[bool] = []

            async def note(*_: object, **__: object) -> None:
                flowed.append(standby.consumer.flow_active)

            # Records of the next assignment must not be handed over before Faust knows their partitions,
            # and Faust itself stops the flow only of a member that had some.
            standby.app.on_partitions_revoked.connect(note)
            await active.app.stop()
            cluster.produce(topic, [b"two"])
            await eventually_so(lambda: standby.values == [b"two"])
            assert flowed == [False]


async def test_a_batch_that_outlives_its_assignment_moves_no_commit(cluster: Cluster, tmp_path: Path) -> None:
    topic, group = cluster.create_topic(), a_name("group")
    cluster.produce(topic, [b"x"] * 3)
    gate = Gate()
    options = Options(limits=Limits(drain_seconds=0.3))
    async with running(cluster, topic, tmp_path, group=group, work=gate, options=options) as slow:
        await eventually_so(lambda: slow.batches)
        held = slow.batches[0]
        async with running(cluster, topic, tmp_path, group=group, work=gate) as other:
            await eventually_so(lambda: slow.app.rebalancing_count >= 2 and not slow.app.rebalancing)
            assert not slow.consumer.acknowledge(held)
            await slow.consumer.commit()
            assert cluster.committed(group, topic) == 0
            gate.open.set()
            await eventually_so(lambda: cluster.committed(group, topic) == 3)
            await eventually_so(lambda: [0, 1, 2] in (slow.offsets[3:], other.offsets))


async def test_a_rebalance_lets_the_agent_finish_what_it_has(cluster: Cluster, tmp_path: Path) -> None:
    topic, group = cluster.create_topic(partitions=2), a_name("group")
    gate = Gate()
    async with running(cluster, topic, tmp_path, group=group, work=gate) as first:
        await ready(first, 2)
        for partition in range(2):
            cluster.produce(topic, [b"x"], partition=partition)
        await eventually_so(lambda: first.batches)

        async def finish_when_rebalancing() -> None:
            await eventually_so(lambda: first.app.rebalancing)
            gate.open.set()

        finishing = asyncio.create_task(finish_when_rebalancing())
        async with running(cluster, topic, tmp_path, group=group) as second:
            await finishing
            await eventually_so(lambda: cluster.commits(group, topic, 2) == {0: 1, 1: 1})
            handed = [(b.partition, b.first_offset) for w in (first, second) for b in w.batches if b.records]
        assert sorted(handed) == [(0, 0), (1, 0)]


async def test_an_agent_that_raises_leaves_its_batch_and_a_watchdog_sees_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic(partitions=2)

    async def fail_on_the_first_partition(batch: RecordBatch) -> bool:
        if batch.partition == 0:
            raise RuntimeError("no place for it")
        return True

    options = Options(limits=Limits(drain_seconds=0.1))
    async with running(cluster, topic, tmp_path, work=fail_on_the_first_partition, options=options) as worker:
        await ready(worker, 2)
        assert worker.consumer.oldest_unacknowledged_age() == 0.0
        cluster.produce(topic, [b"x"], partition=0)
        await eventually_so(lambda: worker.batches)
        cluster.produce(topic, [b"x"], partition=0)
        cluster.produce(topic, [b"x"], partition=1)
        await eventually_so(lambda: cluster.committed(worker.group, topic, 1) == 1)
        await eventually_so(lambda: worker.consumer.oldest_unacknowledged_age() > 0.5)
        report = worker.consumer.unacknowledged()
        assert (report.batches, report.records, report.waiting_records) == (1, 1, 1)
        assert cluster.committed(worker.group, topic, 0) == 0
