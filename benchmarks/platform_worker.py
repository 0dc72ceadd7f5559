"""The platform's own worker processes, started as an installation starts them, and watched from outside."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
from confluent_kafka import KafkaException
from pydantic import BaseModel

from benchmarks.results import Run
from benchmarks.stage import CLOCK, Stage
from soma_schemas.configuration import as_environment
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import (
    KafkaSettings,
    PostgresSettings,
    RegistrySettings,
    TopicSettings,
)

WORK_POSTGRES = (sys.executable, "-m", "soma_cli.main", "work", "postgres")

_TABLES = (
    "memories, memory_history, memory_links, sink_watermarks, dead_letters, namespace_counts, tenant_counts"
)
# A module that refuses to be imported stands there in the extension's place.
_WITHOUT_NATIVE = Path("tests/without_native").resolve()
_LOOK_SECONDS = 0.02
_STOP_SECONDS = 40
_START_SECONDS = 60
# Below this something is wrong.
_SLOWEST_RATE = 1_000


class _Places(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    topics: TopicSettings
    postgres: PostgresSettings


class WorkerEndedError(Exception):
    """A worker ended by itself, or did not get on."""


class Worker:
    """A running worker process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._seen = psutil.Process(process.pid)
        self._log = log

    def require(self) -> None:
        """Refuse to go on when it has ended."""
        if self._process.poll() is not None:
            raise WorkerEndedError(f"a worker ended: {self._log.read_text(errors='replace')[-2000:]}")

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        used = self._seen.cpu_times()
        return float(used.user + used.system)

    def rss_mb(self) -> float:
        """Return the memory that it has."""
        return float(self._seen.memory_info().rss) / 2**20

    def end(self) -> None:
        """Have it stop in order."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(
    stage: Stage,
    topics: TopicSettings,
    count: int = 1,
    command: Sequence[str] = WORK_POSTGRES,
    more: Mapping[str, str] | None = None,
) -> Iterator[list[Worker]]:
    """Run a worker so many times until the block ends, with more in its environment."""
    with ExitStack() as started:
        yield [
            started.enter_context(_one(stage, topics, number, command, more or {})) for number in range(count)
        ]


@contextmanager
def _one(
    stage: Stage, topics: TopicSettings, number: int, command: Sequence[str], more: Mapping[str, str]
) -> Iterator[Worker]:
    places = _Places(
        kafka=stage.parts.kafka.settings(),
        registry=stage.parts.registry.settings(),
        topics=topics,
        postgres=stage.worker_database(),
    )
    environment = {**os.environ, **as_environment(places), "SOMA_WORKER__PORT": "0", **more}
    log = stage.folder / f"worker-{number}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)  # noqa: S603  # ours
    worker = Worker(process, log)
    try:
        yield worker
    finally:
        worker.end()


def reset(stage: Stage, topics: TopicSettings, group: SinkGroup = SinkGroup.POSTGRES) -> None:
    """Have the platform begin at the beginning, with empty tables."""
    stage.execute(f"TRUNCATE {_TABLES}")
    admin = stage.admin  # a client that nobody holds is gone before its answer
    for done in admin.delete_consumer_groups([group.on_brokers(topics)]).values():
        try:
            done.result(20)
        except KafkaException:
            continue  # there is none yet
    stage.settle_down()


class Progress:
    """How far a sink is, by the watermarks that it writes in the transaction of its rows."""

    def __init__(self, stage: Stage, group: SinkGroup = SinkGroup.POSTGRES) -> None:
        self._dsn = stage.dsn()
        self._group = group.value
        self._connection: psycopg.Connection | None = None

    def events(self) -> int:
        """Return how many events are settled; -1 while the database is away."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._dsn, autocommit=True)
            row = self._connection.execute(
                "SELECT coalesce(sum(next_offset), 0)::bigint FROM sink_watermarks WHERE consumer_group = %s",
                [self._group],
            ).fetchone()
        except psycopg.OperationalError:
            self._connection = None
            return -1
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()


async def timed(
    stage: Stage, workers: list[Worker], events: int, group: SinkGroup = SinkGroup.POSTGRES
) -> Run:
    """Return how long workers took from their first settled events to so many.

    Raises:
        WorkerEndedError: One ended, or nothing moved for long.
    """
    progress = Progress(stage, group)
    seconds = _START_SECONDS + events / _SLOWEST_RATE
    patience = CLOCK.monotonic() + seconds
    first = (0, 0.0, 0.0)
    while True:
        for worker in workers:
            worker.require()
        settled, now = progress.events(), CLOCK.monotonic()
        if settled > 0 and not first[0]:
            first = (settled, now, sum(worker.cpu_seconds() for worker in workers))
        if settled >= events:
            break
        if now > patience:
            raise WorkerEndedError(f"only {settled:,} of {events:,} events were settled in {seconds:.0f} s")
        await CLOCK.sleep(_LOOK_SECONDS)
    progress.close()
    return Run(
        events=settled - first[0],
        seconds=now - first[1],
        cpu_seconds=sum(worker.cpu_seconds() for worker in workers) - first[2],
        rss_mb=max(worker.rss_mb() for worker in workers),
    )


async def everything(
    stage: Stage,
    topics: TopicSettings,
    events: int,
    workers: int = 1,
    batch: int | None = None,
    *,
    native: bool = True,
) -> Run:
    """Return how long the platform takes for so many events, into empty tables.

    Args:
        stage: Where it runs.
        topics: What it reads.
        events: How many it is timed for.
        workers: How many processes share them.
        batch: The most events of one batch; what is set by default if none is given.
        native: Whether they have the native extension.
    """
    await asyncio.to_thread(reset, stage, topics)
    more = {"SOMA_DELIVERY__BATCH_EVENTS": str(batch)} if batch is not None else {}
    if not native:
        more["PYTHONPATH"] = str(_WITHOUT_NATIVE)
    with running(stage, topics, workers, more=more) as started:
        return await timed(stage, started, events)
