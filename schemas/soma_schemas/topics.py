"""The topics, declared once: what they carry, how they are keyed, and how they are cleaned up."""

from dataclasses import dataclass, field
from datetime import timedelta

from soma_schemas.avro_schemas import AvroSchema, latest
from soma_schemas.events import (
    SINK_EVENTS,
    DataKeyWrapped,
    ErasureCompleted,
    ErasureRequested,
    ExpiredMemory,
    MemoryExpiring,
    Record,
    RetentionPolicySet,
    SealedEvent,
)
from soma_schemas.settings import TopicSettings
from soma_schemas.versions import FIRST_EPOCH, MAX_EPOCH

_MEGABYTE = 1024 * 1024
_MILLISECOND = timedelta(milliseconds=1)
_TOMBSTONES_KEPT = timedelta(days=30)
# What follows the name of `memory.events`, and then the number, from the second epoch on.
EPOCH_SUFFIX = ".e"


@dataclass(frozen=True)
class Topic:
    """One topic as declared.

    Attributes:
        name: Without the prefix of an installation.
        key: How records are keyed, in words.
        records: What it carries; empty for raw copies.
        retention: How long records are kept; None where the newest of each key is kept for ever.
        partitioned_by_memory: Whether it has as many partitions as `memory.events` is declared with;
            otherwise one.
        per_epoch: Whether each epoch has a topic of its own.
    """

    name: str
    key: str
    records: tuple[type[Record], ...]
    retention: timedelta | None
    partitioned_by_memory: bool = True
    log_append_time: bool = False
    extra_config: tuple[tuple[str, str], ...] = field(default=())
    per_epoch: bool = False

    def full_name(self, settings: TopicSettings, epoch: int | None = None) -> str:
        """Return the name on the brokers: from the second epoch on `memory.events.e2` and so on.

        Args:
            settings: How the topics are laid out.
            epoch: Another one than theirs.
        """
        number = settings.epoch if epoch is None else epoch
        follows = self.per_epoch and number > FIRST_EPOCH
        return settings.prefix + self.name + (f"{EPOCH_SUFFIX}{number}" if follows else "")

    def epoch_of(self, full_name: str, settings: TopicSettings) -> int | None:
        """Return of which epoch the topic with this name on the brokers is; None when it is another topic."""
        base = settings.prefix + self.name
        if full_name == base:
            return FIRST_EPOCH
        number = full_name.removeprefix(base + EPOCH_SUFFIX)
        if number == full_name or not (number.isascii() and number.isdecimal()) or number[0] == "0":
            return None
        epoch = int(number)
        return epoch if FIRST_EPOCH < epoch <= MAX_EPOCH else None

    def epoch(self, settings: TopicSettings) -> int:
        """Return the epoch that its offsets belong to."""
        return self._layout(settings).epoch

    def partitions(self, settings: TopicSettings) -> int:
        """Return how many partitions it has."""
        return self._layout(settings).partitions if self.partitioned_by_memory else 1

    def _layout(self, settings: TopicSettings) -> TopicSettings:
        return settings if self.per_epoch else settings.declared

    def config(self, settings: TopicSettings) -> dict[str, str]:
        """Return the topic's configuration on the brokers, as Kafka spells it."""
        config = {
            "min.insync.replicas": str(settings.min_insync_replicas),
            # A full event: payload, text and embedding at their limits, with room for headers.
            "max.message.bytes": str(2 * _MEGABYTE),
            "message.timestamp.type": "LogAppendTime" if self.log_append_time else "CreateTime",
        }
        if self.retention is None:
            config["cleanup.policy"] = "compact"
            # A consumer that is away for longer would not learn what was lifted meanwhile.
            config["delete.retention.ms"] = str(_TOMBSTONES_KEPT // _MILLISECOND)
        else:
            config["cleanup.policy"] = "delete"
            config["retention.ms"] = str(int(self.retention.total_seconds() * 1000))
        return config | dict(self.extra_config)

    def subject(self, record: str, settings: TopicSettings) -> str:
        """Return the registry's subject for a record on this topic (TopicRecordName strategy)."""
        return f"{self.full_name(settings)}-{latest(record).full_name}"

    def schemas(self) -> tuple[AvroSchema, ...]:
        """Return the newest schema of each record that it carries."""
        return tuple(latest(record.__name__) for record in self.records)


MEMORY_EVENTS = Topic(
    "memory.events",
    key="tenant/memory_id",
    records=(*SINK_EVENTS, SealedEvent),
    retention=timedelta(days=30),
    # Lag, as-of reads and retention follow the log's clock, never a producer's.
    log_append_time=True,
    per_epoch=True,
)
DEAD_LETTERS = Topic(
    "memory.events.dlq",
    key="as the original",
    records=(),
    retention=timedelta(days=90),
    log_append_time=True,
    # An original at the limit of its topic, and the headers that tell what became of it.
    extra_config=(("max.message.bytes", str(3 * _MEGABYTE)),),
)
MEMORY_EXPIRING = Topic(
    "memory.expiring", key="tenant/memory_id", records=(MemoryExpiring,), retention=timedelta(days=7)
)
MEMORY_EXPIRED = Topic(
    "memory.expired", key="tenant/memory_id", records=(ExpiredMemory,), retention=timedelta(days=30)
)
MEMORY_POLICIES = Topic(
    "memory.policies",
    key="tenant/namespace",
    records=(RetentionPolicySet,),
    retention=None,
    partitioned_by_memory=False,
)
MEMORY_ERASURES = Topic(
    "memory.erasures",
    key="tenant/request_id",
    records=(ErasureRequested, ErasureCompleted),
    retention=None,
    partitioned_by_memory=False,
)

# As old is the oldest event that can be delivered again: as the last of the log it became a dead letter.
REPLAYABLE = sum(
    (topic.retention or timedelta(0) for topic in (MEMORY_EVENTS, DEAD_LETTERS)), start=timedelta(0)
)

MEMORY_KEYS = Topic(
    "memory.keys",
    key="tenant/key_id",
    records=(DataKeyWrapped,),
    retention=None,
    partitioned_by_memory=False,
    extra_config=(
        # So long a destroyed key is there at most before the cleaner takes it, if something is written after.
        ("segment.ms", str(timedelta(minutes=10) // _MILLISECOND)),
        ("max.compaction.lag.ms", str(timedelta(minutes=10) // _MILLISECOND)),
        ("min.cleanable.dirty.ratio", "0.01"),
        # For as long as an event may come again that a destroyed key has encrypted.
        ("delete.retention.ms", str(REPLAYABLE // _MILLISECOND)),
    ),
)

TOPICS = (
    MEMORY_EVENTS,
    DEAD_LETTERS,
    MEMORY_EXPIRING,
    MEMORY_EXPIRED,
    MEMORY_POLICIES,
    MEMORY_ERASURES,
    MEMORY_KEYS,
)
