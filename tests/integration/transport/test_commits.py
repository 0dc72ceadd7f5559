from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.transport.harness import Cluster, Gate, Worker, crash_of, running
from soma_streams.transport import Limits, Options
from soma_streams.transport.kafka import KafkaError
from waiting import eventually_so


class RetriableError(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    errno = 7
    retriable = True


class FinalError(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    errno = 29
    retriable = False


def fail_commits(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, error: type[Exception], times: int
) -> Callable[[], int]:
    """Let the next commits fail at the broker; return how many have."""
    coordinator: Any = worker.consumer._thread._ensure_consumer()._coordinator
    commit = coordinator._do_commit_offsets
    failed: list[object] = []

    async def broken(assignment: object, offsets: object) -> None:
        if len(failed) < times:
            failed.append(offsets)
            raise error
        await commit(assignment, offsets)

    monkeypatch.setattr(coordinator, "_do_commit_offsets", broken)
    return lambda: len(failed)


async def test_a_commit_that_fails_is_tried_again_and_counts_as_nothing_until_then(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = cluster.create_topic()
    async with running(cluster, topic, tmp_path, broker_commit_interval=0.05) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 0)
        failed = fail_commits(worker, monkeypatch, RetriableError, times=5)
        cluster.produce(topic, [b"x"] * 3)
        await eventually_so(lambda: failed() >= 2)
        assert cluster.committed(worker.group, topic) == 0
        assert 3 not in worker.app.monitor.tp_committed_offsets.values()
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 3)
        assert failed() == 5
        await eventually_so(lambda: list(worker.app.monitor.tp_committed_offsets.values()) == [3])


async def test_a_commit_that_hangs_is_abandoned_and_tried_again(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = cluster.create_topic()
    options = Options(limits=Limits(commit_seconds=0.3))
    hung: list[object] = []
    never = Gate()
    async with running(cluster, topic, tmp_path, options=options) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 0)
        coordinator: Any = worker.consumer._thread._ensure_consumer()._coordinator
        commit = coordinator._do_commit_offsets

        async def hangs_once(assignment: object, offsets: object) -> None:
            if not hung:
                hung.append(offsets)
                await never.open.wait()
            await commit(assignment, offsets)

        monkeypatch.setattr(coordinator, "_do_commit_offsets", hangs_once)
        cluster.produce(topic, [b"x"])
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 1)
    assert len(hung) == 1


async def test_a_commit_that_is_refused_for_good_crashes_the_application(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = cluster.create_topic()
    async with running(cluster, topic, tmp_path) as worker:
        await eventually_so(lambda: cluster.committed(worker.group, topic) == 0)
        fail_commits(worker, monkeypatch, FinalError, times=1)
        cluster.produce(topic, [b"x"])
        assert isinstance(await crash_of(worker), FinalError)


async def test_a_commit_under_a_former_generation_is_not_sent(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = cluster.create_topic()
    async with running(cluster, topic, tmp_path, broker_commit_interval=1000.0) as worker:
        cluster.produce(topic, [b"x"])
        await eventually_so(lambda: len(worker.offsets) == 1)
        coordinator: Any = worker.consumer._thread._ensure_consumer()._coordinator
        sent = fail_commits(worker, monkeypatch, RetriableError, times=1)
        monkeypatch.setattr(coordinator, "generation", coordinator.generation + 1)
        assert not await worker.consumer.commit()
        assert sent() == 0
