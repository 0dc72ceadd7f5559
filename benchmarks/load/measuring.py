"""What a load costs: processor time of each component, bytes on disks, memory, and how fast workers are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition

from benchmarks.load.local_stack import LoadError, LocalStack, Usage
from benchmarks.load.mixtures import Mixture, memories
from benchmarks.stage import CLOCK
from soma_schemas.configuration import load as load_settings
from soma_schemas.groups import SinkGroup
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import MEMORY_EVENTS

GROUPS = (SinkGroup.POSTGRES.value, SinkGroup.VECTORS.value)

_BATCH = 2_000
_LOOK_SECONDS = 0.1
_DRAIN_SECONDS = 300.0

_TABLE_BYTES = """
SELECT
    coalesce(sum(pg_total_relation_size(oid)) FILTER (WHERE relname LIKE 'memory_history%'), 0)::bigint,
    coalesce(sum(pg_total_relation_size(oid)) FILTER (WHERE relname NOT LIKE 'memory_history%'), 0)::bigint
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""


@dataclass(frozen=True)
class Volume:
    """What lies where, in bytes.

    Attributes:
        index: Segments of the index, without its write-ahead log, whose size no number of memories changes.
        index_memory: What the process that has the index holds in main memory.
    """

    log: int
    history: int
    tables: int
    index: int
    index_memory: int


@dataclass(frozen=True)
class Applied:
    """A load that was applied to both stores.

    Attributes:
        events: How many were published.
        new: How many of them are memories that were not there.
        text_bytes: Of a memory, on average.
        published_seconds: Until the log had the last one.
        group_seconds: Until each group had applied the last one.
        cpu_seconds: What each component used.
        growth: What came to lie where.
    """

    events: int
    new: int
    text_bytes: float
    published_seconds: float
    group_seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    growth: Volume

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class Log:
    """The log of a running stack.

    Args:
        stack: The stack.
    """

    def __init__(self, stack: LocalStack) -> None:
        self.environment = stack.environment()
        self.settings = load_settings(PublishingSettings, environment=self.environment).settings
        self._topic = MEMORY_EVENTS.full_name(self.settings.topics)
        self._clients = {
            group: Consumer({"bootstrap.servers": self.settings.kafka.bootstrap_servers, "group.id": group})
            for group in GROUPS
        }

    def close(self) -> None:
        """Close its connections."""
        for client in self._clients.values():
            client.close()

    def ends(self) -> dict[int, int]:
        """Return where each partition ends."""
        client = self._clients[GROUPS[0]]
        partitions = client.list_topics(self._topic, timeout=10).topics[self._topic].partitions
        return {
            number: client.get_watermark_offsets(TopicPartition(self._topic, number), timeout=10)[1]
            for number in partitions
        }

    def behind(self, group: str, ends: Mapping[int, int]) -> int:
        """Return how many records of those before the ends a group has not committed."""
        asked = [TopicPartition(self._topic, number) for number in ends]
        committed = self._clients[group].committed(asked, timeout=10)
        return sum(max(0, ends[each.partition] - max(0, each.offset)) for each in committed)

    def drained(self, since: float) -> dict[str, float]:
        """Wait until both groups have applied all that is there, and return when each had.

        Raises:
            LoadError: It took too long.
        """
        ends = self.ends()
        seconds: dict[str, float] = {}
        while len(seconds) < len(GROUPS):
            for group in GROUPS:
                if group not in seconds and self.behind(group, ends) == 0:
                    seconds[group] = CLOCK.monotonic() - since
            if CLOCK.monotonic() - since > _DRAIN_SECONDS:
                raise LoadError(f"groups have not applied everything after {_DRAIN_SECONDS:.0f} s")
            CLOCK.block(_LOOK_SECONDS)
        return seconds

    def publish(self, batches: Sequence[Sequence[NewMemory]], tenant: str = "local") -> None:
        """Publish batches of memories, as a producer of users does."""
        with MemoryProducer(self.settings, tenant=tenant) as producer:
            for batch in batches:
                producer.store_many(batch)


def batches_of(made: Sequence[NewMemory]) -> list[Sequence[NewMemory]]:
    """Return memories as they are published."""
    return [made[start : start + _BATCH] for start in range(0, len(made), _BATCH)]


def apply(stack: LocalStack, log: Log, mixture: Mixture, events: int, name: str) -> Applied:
    """Publish a load as fast as the log takes it, wait for both stores, and return what it cost.

    Raises:
        LoadError: The stores did not apply it in time.
    """
    made = list(memories(mixture, events, name))
    batches = batches_of(made)
    volume, used = measure_volume(stack), stack.usage()
    began = CLOCK.monotonic()
    log.publish(batches)
    published = CLOCK.monotonic() - began
    seconds = log.drained(began)
    return Applied(
        events=events,
        new=len({memory.key for memory in made}),
        text_bytes=sum(len(memory.text.encode()) for memory in made) / events,
        published_seconds=published,
        group_seconds=seconds,
        cpu_seconds=cpu_between(used, stack.usage()),
        growth=_growth(volume, measure_volume(stack)),
    )


def cpu_between(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """Return what each component used between two looks, in seconds of processor time."""
    return {name: after[name].cpu_seconds - usage.cpu_seconds for name, usage in before.items()}


def measure_volume(stack: LocalStack) -> Volume:
    """Return what lies where, after the stores have written what they held back."""
    password = (stack.home / "secrets" / "postgres-postgres").read_text(encoding="ascii").strip()
    ports = stack.ports()
    with psycopg.connect(
        host="127.0.0.1",
        port=ports["postgres"],
        dbname="soma",
        user="postgres",
        password=password,
        autocommit=True,
    ) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute(_TABLE_BYTES).fetchone()
    history, tables = row or (0, 0)
    return Volume(
        log=stack.bytes_of("kafka/*/data/memory.events-*/*.log"),
        history=history,
        tables=tables,
        index=stack.bytes_of("vectors/**/segments/**/*"),
        index_memory=int(stack.usage()["api"].rss_mb * 1e6),
    )


def _growth(before: Volume, after: Volume) -> Volume:
    return Volume(**{name: value - getattr(before, name) for name, value in asdict(after).items()})
