"""What a run is played on: brokers, registry and PostgreSQL, and our workers as processes of their own."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel

from chaos.qdrant_process import Mode
from chaos.workload import LIMITS
from own_processes import SomaProcess
from parts import Database, Part, SchemaRegistry
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.home import LOOPBACK, Home, is_free
from soma_cli.local.kafka import bootstrap_of, open_kafka
from soma_cli.local.postgres import Login, Postgres
from soma_cli.local.registry import Registry
from soma_cli.local.unit import ignore
from soma_cli.tasks import together
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import as_environment
from soma_schemas.limits import Limits
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import (
    KafkaSettings,
    PostgresSettings,
    ProducerSettings,
    PublishingSettings,
    RegistrySettings,
    TopicSettings,
    VectorSettings,
)
from soma_schemas.tables.migrations import migrate
from soma_schemas.topic_admin import apply_topics, open_admin
from soma_streams.metrics import SinkName
from soma_streams.settings import DeliverySettings, RetrySettings
from waiting import eventually_now

SESSION = timedelta(seconds=6)
_STEP_SECONDS = 180.0
_SCRAPE_SECONDS = 2.0
_SETTLED = re.compile(r'^soma_events_settled_total\{(?=.*sink="(\w+)").*\} ([0-9.e+]+)$', re.MULTILINE)

Doing = Callable[[Coroutine[Any, Any, Any]], Any]


class _WorkerEnvironment(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    topics: TopicSettings
    postgres: PostgresSettings
    vectors: VectorSettings
    delivery: DeliverySettings
    retry: RetrySettings
    limits: Limits


@dataclass(frozen=True)
class Ending:
    """A worker ended although nobody had asked it to, or not as it was asked."""

    worker: str
    exit_code: int
    last_words: str


class Worker:
    """One worker process: struck on purpose, started again when it ends by itself, and counted.

    Args:
        name: What the schedule calls it.
        sink: Which of its counters tells what it has settled.
        process: The process.
        log: Where it writes.

    Attributes:
        endings: How it ended when that was not as asked.
        stops: How long each stop in order took, in seconds.
    """

    def __init__(self, name: str, sink: SinkName, process: SomaProcess, log: Path) -> None:
        self.name = name
        self.sink = sink
        self.endings: list[Ending] = []
        self.stops: list[float] = []
        self._process = process
        self._log = log
        self._turn = threading.RLock()
        self._runs = False
        self._seen = False
        self._frozen = False
        self._settled_before = 0
        self._settled_now = 0
        self._clock = SystemClock()

    @property
    def settled(self) -> int:
        """Events that it has counted as settled in all its lives, as far as that was seen before a kill."""
        return self._settled_before + self._settled_now

    def launch(self) -> None:
        """Start it, unless it runs."""
        with self._turn:
            if not self._runs:
                self._process.launch()
                self._runs = True

    def wait(self) -> None:
        """Wait until it is ready."""
        self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        with self._turn:
            if self._runs:
                self._scrape()
                self._process.kill()
                self._ended()

    def terminate(self) -> None:
        """Ask it to stop, and watch it to its end."""
        with self._turn:
            if not self._runs:
                return
            self._scrape()
            self._process.send(signal.SIGTERM)
            began = self._clock.monotonic()
            while self._process.exit_code is None and self._clock.monotonic() - began < _STEP_SECONDS / 2:
                self._scrape()
                self._clock.block(0.05)
            self.stops.append(self._clock.monotonic() - began)
            try:
                code = self._process.terminate()
            except TimeoutExpired:
                self._process.kill()
                code = -signal.SIGKILL
            # Python itself ends a process that is told to stop before it has begun.
            if code != 0 and (self._seen or code != -signal.SIGTERM):
                self.endings.append(Ending(self.name, code, self._last_words()))
            self._ended()

    def freeze(self) -> None:
        """Stop it in its tracks."""
        with self._turn:
            if self._runs:
                self._scrape()
                self._frozen = True
                self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, as if nothing had happened."""
        with self._turn:
            if self._frozen:
                self._process.send(signal.SIGCONT)
                self._frozen = False

    def look(self) -> None:
        """Count what it has settled; start it again when it has ended by itself, as a supervisor would."""
        with self._turn:
            if not self._runs or self._frozen:
                return
            code = self._process.exit_code
            if code is None:
                self._scrape()
                return
            self.endings.append(Ending(self.name, code, self._last_words()))
            self._ended()
            self.launch()

    def _ended(self) -> None:
        self._runs = False
        self._seen = False
        self._settled_before += self._settled_now
        self._settled_now = 0

    def _scrape(self) -> None:
        if self._frozen:
            return
        try:
            answer = httpx.get(f"{self._process.url}/metrics", trust_env=False, timeout=_SCRAPE_SECONDS)
        except httpx.TransportError:
            return  # it starts, or ends
        found = [float(count) for sink, count in _SETTLED.findall(answer.text) if sink == self.sink.value]
        self._seen = True
        self._settled_now = max(self._settled_now, int(sum(found)))

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-1500:]


