"""`soma reindex` for another model, on a stack that is read and written all the while.

REINDEX_MEMORIES says how many memories there are; what was measured is printed as JSON.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from pydoc_data.topics import topics
from random import Random
from statistics import quantiles
from typing import Any, NamedTuple, Self
from uuid import UUID

import psutil
import pytest

from embedding_endpoint import DIMENSIONS, MODEL, embedding_endpoint
from judge.verdict import behind
from judging import installation, judged_at_home
from soma_cli.connection import running_stack
from soma_cli.settings import KNOWN, OperatorSettings
from soma_client import Retrying, SomaClient
from soma_client.connection import Connection
from soma_schemas.configuration import load
from soma_schemas.errors import SomaError
from soma_schemas.events import PatchField
from soma_schemas.producer import MemoryProducer, NewMemory, Receipt
from soma_schemas.settings import PublishingSettings
from soma_schemas.versions import Position
from soma_up import soma_up
from waiting import eventually_now

_MEMORIES = int(os.environ.get("REINDEX_MEMORIES", "5000"))
_AT_ONCE = 5000
_WORDS = 24
# A pause of everybody who reads or writes: load, and no contest for the machine.
_PAUSE_SECONDS = 0.02
_WAIT_SECONDS = 60


class Texts:
    """English of some kind, without end: after each word comes one that follows it in Python's manual."""

    def __init__(self) -> None:
        self._following: defaultdict[str, list[str]] = defaultdict(list)
        words = re.findall("[a-zA-Z]{2,}", " ".join(topics.values()).lower())
        for word, following in pairwise(words):
            self._following[word].append(following)
        self._words = sorted(self._following)

    def __call__(self, number: int) -> str:
        """Return the text of a memory, always the same."""
        random = Random(number)
        words = [random.choice(self._words)]
        while len(words) < _WORDS:
            words.append(random.choice(self._following[words[-1]] or self._words))
        return f"{' '.join(words)} {number}"


class Answer(NamedTuple):
    """A read that was answered: when, and after how many seconds."""

    began: float
    seconds: float


