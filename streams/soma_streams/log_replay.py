"""Applies a part of the log to tables that no worker fills: up to given offsets, and nothing after them."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from soma_schemas.clock import Clock
from soma_schemas.events import SINK_EVENTS
from soma_schemas.groups import SinkGroup
from soma_schemas.outcomes import Outcome
from soma_schemas.postgres_pool import open_pool
from soma_schemas.settings import PostgresSettings, PublishingSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_streams.audit.retained_log import RetainedLog
from soma_streams.checks import Waiting
from soma_streams.delivery.dead_letters import DeadLetter
from soma_streams.delivery.decode import Decoder, WriterSchemas
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.native import NativeReader
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.sealed_events import KeyReader, SealedEvents
from soma_streams.delivery.settle import Settler
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.sinks.postgres.postgres_sink import PostgresSink
from soma_streams.transport.records import RecordBatch


class _AlreadyWritten:
    """Where dead letters go: nowhere, since the workers that read this log have written theirs."""

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Do nothing."""


async def replay(
    settings: PublishingSettings,
    postgres: PostgresSettings,
    spans: Mapping[int, tuple[int, int]],
    keys: KeyReader,
    *,
    clock: Clock,
    random: Random,
    advance: Callable[[int], None],
) -> Mapping[Outcome, int]:
    """Apply events to the tables as the worker does, and return how many had which outcome.

    It joins no consumer group, commits nothing and publishes nothing. Interrupted, it is begun again from the
    watermarks of the tables.

    Args:
        settings: Where the log and the registry are.
        postgres: The tables, as their owner.
        spans: The first offset of each partition, and the one before which it ends.
        keys: Open what is encrypted; what an erasure has destroyed since stays closed.
        clock: Time.
        random: Jitter.
        advance: Hears of every further event.

    Raises:
        BrokerError: The brokers do not answer, or refuse.
        DeadLetterFloodError: So many events cannot be applied that something else is wrong.
        Exception: What else made going on impossible.
    """
    outcomes = dict.fromkeys(Outcome, 0)
    topic = MEMORY_EVENTS.full_name(settings.topics)
    schemas = WriterSchemas(settings.registry)
    try:
        with RetainedLog(settings.kafka, settings.topics, clock) as retained:
            async with open_pool(postgres) as pool:
                settler = Settler(
                    sink=PostgresSink(pool, SinkGroup.POSTGRES, settings.limits),
                    decoder=Decoder(
                        SINK_EVENTS,
                        settings.limits,
                        settings.topics.epoch,
                        NativeReader.where_installed(settings.limits),
                    ),
                    sealed=SealedEvents(keys, settings.limits, settings.topics.epoch),
                    schemas=schemas,
                    dead_letters=_AlreadyWritten(),
                    retry=Retry(RetrySettings(), clock, random, Waiting()),
                    clock=clock,
                    flood=FloodGuard(DeliverySettings()),
                    epoch=settings.topics.epoch,
                )
                for partition, (start, end) in sorted(spans.items()):
                    async for page in retained.pages(partition, start, end):
                        settled = await settler.settle(RecordBatch.of((topic, partition), page))
                        for outcome, count in settled.outcomes.items():
                            outcomes[outcome] += count
                        advance(len(page))
    finally:
        await schemas.close()
    return outcomes
