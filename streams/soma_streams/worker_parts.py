"""What every worker is made of: consumer groups, and how they start, run and end together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from random import Random
from typing import NamedTuple

import structlog

from soma_schemas.clock import Clock
from soma_schemas.errors import told
from soma_schemas.groups import SinkGroup
from soma_schemas.topics import Topic
from soma_streams.cancellation import done_before, to_the_end
from soma_streams.checks import Waiting
from soma_streams.consumer_group import ConsumerGroup, Settle
from soma_streams.delivery.dead_letters import KafkaDeadLetterWriter
from soma_streams.delivery.decode import WriterSchemas
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry
from soma_streams.metrics import DEAD_LETTER_FLOOD, SinkMetrics
from soma_streams.settings import DeliveringSettings

_log = structlog.get_logger("soma_streams.worker_parts")

_LONGEST_PAUSE_AT_START = timedelta(seconds=0.5)


async def started(stop: asyncio.Event, work: Awaitable[None]) -> bool:
    """Do what a start waits for, and say whether it was done before `stop` was set."""
    done = await done_before(stop, work)
    if not done:
        _log.info("stopped_while_starting")
    return done


async def run(groups: Mapping[ConsumerGroup, Settle], stop: asyncio.Event) -> None:
    """Run consumer groups until `stop` is set, or until one cannot go on; then end them all.

    Raises:
        Exception: What ended one of them.
    """
    ending = asyncio.Event()
    stopping = asyncio.create_task(stop.wait())
    # Joining takes a second, most of it waiting for the brokers: all join at once.
    running = [asyncio.create_task(group.run(settle, ending)) for group, settle in groups.items()]
    try:
        await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        ending.set()
        await to_the_end(asyncio.gather(*running, return_exceptions=True))
    for task in running:
        if (error := task.exception()) is not None:
            _log.error("worker_cannot_go_on", error=type(error).__name__, reason=told(error))
            raise error


class SettlingParts(NamedTuple):
    """What settling takes besides a store: where schemas come from, and where poison goes."""

    schemas: WriterSchemas
    dead_letters: KafkaDeadLetterWriter
    flood: FloodGuard


@asynccontextmanager
async def settling_parts(
    settings: DeliveringSettings, group: str, metrics: SinkMetrics
) -> AsyncIterator[SettlingParts]:
    """Yield the parts of one consumer group; its metrics tell how near a flood of dead letters is."""
    schemas = WriterSchemas(settings.registry)
    dead_letters = KafkaDeadLetterWriter(
        settings.kafka,
        settings.topics,
        group=group,
        application_version=version("somafractalmemory"),
    )
    flood = FloodGuard(settings.delivery)
    metrics.read(DEAD_LETTER_FLOOD, lambda: flood.level)
    try:
        yield SettlingParts(schemas, dead_letters, flood)
    finally:
        dead_letters.close()
        await schemas.close()


def consumer_group(
    settings: DeliveringSettings,
    name: SinkGroup,
    topic: Topic,
    metrics: SinkMetrics,
    clock: Clock,
    *,
    max_concurrent_partitions: int = 1,
    stands: Callable[[], Awaitable[Mapping[int, int]]] | None = None,
) -> ConsumerGroup:
    """Return the consumer group of a sink on a topic, as settings have it.

    Args:
        settings: Brokers, topics and how much is taken at once.
        name: The group.
        topic: What it reads.
        metrics: Where it counts.
        clock: Measures how long a batch takes.
        max_concurrent_partitions: From how many partitions batches are settled at the same time.
        stands: Where the store stands, by partition: what was committed beyond that is read again.
    """
    return ConsumerGroup(
        group=name.on_brokers(settings.topics),
        topic=topic.full_name(settings.topics),
        kafka=settings.kafka,
        delivery=settings.delivery,
        metrics=metrics,
        clock=clock,
        max_concurrent_partitions=max_concurrent_partitions,
        refused_patience=settings.retry.refused_patience,
        stands=stands,
    )


def retry_at_start(settings: DeliveringSettings, clock: Clock, random: Random) -> Retry:
    """Return what waits for parts that start together with the worker."""
    pauses = settings.retry.model_copy(
        update={
            "backoff_max": min(settings.retry.backoff_max, _LONGEST_PAUSE_AT_START),
            "refused_patience": timedelta(0),
        }
    )
    return Retry(pauses, clock, random, Waiting())