@dataclass(frozen=True)
class Stage:
    """Everything that a run needs.

    Attributes:
        brokers: By the name that the schedule has for each.
        do: Runs something in the loop that the parts belong to.
        index: The server of the vector index.
        index_folder: Its volume.
        vectors: Where it listens.
        mode: The file that says what is wrong with it.
    """

    publishing: PublishingSettings
    owner_dsn: str
    brokers: Mapping[str, Part]
    postgres: Part
    registry: Part
    do: Doing
    workers: Mapping[str, Worker]
    index: SomaProcess
    index_folder: Path
    vectors: VectorSettings
    mode: Path
    watching: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def indexed(self) -> Iterator[None]:
        """Run the server of the index from before the block begins until it ends."""
        self.say(Mode.WELL)
        with ExitStack() as ended:
            ended.push(self.index)
            self.index.launch()
            port = urlsplit(self.vectors.url).port or 0
            eventually_now(lambda: is_free(port), lambda free: not free, seconds=_STEP_SECONDS)
            yield

    def say(self, mode: Mode) -> None:
        """Make the index as bad as this."""
        fresh = self.mode.with_suffix(".new")
        fresh.write_text(mode.value, encoding="ascii")
        fresh.rename(self.mode)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the workers from before the block begins until it ends, and a supervisor that looks after them.

        The index goes on, to be read.
        """
        watch = threading.Thread(target=self._watch, name="supervisor")
        for worker in self.workers.values():
            worker.launch()
        watch.start()
        try:
            # What has not begun yet can be struck, but it has nothing to lose.
            for worker in self.workers.values():
                worker.wait()
            yield
        finally:
            self.watching.set()
            watch.join()
            self.say(Mode.WELL)
            for worker in self.workers.values():
                worker.thaw()
                worker.terminate()

    def _watch(self) -> None:
        while not self.watching.wait(0.3):
            for worker in self.workers.values():
                worker.look()


def stage_on(
    parts: Mapping[str, Part],
    postgres: Database,
    registry: SchemaRegistry,
    do: Doing,
    *,
    bootstrap: str,
    topics: TopicSettings,
    folder: Path,
    postgres_workers: int,
) -> Stage:
    """Return a stage on parts that run: with topics, schemas and tables, and workers that do not run yet.

    Args:
        parts: The brokers.
        postgres: The database, migrated.
        registry: The registry.
        do: Runs something in the loop that they belong to.
        bootstrap: Of the brokers.
        topics: Of this run alone.
        folder: For logs and the index.
        postgres_workers: How many share the log between them.
    """
    publishing = PublishingSettings(
        kafka=KafkaSettings(bootstrap_servers=bootstrap),
        registry=registry.settings(),
        topics=topics,
        limits=LIMITS,
        # Short, so that an outage of the brokers makes a producer publish again what was written anyway.
        producer=ProducerSettings.model_validate({"delivery_timeout": timedelta(seconds=8)}),
    )
    apply_topics(open_admin(publishing.kafka), topics)
    with open_registry(publishing.registry) as client:
        register_schemas(client, topics)
    mode, index_folder = folder / "mode", folder / "index"
    ports = iter(_free_ports(postgres_workers + 2))
    index_port = next(ports)
    vectors = VectorSettings(url=f"http://{LOOPBACK}:{index_port}")
    workers = {}
    for number in range(1, postgres_workers + 1):
        name = f"postgres-{number}"
        workers[name] = _worker(
            publishing, postgres, vectors, name, sink=SinkName.POSTGRES, port=next(ports), folder=folder
        )
    workers["vectors"] = _worker(
        publishing, postgres, vectors, "vectors", sink=SinkName.VECTORS, port=next(ports), folder=folder
    )
    return Stage(
        publishing=publishing,
        owner_dsn=postgres.dsn(Login.OWNER),
        brokers=parts,
        postgres=postgres,
        registry=registry,
        do=do,
        workers=workers,
        index=SomaProcess(
            [str(index_folder), str(index_port), str(mode)],
            _found_here(),
            index_port,
            folder / "index.log",
            module="chaos.qdrant_process",
        ),
        index_folder=index_folder,
        vectors=vectors,
        mode=mode,
    )


def _worker(
    publishing: PublishingSettings,
    postgres: Database,
    vectors: VectorSettings,
    name: str,
    *,
    sink: SinkName,
    port: int,
    folder: Path,
) -> Worker:
    delivery: dict[str, Any] = {"session_timeout": SESSION}
    if sink is SinkName.VECTORS:
        delivery["instance_id"] = name  # one of the two kinds is a static member of its group
    environment = as_environment(
        _WorkerEnvironment(
            kafka=publishing.kafka,
            registry=publishing.registry,
            topics=publishing.topics,
            postgres=postgres.settings(Login.WORKER),
            vectors=vectors,
            delivery=DeliverySettings.model_validate(delivery),
            retry=RetrySettings.model_validate({"backoff_max": timedelta(seconds=2)}),
            limits=publishing.limits,
        )
    )
    environment["SOMA_WORKER__PORT"] = str(port)
    log = folder / f"{name}.log"
    return Worker(name, sink, SomaProcess(["work", sink.value], environment, port, log), log)


def _found_here() -> dict[str, str]:
    places = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    return {"PYTHONPATH": os.pathsep.join(filter(None, places))}


def _free_ports(count: int) -> list[int]:
    return list(islice((port for port in range(31_000, 32_000) if is_free(port)), count))


@contextmanager
def open_stage(
    folder: Path, cache: Path, seed: int, *, brokers: int, postgres_workers: int
) -> Iterator[Stage]:
    """Start a cluster of brokers, a registry and a database of their own, and tear them down at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="parts", daemon=True)
    thread.start()

    def do(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(_STEP_SECONDS)

    clock, artifacts, opened = SystemClock(), Artifacts(cache), AsyncExitStack()
    try:
        cluster = do(
            opened.enter_async_context(
                open_kafka(Home(folder / "kafka", Random(seed)), artifacts, clock, ignore, brokers=brokers)
            )
        )
        home = Home(folder / "databases", Random(seed + 1))
        postgres = Postgres(home, clock, ignore)
        registry = Registry(home, artifacts, clock, ignore, postgres)
        opened.push_async_callback(_stop, registry, postgres)
        do(_start(registry, postgres))
        migrate(postgres.dsn(Login.OWNER))
        do(postgres.grant_roles())
        copies = 3 if brokers > 2 else 1
        yield stage_on(
            {broker.name: broker for broker in cluster},
            postgres,
            registry,
            do,
            bootstrap=bootstrap_of(cluster),
            topics=TopicSettings(
                partitions=6, replication_factor=copies, min_insync_replicas=max(1, copies - 1)
            ),
            folder=folder,
            postgres_workers=postgres_workers,
        )
    finally:
        do(opened.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(registry: Registry, postgres: Postgres) -> None:
    await together(registry.fetch(), postgres.start())
    await registry.start()


async def _stop(registry: Registry, postgres: Postgres) -> None:
    await registry.stop()
    await postgres.stop()
