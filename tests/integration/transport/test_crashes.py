"""Workers are killed, stopped and joined while records flow; the journals are what was really done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from integration.transport.harness import (
    CLOCK,
    Cluster,
    WorkerProcess,
    a_name,
    commits_ahead,
    journaled,
    passing,
)
from waiting import Patience, eventually_so

PARTITIONS = 4


@contextmanager
def ended(workers: list[WorkerProcess]) -> Iterator[None]:
    """Leave no worker behind."""
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()


async def test_nothing_is_lost_when_workers_are_killed_and_stopped_under_load(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, group, random = cluster.create_topic(PARTITIONS), a_name("group"), Random(7)
    journals: list[Path] = []
    workers: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        worker = WorkerProcess(
            cluster, topic, group, tmp_path / f"w{len(journals)}", seconds=0.1, batch_records=100
        )
        journals.append(worker.journal)
        workers.append(worker)
        return worker

    def progress() -> int:
        return sum(map(len, journaled(*journals).values()))

    with ended(workers):
        alive = [start(), start()]
        for round_number in range(6):
            before = progress()
            for partition in range(PARTITIONS):
                cluster.produce(topic, [b"x" * 100] * 300, partition=partition)
            await eventually_so(lambda: progress() > before, seconds=40)  # noqa: B023  # awaited here
            # Long enough for a commit of what is under way, if somebody made that mistake.
            await passing(random.uniform(0.04, 0.3))
            leaving = alive.pop(random.randrange(2))
            if round_number % 3 == 2:
                assert leaving.stop() == 0, leaving.log.read_text()
            else:
                leaving.kill()
            commits = cluster.commits(group, topic, PARTITIONS)
            assert commits_ahead(commits, journaled(*journals)) == []
            alive.append(start())
            await eventually_so(alive[-1].journal.exists)
        everything = dict.fromkeys(range(PARTITIONS), 6 * 300)
        await eventually_so(lambda: cluster.commits(group, topic, PARTITIONS) == everything, seconds=60)
        assert commits_ahead(dict(everything), journaled(*journals)) == []
        assert [worker.stop() for worker in alive] == [0, 0]


async def test_a_worker_killed_in_the_middle_of_a_batch_leaves_it_to_the_next(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, group = cluster.create_topic(), a_name("group")
    workers = [WorkerProcess(cluster, topic, group, tmp_path / "first", seconds=60.0)]
    with ended(workers):
        cluster.produce(topic, [b"x"] * 10)
        await eventually_so(lambda: cluster.committed(group, topic) == 0, seconds=40)
        workers[0].kill()
        workers.append(WorkerProcess(cluster, topic, group, tmp_path / "second"))
        await eventually_so(lambda: cluster.committed(group, topic) == 10, seconds=40)
    assert journaled(workers[0].journal) == {}
    assert journaled(workers[1].journal) == {0: list(range(10))}


async def test_a_second_worker_takes_its_share_while_the_first_works(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, group = cluster.create_topic(PARTITIONS), a_name("group")
    workers = [WorkerProcess(cluster, topic, group, tmp_path / "first", seconds=0.05)]
    total = 0
    with ended(workers):

        async def work_until(done: Callable[[], object]) -> None:
            nonlocal total
            patience = Patience(60)
            while not done():
                assert patience.lasts()
                for partition in range(PARTITIONS):
                    cluster.produce(topic, [b"x"] * 50, partition=partition)
                total += 50
                await CLOCK.sleep(0.1)

        await work_until(lambda: journaled(workers[0].journal))
        workers.append(WorkerProcess(cluster, topic, group, tmp_path / "second", seconds=0.05))
        await work_until(lambda: journaled(workers[1].journal))
        everything = dict.fromkeys(range(PARTITIONS), total)
        await eventually_so(lambda: cluster.commits(group, topic, PARTITIONS) == everything, seconds=60)
        seen = journaled(*(worker.journal for worker in workers))
        assert {partition: sorted(set(offsets)) for partition, offsets in seen.items()} == {
            partition: list(range(total)) for partition in range(PARTITIONS)
        }
        assert [worker.stop() for worker in workers] == [0, 0]
