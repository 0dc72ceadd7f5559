"""Moves `memory.events` to a topic of a new epoch: closed, drained, and only then followed by the next one.

What has been done is in the brokers alone, so that a migration that was ended anywhere goes on when it is run
again: a topic is closed by its own configuration, and making the next one is the switch.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from secrets import token_bytes

import psycopg
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from soma_cli.log_layout import LogLayout
from soma_cli.tasks import in_thread
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.groups import SinkGroup
from soma_schemas.log_epochs import CLOSED_MESSAGE_BYTES, SIZE_LIMIT
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import KafkaSettings, PostgresSettings, PublishingSettings, TopicSettings
from soma_schemas.topic_admin import BrokerError, apply_topics, broker_error
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.versions import MAX_EPOCH
from soma_streams.lag.broker_groups import groups_now
from soma_streams.lag.facts import GroupSeen
from soma_streams.log_state import log_state

SINKS = (SinkGroup.POSTGRES, SinkGroup.VECTORS)

_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('soma topics migrate', 0))"
_ANSWER_SECONDS = 30.0
_LOOK_EVERY_SECONDS = 0.5
# Nothing settled for so long while workers are there, or no worker: somebody has to look.
_STILL_SECONDS = 60.0


class LogMigrationError(SomaError):
    """The log cannot be moved, or not now; what was done so far stays and is gone on from."""

    code = "log_migration"
    remedy = (
        "Run `soma topics migrate` again to go on, or `soma topics migrate --abort` to open the log again."
    )


@dataclass(frozen=True)
class Drained:
    """How far the sinks are with a log that is closed.

    Attributes:
        left: Offsets that not all sinks have passed.
        absent: Groups in which nobody is.
    """

    left: int
    absent: tuple[str, ...]


def next_layout(layout: LogLayout, partitions: int, *, recreate: bool) -> TopicSettings:
    """Return how the topics will be laid out after a migration: pure.

    Raises:
        LogMigrationError: It is not needed, or cannot be.
    """
    present = layout.topics.partitions
    if partitions < present:
        raise LogMigrationError(
            f"{layout.name} has {present} partitions, and never fewer",
            remedy=f"name {present} or more with --partitions",
        )
    if partitions == present and not recreate:
        raise LogMigrationError(
            f"{layout.name} has {present} partitions already",
            remedy="with --recreate it is made anew with as many",
        )
    if layout.topics.epoch == MAX_EPOCH:
        raise LogMigrationError(f"epoch {MAX_EPOCH} is the last one", remedy="there is none")
    return layout.topics.at(layout.topics.epoch + 1, partitions)


@contextmanager
def alone(postgres: PostgresSettings) -> Iterator[Callable[[], object]]:
    """Be the only one that moves the log, until the block ends or this process.

    Yields:
        What raises once the session with PostgreSQL is lost, and with it this right.

    Raises:
        LogMigrationError: Somebody else does.
        psycopg.Error: PostgreSQL does not answer.
    """
    with psycopg.connect(postgres.conninfo(), autocommit=True) as session:
        if session.execute(_LOCK).fetchone() != (True,):
            raise LogMigrationError(
                "another `soma topics migrate` is at work", remedy="wait for it, or end it: the next goes on"
            )
        yield partial(session.execute, "SELECT 1")


async def close_log(admin: AdminClient, kafka: KafkaSettings, topics: TopicSettings, clock: Clock) -> None:
    """Have the brokers refuse every event, and return once the leader of each partition does.

    Raises:
        LogMigrationError: One still takes events after half a minute.
        BrokerError: The brokers do not answer or refuse.
    """
    name = MEMORY_EVENTS.full_name(topics)
    await in_thread(partial(_set_size_limit, admin, name, CLOSED_MESSAGE_BYTES))
    deadline = clock.monotonic() + _ANSWER_SECONDS
    while open_ones := await in_thread(partial(_still_open, kafka, topics)):
        if clock.monotonic() > deadline:
            raise LogMigrationError(
                f"the leaders of partitions {', '.join(map(str, sorted(open_ones)))} still take events"
            )
        await clock.sleep(_LOOK_EVERY_SECONDS)


def open_log(admin: AdminClient, topics: TopicSettings) -> None:
    """Have the brokers take events again; blocks.

    Raises:
        BrokerError: The brokers do not answer or refuse.
    """
    declared = MEMORY_EVENTS.config(topics)[SIZE_LIMIT]
    _set_size_limit(admin, MEMORY_EVENTS.full_name(topics), declared)


async def look_at_sinks(kafka: KafkaSettings, topics: TopicSettings) -> Mapping[SinkGroup, GroupSeen]:
    """Return the groups of the sinks, as the brokers tell them.

    Raises:
        BrokerError: No broker answers.
        LogMigrationError: The brokers do not tell of one.
    """
    names = {group.on_brokers(topics): group for group in SINKS}
    seen = await groups_now(kafka, names)
    if seen.untold:
        raise LogMigrationError(f"it is not known who reads the log: {'; '.join(seen.untold)}")
    return {names[name]: group for name, group in seen.groups.items()}


def drained(
    groups: Mapping[SinkGroup, GroupSeen],
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    topics: TopicSettings,
) -> Drained:
    """Return how far the sinks are: pure.

    Args:
        groups: As the brokers tell them.
        starts: The first offset that each partition of the log has.
        ends: Where each ends, asked after it was closed.
        topics: As they are laid out.
    """
    left = 0
    for group in SINKS:
        committed = groups[group].committed if group in groups else {}
        passed = {
            place.partition: offset
            for place, offset in committed.items()
            if place.topic == MEMORY_EVENTS.full_name(topics)
        }
        left += sum(max(0, end - passed.get(number, starts[number])) for number, end in ends.items())
    return Drained(left, absent(groups, topics))


def absent(groups: Mapping[SinkGroup, GroupSeen], topics: TopicSettings) -> tuple[str, ...]:
    """Return the groups in which nobody is: pure."""
    return tuple(
        group.on_brokers(topics) for group in SINKS if group not in groups or groups[group].members == ()
    )


async def drain(
    kafka: KafkaSettings, topics: TopicSettings, clock: Clock, tell: Callable[[int], None]
) -> None:
    """Return once both sinks have passed the end of every partition of a closed log, seen twice.

    Args:
        kafka: The brokers.
        topics: As they are laid out.
        clock: Paces the looking.
        tell: Hears how many offsets are left.

    Raises:
        LogMigrationError: A sink is away, or settles nothing for a minute.
        BrokerError: The brokers do not answer.
    """
    fewest, since, seen = -1, clock.monotonic(), 0
    while True:
        # Committed before ended: an end that was asked first could have been passed since.
        groups = await look_at_sinks(kafka, topics)
        state = await in_thread(partial(log_state, kafka, topics))
        found = drained(groups, state.starts, state.ends, topics)
        tell(found.left)
        seen = seen + 1 if found.left == 0 else 0
        if seen > 1:
            return
        if fewest < 0 or found.left < fewest:
            fewest, since = found.left, clock.monotonic()
        elif found.left and clock.monotonic() - since > _STILL_SECONDS:
            raise LogMigrationError(
                f"{found.left:,} offsets are left, and none was settled for a minute"
                + (f"; nobody is in {', '.join(found.absent)}" if found.absent else ""),
                remedy="start the workers and look into their logs, then run `soma topics migrate` again; "
                "or open the log again with `soma topics migrate --abort`",
            )
        await clock.sleep(_LOOK_EVERY_SECONDS)


def register_for(settings: PublishingSettings, topics: TopicSettings) -> None:
    """Register the schemas for a topic that is still to be made; blocks.

    Raises:
        RegistryError: The registry refuses one or cannot be reached.
    """
    with open_registry(settings.registry) as registry:
        register_schemas(registry, topics)


def make_next(admin: AdminClient, topics: TopicSettings) -> None:
    """Make the topic of the next epoch: from then on everybody goes there; blocks.

    Raises:
        BrokerError: The brokers do not answer or refuse.
        LogMigrationError: It is not as it should be.
    """
    _, left = apply_topics(admin, topics, [MEMORY_EVENTS])
    if left:
        raise LogMigrationError("; ".join(map(str, left)))


async def joined(
    kafka: KafkaSettings, topics: TopicSettings, clock: Clock, tell: Callable[[Collection[str]], None]
) -> bool:
    """Wait until both sinks read the log in force, and say whether they do within two minutes.

    Args:
        kafka: The brokers.
        topics: As they are laid out now.
        clock: Paces the looking.
        tell: Hears who does not read it yet.

    Raises:
        BrokerError: The brokers do not answer.
        LogMigrationError: The brokers do not tell of one.
    """
    name, deadline = MEMORY_EVENTS.full_name(topics), clock.monotonic() + 2 * _STILL_SECONDS
    while True:
        groups = await look_at_sinks(kafka, topics)
        missing = [
            group.on_brokers(topics)
            for group in SINKS
            if group not in groups
            or {
                place.partition
                for member in groups[group].members or ()
                for place in member.places
                if place.topic == name
            }
            != set(range(topics.partitions))
        ]
        if not missing:
            return True
        tell(missing)
        if clock.monotonic() > deadline:
            return False
        await clock.sleep(_LOOK_EVERY_SECONDS)


def drop_logs(admin: AdminClient, former: Collection[TopicSettings]) -> list[str]:
    """Delete the topics of earlier epochs, and return their names; blocks.

    Raises:
        BrokerError: The brokers do not answer or refuse.
    """
    names = [MEMORY_EVENTS.full_name(each) for each in former]
    if names:
        for future in admin.delete_topics(names, operation_timeout=_ANSWER_SECONDS).values():
            try:
                future.result(timeout=2 * _ANSWER_SECONDS)
            except KafkaException as error:
                raise broker_error(error) from error
    return names


def _set_size_limit(admin: AdminClient, name: str, value: str) -> None:
    entry = ConfigEntry(SIZE_LIMIT, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    try:
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(timeout=_ANSWER_SECONDS)
    except KafkaException as error:
        raise broker_error(error) from error


def _still_open(kafka: KafkaSettings, topics: TopicSettings) -> set[int]:
    """Return the partitions whose leader takes a record: in a transaction that ends as if nothing was.

    A broker acknowledges a configuration a moment before its leaders follow it, so they are asked themselves.
    """
    producer = Producer(
        kafka.librdkafka(silent=True)
        | {
            "client.id": "soma-migration",
            "transactional.id": f"{topics.prefix}soma-topics-migrate",
            "transaction.timeout.ms": int(_ANSWER_SECONDS * 1000),
            "linger.ms": 0,
        }
    )
    try:
        producer.init_transactions(_ANSWER_SECONDS)
        # One each: a refusal ends a transaction, and says nothing of what else is in it.
        return {number for number in range(topics.partitions) if _takes(producer, topics, number)}
    except KafkaException as error:
        raise broker_error(error) from error


def _takes(producer: Producer, topics: TopicSettings, number: int) -> bool:
    answers: list[KafkaError | None] = []
    producer.begin_transaction()
    # Nothing of it can be compressed: it stays above what a closed topic takes.
    producer.produce(
        MEMORY_EVENTS.full_name(topics),
        value=token_bytes(256),
        partition=number,
        on_delivery=lambda error, _: answers.append(error),
    )
    producer.flush(_ANSWER_SECONDS)
    producer.abort_transaction(_ANSWER_SECONDS)
    match answers:
        case [None]:
            return True
        case [KafkaError() as error] if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return False
        case [KafkaError() as error]:
            raise KafkaException(error)
        case _:
            raise BrokerError("a broker does not answer")
