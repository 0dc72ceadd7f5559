"""The workers: each wires stores to the log, and runs until it is told to stop or cannot go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import Random

import structlog

from soma_schemas.clock import Clock
from soma_schemas.events import SINK_EVENTS
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.native_fields import ABSENCE
from soma_schemas.outcomes import Outcome
from soma_schemas.pool_metrics import PoolName, expose_pool
from soma_schemas.postgres_pool import open_pool
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import Embedder
from soma_streams.audit.whole_audit import auditor_of
from soma_streams.checks import Waiting, require_log, require_tables
from soma_streams.committed import committed_watermarks
from soma_streams.consumer_group import Settle
from soma_streams.delivery.decode import Decoder
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.native import NativeReader
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.sealed_events import KeyReader, SealedEvents
from soma_streams.delivery.settle import Settled, Settler, Sink
from soma_streams.delivery.state import Watermark
from soma_streams.epochs import through_epochs
from soma_streams.erasure.erasure_store import ErasureStore
from soma_streams.erasure.index_witness import Beside, IndexWitness, nothing_beside
from soma_streams.former_log import FormerLog
from soma_streams.log_state import LogState, log_state
from soma_streams.metrics import (
    INDEX_WHOLE,
    POINTS,
    FillMetrics,
    SinkMetrics,
    SinkName,
    WorkerMetrics,
)
from soma_streams.probe_server import open_probe_server
from soma_streams.settings import DeliveringSettings, PostgresWorkerSettings, VectorWorkerSettings
from soma_streams.sinks.data_key_reader import DataKeyReader
from soma_streams.sinks.dead_letter_index import DeadLetterIndex
from soma_streams.sinks.postgres.postgres_sink import PostgresSink
from soma_streams.sinks.vectors.filling import Filling
from soma_streams.sinks.vectors.memory_pages import Records
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.standing import Standing
from soma_streams.sinks.vectors.vector_sink import VectorSink
from soma_streams.sinks.vectors.writer import PointWriter
from soma_streams.sinks.watermarks import PostgresWatermarks
from soma_streams.transport import RecordBatch
from soma_streams.worker_parts import consumer_group, retry_at_start, run, settling_parts, started

_log = structlog.get_logger("soma_streams.workers")

_CLOSE_WATERMARKS_SECONDS = 5.0


async def work_postgres(
    settings: PostgresWorkerSettings,
    *,
    clock: Clock,
    random: Random,
    metrics: MetricSet,
    stop: asyncio.Event,
) -> None:
    """Apply memory events to PostgreSQL, and index dead letters there, until `stop` is set.

    Raises:
        Exception: What made going on impossible; what is unsettled comes again.
    """
    await through_epochs(settings, _work_postgres, clock=clock, random=random, metrics=metrics, stop=stop)


async def _work_postgres(
    settings: PostgresWorkerSettings,
    *,
    clock: Clock,
    random: Random,
    metrics: MetricSet,
    stop: asyncio.Event,
) -> None:
    """Do so in one epoch of the log."""
    at_start = retry_at_start(settings, clock, random)

    async def look() -> None:
        await require_tables(settings.postgres, at_start)
        await require_log(settings, at_start)

    if not await started(stop, look()):
        return
    async with AsyncExitStack() as opened:
        pool = await opened.enter_async_context(open_pool(settings.postgres))
        expose_pool(pool, PoolName.WORKER, metrics)
        of_sinks = WorkerMetrics(metrics)
        of_events, of_letters = of_sinks.of(SinkName.POSTGRES), of_sinks.of(SinkName.DEAD_LETTER_INDEX)
        events = consumer_group(
            settings,
            SinkGroup.POSTGRES,
            MEMORY_EVENTS,
            of_events,
            clock,
            max_concurrent_partitions=settings.delivery.max_concurrent_partitions,
        )
        dead_letters = consumer_group(settings, SinkGroup.DEAD_LETTERS, DEAD_LETTERS, of_letters, clock)
        keys = DataKeyReader(pool, settings.encryption)
        settler = await opened.enter_async_context(
            open_settler(
                settings,
                PostgresSink(pool, SinkGroup.POSTGRES, settings.limits),
                keys,
                Retry(settings.retry, clock, random, events, of_events),
                metrics=of_events,
                clock=clock,
            )
        )
        index = _indexing(
            DeadLetterIndex(pool),
            Retry(settings.retry, clock, random, dead_letters, of_letters),
            DEAD_LETTERS.epoch(settings.topics),
        )
        await opened.enter_async_context(open_probe_server(settings.worker, metrics, [events, dead_letters]))
        await run({events: settler.settle, dead_letters: index}, stop)


async def work_vectors(
    settings: VectorWorkerSettings,
    *,
    writer: PointWriter,
    embedder: Embedder,
    collection: Collection,
    clock: Clock,
    random: Random,
    metrics: MetricSet,
    stop: asyncio.Event,
    beside: Beside = nothing_beside,
) -> None:
    """Apply memory events to the vector index until `stop` is set.

    PostgreSQL is told the watermarks, and may be away meanwhile.

    Args:
        settings: Of the worker.
        writer: The engine.
        embedder: Turns text into vectors.
        collection: What the engine's points have in common.
        clock: Time.
        random: Jitter.
        metrics: Of the process.
        stop: Ends the work.
        beside: Returns the names of other indexes that are kept.

    Raises:
        Exception: What made going on impossible; what is unsettled comes again.
    """
    work = partial(_work_vectors, writer=writer, embedder=embedder, collection=collection, beside=beside)
    await through_epochs(settings, work, clock=clock, random=random, metrics=metrics, stop=stop)


async def _work_vectors(
    settings: VectorWorkerSettings,
    *,
    writer: PointWriter,
    embedder: Embedder,
    collection: Collection,
    clock: Clock,
    random: Random,
    metrics: MetricSet,
    stop: asyncio.Event,
    beside: Beside,
) -> None:
    """Do so in one epoch of the log."""
    at_start = retry_at_start(settings, clock, random)
    if collection.language is not settings.index.language:
        _log.warning(
            "index_language_differs", of_index=collection.language, of_settings=settings.index.language
        )
    maker = PointMaker(embedder, Bm25Encoder(collection.language), collection)
    committed: list[Watermark] = []

    async def look() -> None:
        await require_log(settings, at_start)
        await at_start("prepare the index", writer.prepare)
        committed.extend(
            await at_start(
                "read committed offsets",
                lambda: asyncio.to_thread(
                    committed_watermarks, settings.kafka, settings.topics, SinkGroup.VECTORS
                ),
            )
        )

    if not await started(stop, look()):
        return
    async with AsyncExitStack() as opened:
        pool = await opened.enter_async_context(open_pool(settings.postgres))
        keys = DataKeyReader(pool, settings.encryption)
        of_sink = WorkerMetrics(metrics).of(SinkName.VECTORS)
        watermarks = PostgresWatermarks(pool, Retry(settings.retry, clock, random, Waiting(), of_sink), clock)
        # Also what an index has lost since: up to there it is not whole before it holds it again.
        for watermark in committed:
            watermarks.offer(watermark)
        expose_pool(pool, PoolName.WORKER, metrics)
        standing = Standing(writer, range(MEMORY_EVENTS.partitions(settings.topics)))
        metrics.read(INDEX_WHOLE, lambda: [((), standing.is_whole)])
        metrics.read(POINTS, lambda: [((), count) for count in [standing.points] if count is not None])
        events = consumer_group(
            settings,
            SinkGroup.VECTORS,
            MEMORY_EVENTS,
            of_sink,
            clock,
            stands=standing.offsets,
        )
        await opened.enter_async_context(open_probe_server(settings.worker, metrics, [events]))

        async def ask() -> LogState:
            return await at_start(
                "ask for the log", lambda: asyncio.to_thread(log_state, settings.kafka, settings.topics)
            )

        async def prepare() -> None:
            filling = Filling(
                writer=writer,
                records=Records(pool),
                maker=maker,
                retry=at_start,
                flood=FloodGuard(settings.delivery),
                topic=MEMORY_EVENTS.full_name(settings.topics),
                metrics=FillMetrics(metrics),
                former_log=FormerLog(settings.kafka, settings.topics, clock).is_in,
            )
            standing.begin(await filling.prepare(ask))

        async with asyncio.TaskGroup() as side:
            side.create_task(watermarks.run())
            # Beside everything else: while the database is away, the index gets on.
            checking = side.create_task(require_tables(settings.postgres, at_start))
            try:
                if await started(stop, prepare()):
                    sink = VectorSink(
                        writer=writer,
                        maker=maker,
                        standing=standing,
                        group=SinkGroup.VECTORS,
                        offer_watermark=watermarks.offer,
                        limits=settings.limits,
                    )
                    retry = Retry(settings.retry, clock, random, events, of_sink)
                    settler = await opened.enter_async_context(
                        open_settler(settings, sink, keys, retry, metrics=of_sink, clock=clock)
                    )
                    watching = side.create_task(standing.watch(clock))
                    auditor = auditor_of(
                        settings,
                        pool,
                        keys,
                        writer=writer,
                        maker=maker,
                        index_offsets=standing.offsets,
                        clock=clock,
                        random=random,
                        metrics=metrics,
                    )
                    auditing = side.create_task(auditor.run())
                    witness = IndexWitness(ErasureStore(pool), writer, clock, beside)
                    looking = side.create_task(
                        witness.run(Retry(settings.retry, clock, random, Waiting(), of_sink))
                    )
                    await run({events: settler.settle}, stop)
                    watching.cancel()
                    auditing.cancel()
                    looking.cancel()
            finally:
                checking.cancel()
                await watermarks.close(_CLOSE_WATERMARKS_SECONDS)


@asynccontextmanager
async def open_settler(
    settings: DeliveringSettings,
    sink: Sink,
    keys: KeyReader,
    retry: Retry,
    *,
    metrics: SinkMetrics,
    clock: Clock,
) -> AsyncIterator[Settler]:
    """Yield what brings the batches of one sink to their outcomes."""
    native = NativeReader.where_installed(settings.limits)
    _log.info("native_extension", group=sink.group, installed=native is not None, reason=ABSENCE or None)
    epoch = settings.topics.epoch
    async with settling_parts(settings, sink.group, metrics) as parts:
        yield Settler(
            sink=sink,
            decoder=Decoder(SINK_EVENTS, settings.limits, epoch, native),
            sealed=SealedEvents(keys, settings.limits, epoch),
            schemas=parts.schemas,
            dead_letters=parts.dead_letters,
            retry=retry,
            clock=clock,
            flood=parts.flood,
            epoch=epoch,
        )


def _indexing(index: DeadLetterIndex, retry: Retry, epoch: int) -> Settle:
    async def settle(batch: RecordBatch) -> Settled:
        watermark = Watermark(SinkGroup.DEAD_LETTERS, batch.topic, batch.partition, epoch, batch.next_offset)
        indexed = await retry("index dead letters", lambda: index.apply(batch, watermark))
        repeated = len(batch.records) - indexed
        outcomes = {Outcome.APPLIED: indexed, Outcome.SUPERSEDED: repeated}
        return Settled(batch.partition, batch.next_offset, outcomes)

    return settle