class Load:
    """Somebody who searches, one who gets, one who looks for what was just stored, and one who produces.

    Attributes:
        failed: What each read that failed was, and how.
        refused: The same of writes.
        reads: By kind.
        ends: What was acknowledged last, by partition.
    """

    def __init__(
        self, connection: Connection, settings: PublishingSettings, tenant: str, texts: Texts
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._tenant = tenant
        self._texts = texts
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._ids: Sequence[UUID] = ()
        self.failed: list[str] = []
        self.refused: list[str] = []
        self.reads: dict[str, list[Answer]] = {"search": [], "get": [], "just stored": []}
        self.ends: dict[int, int] = {}
        self.writes = 0

    def seed(self) -> None:
        """Store what is read afterwards."""
        receipts: list[Receipt] = []
        with self._producer() as producer:
            for start in range(0, _MEMORIES, _AT_ONCE):
                numbers = range(start, min(_MEMORIES, start + _AT_ONCE))
                receipts += producer.store_many(map(self._memory, numbers))
        self._ids = [each.memory_id for each in receipts]
        for each in receipts:
            self._acknowledged(each.position)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Read and write until the block ends."""
        work = (self._search, self._get, self._look_for_own, self._produce)
        threads = [threading.Thread(target=each) for each in work]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self._over.set()
            for each in threads:
                each.join()

    def _client(self) -> SomaClient:
        """A client that shows what is wrong: it neither tries again nor waits."""
        return SomaClient(
            self._connection.url,
            self._connection.api_key,
            retrying=Retrying(total_seconds=0.0),
            read_your_writes=False,
        )

    def _search(self) -> None:
        random = Random(1)
        with self._client() as client:
            while not self._over.wait(_PAUSE_SECONDS):
                number = random.randrange(_MEMORIES)
                self._read("search", lambda: self._finds(client, self._texts(number), self._ids[number]))  # noqa: B023  # called at once

    def _get(self) -> None:
        random = Random(2)
        with self._client() as client:
            while not self._over.wait(_PAUSE_SECONDS):
                number = random.randrange(_MEMORIES)
                self._read("get", lambda: client.read_memory(self._ids[number]).text == self._texts(number))  # noqa: B023  # called at once

    def _look_for_own(self) -> None:
        with self._client() as client:
            for number in count(2 * _MEMORIES, 2):
                if self._over.wait(_PAUSE_SECONDS):
                    return
                try:
                    written = client.store_memory(
                        self._texts(number),
                        namespace="written",
                        key=f"own {number}",
                        wait_seconds=_WAIT_SECONDS,
                    )
                except SomaError as error:
                    self.refused.append(f"{type(error).__name__}: {error}")
                    continue
                self._acknowledged(Position.parse(written.position))
                if written.outcome is None:
                    self.refused.append(f"{written.position} was not searchable in {_WAIT_SECONDS} s")
                    continue
                self._read(
                    "just stored",
                    lambda: self._finds(client, self._texts(number), written.memory_id),  # noqa: B023  # called at once
                )

    def _produce(self) -> None:
        with self._producer() as producer:
            for number in count(2 * _MEMORIES + 1, 2):
                if self._over.wait(_PAUSE_SECONDS):
                    return
                stored = producer.store(self._memory(number))
                self._acknowledged(stored.position)
                if number % 3 == 0:
                    changed = {PatchField.TEXT: self._texts(-number)}
                    self._acknowledged(producer.patch("written", stored.memory_id, changed).position)
                if number % 5 == 0:
                    self._acknowledged(producer.delete("written", stored.memory_id).position)

    def _read(self, kind: str, is_right: Callable[[], bool]) -> None:
        began = time.monotonic()
        try:
            right = is_right()
        except SomaError as error:
            self.failed.append(f"{kind}: {type(error).__name__}: {error}")
        else:
            if not right:
                self.failed.append(f"{kind}: not what was stored")
        self.reads[kind].append(Answer(began, time.monotonic() - began))

    def _finds(self, client: SomaClient, text: str, memory_id: UUID) -> bool:
        hits = client.search(text, top_k=3).hits
        return memory_id in {hit.memory.memory_id for hit in hits}

    def _acknowledged(self, position: Position) -> None:
        with self._lock:
            self.writes += 1
            self.ends[position.partition] = max(self.ends.get(position.partition, -1), position.offset)

    def _producer(self) -> MemoryProducer:
        return MemoryProducer(self._settings, tenant=self._tenant)

    def _memory(self, number: int) -> NewMemory:
        namespace = "seeded" if number < _MEMORIES else "written"
        return NewMemory(namespace=namespace, key=f"memory {number}", text=self._texts(number))


class MostMemory:
    """The most that processes had, in MB, looked at again and again until the block ends."""

    def __init__(self) -> None:
        self.most: dict[str, float] = {}
        self._watched: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def watch(self, name: str, pid: int) -> None:
        self._watched[name] = pid

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            for name, pid in list(self._watched.items()):
                try:
                    size = psutil.Process(pid).memory_info().rss / 1e6
                except psutil.NoSuchProcess:
                    continue
                self.most[name] = round(max(self.most.get(name, 0.0), size), 1)


class Rebuilt(NamedTuple):
    """What `soma reindex` printed, and when each of its phases began."""

    printed: dict[str, Any]
    began: float
    ended: float
    phases: dict[str, float]


def rebuild(environment: dict[str, str], memory: MostMemory) -> Rebuilt:
    """Run it, and follow what it says of its progress."""
    command = [sys.executable, "-m", "soma_cli.main", "reindex", "--yes", "--json", "--recall", "0.5"]
    began = time.monotonic()
    phases: dict[str, float] = {}
    said: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        memory.watch("soma reindex", process.pid)
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            said.append(line)
            sys.stderr.write(line)
            if line.startswith("{") and "phase" in (told := json.loads(line)):
                phases.setdefault(told["phase"], round(time.monotonic() - began, 1))
        printed = process.stdout.read()
    assert process.returncode == 0, "".join(said[-20:])
    return Rebuilt(json.loads(printed), began, time.monotonic(), phases)


def took(reads: Sequence[Answer], since: float, until: float) -> dict[str, float]:
    """Return milliseconds of the reads that began in a time."""
    taken = [each.seconds * 1e3 for each in reads if since <= each.began < until]
    steps = quantiles(taken, n=100)
    return {
        "reads": len(taken),
        "p50": round(steps[49], 1),
        "p99": round(steps[98], 1),
        "most": round(max(taken), 1),
    }


@pytest.mark.long
def test_while_an_index_for_another_model_is_built_no_read_fails_and_no_write_is_lost(tmp_path: Path) -> None:
    home, texts = tmp_path / "home", Texts()
    with embedding_endpoint() as following:
        with soma_up(home, following) as up, MostMemory() as memory:
            local = running_stack(home)
            settings = load(PublishingSettings, environment=local.environment, known=KNOWN).settings
            owner = load(OperatorSettings, environment=local.environment, known=KNOWN).settings.postgres
            load_ = Load(Connection(local.url, local.api_key), settings, local.tenant, texts)
            at = installation(settings, owner.conninfo())
            load_.seed()
            eventually_now(lambda: behind(at), lambda left: left == 0, seconds=120)
            began = time.monotonic()
            with load_.running():
                eventually_now(lambda: len(load_.reads["just stored"]), lambda asked: asked >= 20)
                memory.watch("API", up.pid("api") or 0)
                environment = os.environ | following | {"SOMA_HOME": str(home)}
                rebuilt = rebuild(environment, memory)
                # Until the API has gone over, and a while on.
                asked = len(load_.reads["just stored"])
                eventually_now(lambda: len(load_.reads["just stored"]), lambda now: now >= asked + 50)
            over = time.monotonic()
            eventually_now(lambda: behind(at), lambda left: left == 0, seconds=120)
            assert up.stop() == 0
        verdict = judged_at_home(home, settings, load_.ends, model=MODEL, dimensions=DIMENSIONS)

    printed = rebuilt.printed
    figures = {
        "memories": _MEMORIES,
        "engine": "embedded",
        "seconds": round(rebuilt.ended - rebuilt.began, 1),
        "phases_began": rebuilt.phases,
        "recall": printed["recall"],
        "memory_mb": memory.most,
        "writes_meanwhile": load_.writes - _MEMORIES,
        "writes_per_second": round((load_.writes - _MEMORIES) / (over - began), 1),
        "failed_reads": len(load_.failed),
        "refused_writes": len(load_.refused),
        "lost_events": verdict.lost,
        "points": vars(verdict.parts["points"]),
        "milliseconds": {
            kind: {
                "before": took(reads, began, rebuilt.began),
                "meanwhile": took(reads, rebuilt.began, over),
            }
            for kind, reads in load_.reads.items()
        },
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    assert load_.failed == []
    assert load_.refused == []
    assert (printed["switched"], printed["built"]["model"]) == (True, MODEL)
    assert printed["recall"]["questions"] > 0
    assert verdict.right, str(verdict)
    assert verdict.memories == verdict.parts["points"].expected > _MEMORIES
