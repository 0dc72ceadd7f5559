"""A Faust application on the transport, and what a broker says about it from outside."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import faust
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from soma_schemas.clock import SystemClock
from soma_streams.transport import (
    BatchSchema,
    Consumer,
    Options,
    RecordBatch,
    app_settings,
    batches,
    configure,
    consumer_of,
)
from waiting import Patience, eventually_now, eventually_so

_names = count(1)
CLOCK = SystemClock()

# What a broker that has just come back says until it knows which groups are its own.
_NOT_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
}


def a_name(kind: str) -> str:
    """Return a name that no other test has, on a broker that may outlive the session."""
    return f"{kind}-{os.getpid()}-{next(_names)}"


async def passing(seconds: float) -> None:
    """Let time pass, in which something must not happen, or anything may."""
    begun = CLOCK.monotonic()
    await eventually_so(lambda: CLOCK.monotonic() - begun > seconds, seconds=seconds + 20)


class Cluster:
    """The broker, seen by a client that has nothing to do with the transport."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def create_topic(self, partitions: int = 1, **config: str) -> str:
        name = a_name("topic")
        topic = NewTopic(name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})
        for done in self.admin.create_topics([topic]).values():
            done.result(20)
        return name

    def produce(self, topic: str, values: Iterable[bytes | None], *, partition: int = 0, **more: Any) -> None:
        self.produce_with({}, topic, values, partition=partition, **more)

    def produce_with(
        self,
        config: Mapping[str, Any],
        topic: str,
        values: Iterable[bytes | None],
        *,
        partition: int = 0,
        **more: Any,
    ) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0, **config})
        for value in values:
            producer.produce(topic, value, partition=partition, **more)
            producer.poll(0)
        assert producer.flush(20) == 0

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """Return the group's commit, or None if it has none."""
        return self._commits(group, [TopicPartition(topic, partition)])[partition]

    def commits(self, group: str, topic: str, partitions: int) -> dict[int, int | None]:
        """Return the group's commit of every partition."""
        return self._commits(group, [TopicPartition(topic, number) for number in range(partitions)])

    def _commits(self, group: str, partitions: list[TopicPartition]) -> dict[int, int | None]:
        patience = Patience(30)
        with self._consumer(group) as consumer:
            while True:
                try:
                    found = consumer.committed(partitions, timeout=20)
                except KafkaException as failure:
                    if failure.args[0].code() not in _NOT_YET or not patience.lasts():
                        raise
                    CLOCK.block(0.1)
                else:
                    return {each.partition: each.offset if each.offset >= 0 else None for each in found}

    def end_offset(self, topic: str, partition: int = 0) -> int:
        with self._consumer("nobody") as consumer:
            end: int = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)[1]
        return end

    def _consumer(self, group: str) -> "_Closing":
        return _Closing(KafkaConsumer({"bootstrap.servers": self.bootstrap, "group.id": group}))


class _Closing:
    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def __enter__(self) -> KafkaConsumer:
        return self._consumer

    def __exit__(self, *error: object) -> None:
        self._consumer.close()


class Worker:
    """A running application with one agent, whose work the test decides.

    Attributes:
        batches: What the agent was handed, in order.
    """

    def __init__(self, app: faust.App, work: Callable[[RecordBatch], Awaitable[bool]] | None) -> None:
        self.app = app
        self.batches: list[RecordBatch] = []
        self._work = work

    @property
    def consumer(self) -> Consumer:
        return consumer_of(self.app)

    @property
    def group(self) -> str:
        name: str = self.app.conf.id
        return name

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for batch in self.batches for record in batch]

    @property
    def offsets(self) -> list[int]:
        return [record.offset for batch in self.batches for record in batch]

    async def apply(self, stream: Any) -> None:
        async for batch in batches(stream):
            self.batches.append(batch)
            if self._work is None or await self._work(batch):
                self.consumer.acknowledge(batch)


@asynccontextmanager
async def running(
    cluster: Cluster,
    topics: str | Sequence[str],
    data: Path,
    *,
    group: str | None = None,
    work: Callable[[RecordBatch], Awaitable[bool]] | None = None,
    options: Options | None = None,
    **settings: Any,
) -> AsyncIterator[Worker]:
    """Run an application on these topics until the block ends.

    Args:
        cluster: The broker.
        topics: What the agent listens to.
        data: A folder for Faust.
        group: The consumer group, one of its own by default.
        work: What the agent does with a batch; it is acknowledged if that returns true. Without it, at once.
        options: The transport's.
        settings: Override the application's.
    """
    app = faust.App(
        group or a_name("group"),
        **{
            **app_settings(cluster.bootstrap),
            "datadir": data,
            "web_enabled": False,
            "broker_commit_interval": 0.1,
            "stream_recovery_delay": 0.0,
            **settings,
        },
    )
    if options is not None:
        configure(app, options)
    worker = Worker(app, work)
    named = [topics] if isinstance(topics, str) else topics
    app.agent(app.topic(*named, schema=BatchSchema()), name="apply")(worker.apply)
    app.finalize()
    await app.start()
    try:
        yield worker
    finally:
        await app.stop()


async def crash_of(worker: Worker, *, seconds: float = 20.0) -> BaseException:
    """Return why the application crashed, once it has."""
    reason = await eventually_so(lambda: worker.app.crash_reason, seconds=seconds)
    assert reason is not None
    return reason


class Gate:
    """Work that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, batch: RecordBatch) -> bool:
        del batch
        await self.open.wait()
        return True


class WorkerProcess:
    """A worker that can be killed.

    Args:
        cluster: The broker.
        topic: What it works on.
        group: Its consumer group.
        folder: Where it keeps its things; the journal in it outlives it.
        seconds: How long it works on one batch.
        batch_records: Most records in one batch.
        settings: Override its application's.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        group: str,
        folder: Path,
        *,
        seconds: float = 0.0,
        batch_records: int = 1_000,
        **settings: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.journal = folder / "journal"
        self.log = folder / "log"
        order = {
            "bootstrap": cluster.bootstrap,
            "topic": topic,
            "group": group,
            "data": str(folder / "faust"),
            "journal": str(self.journal),
            "seconds": seconds,
            "batch_records": batch_records,
            "settings": {
                "broker_commit_interval": 0.02,
                "broker_session_timeout": 2.0,
                "broker_heartbeat_interval": 0.3,
                **settings,
            },
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("worker.py")), json.dumps(order)],
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop, and return what it exits with."""
        self.process.terminate()
        code = eventually_now(self.process.poll, lambda code: code is not None)
        assert code is not None
        return code


def journaled(*journals: Path) -> dict[int, list[int]]:
    """Return the offsets that workers wrote down, by partition, in the order of the journals."""
    seen: dict[int, list[int]] = {}
    for journal in journals:
        if not journal.exists():
            continue
        for line in journal.read_text(encoding="ascii").splitlines(keepends=True):
            if line.endswith("\n"):  # a killed worker leaves half a line
                partition, offsets = json.loads(line)
                seen.setdefault(partition, []).extend(offsets)
    return seen


def commits_ahead(commits: dict[int, int | None], seen: dict[int, list[int]]) -> list[str]:
    """Return every partition whose commit passes a record that nobody has written down."""
    return [
        f"partition {partition} is committed to {commit}, record {missing} is missing"
        for partition, commit in commits.items()
        if (missing := next((o for o in range(commit or 0) if o not in set(seen.get(partition, ()))), None))
        is not None
    ]
