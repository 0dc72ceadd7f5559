"""The broker goes away and comes back while a worker works."""

import asyncio
from pathlib import Path

from structlog.testing import capture_logs

from conftest import LocalParts
from integration.transport.harness import Cluster, running
from soma_streams.transport import Limits, Options
from waiting import eventually_so


async def test_a_broker_that_restarts_is_worked_on_with_as_before(
    cluster: Cluster, local_parts: LocalParts, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    options = Options(limits=Limits(commit_seconds=1.0))
    kafka = local_parts.parts.kafka
    async with running(cluster, topic, tmp_path, options=options) as worker:
        cluster.produce(topic, [b"before"] * 100)
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 100)
        for kill in (False, True):
            seen = len(worker.offsets)
            if kill:
                await asyncio.to_thread(local_parts.run, kafka.kill())
            else:
                await asyncio.to_thread(local_parts.run, kafka.stop())
            await asyncio.to_thread(local_parts.run, kafka.start())
            cluster.produce(topic, [b"after"] * 100)
            await eventually_so(lambda: len(set(worker.offsets)) == seen + 100, seconds=60)  # noqa: B023  # awaited here
            end = seen + 100
            await eventually_so(lambda: cluster.committed(worker.group, topic) == end, seconds=60)  # noqa: B023  # awaited here
        assert worker.app.crash_reason is None


async def test_what_is_acknowledged_while_the_broker_is_away_is_committed_when_it_is_back(
    cluster: Cluster, local_parts: LocalParts, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    options = Options(limits=Limits(commit_seconds=0.5))
    kafka = local_parts.parts.kafka
    back = asyncio.Event()

    async def hold(batch: object) -> bool:
        del batch
        await back.wait()
        return True

    async with running(cluster, topic, tmp_path, options=options, work=hold) as worker:
        cluster.produce(topic, [b"x"] * 10)
        await eventually_so(lambda: len(worker.offsets) == 10)
        await asyncio.to_thread(local_parts.run, kafka.stop())
        back.set()
        await eventually_so(lambda: worker.consumer.unacknowledged().batches == 0)
        assert not await worker.consumer.commit()
        await asyncio.to_thread(local_parts.run, kafka.start())
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 10, seconds=60)
        assert worker.app.crash_reason is None


async def test_a_broker_that_is_away_when_a_worker_starts_is_waited_for(
    cluster: Cluster, local_parts: LocalParts, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"] * 10)
    kafka = local_parts.parts.kafka
    await asyncio.to_thread(local_parts.run, kafka.stop())

    async def come_back() -> None:
        try:
            await eventually_so(lambda: any(line["event"] == "brokers_away" for line in logs))
        finally:
            await asyncio.to_thread(local_parts.run, kafka.start())

    with capture_logs() as logs:
        coming = asyncio.create_task(come_back())
        async with running(cluster, topic, tmp_path, options=Options()) as worker:
            await coming
            await eventually_so(lambda: cluster.committed(worker.group, topic) == 10, seconds=60)
            assert worker.app.crash_reason is None
