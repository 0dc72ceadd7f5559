"""Both sinks and the dead-letter index on the real parts, fed by a plain consumer instead of consumer groups.

Membership is proven elsewhere and takes seconds; what replays promise shows without it, at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from random import Random
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from psycopg_pool import AsyncConnectionPool

from builders import NoDataKeys
from soma_schemas.clock import SystemClock
from soma_schemas.groups import SinkGroup
from soma_schemas.limits import Limits
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import Embedder
from soma_streams import workers
from soma_streams.checks import Waiting
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.state import Watermark
from soma_streams.metrics import SinkName, WorkerMetrics
from soma_streams.replay.originals import record_of
from soma_streams.settings import DeliveringSettings, RetrySettings
from soma_streams.sinks.dead_letter_index import DeadLetterIndex
from soma_streams.sinks.postgres.postgres_sink import PostgresSink
from soma_streams.sinks.sessions import Pool
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.vector_sink import VectorSink
from soma_streams.sinks.vectors.writer import PointWriter
from soma_streams.sinks.watermarks import advance
from soma_streams.transport.records import RecordBatch
from standings import a_standing

Settle = Callable[[RecordBatch], Awaitable[Any]]


class Sinks:
    """What applies the log of one test to its stores; it goes on where it was when it runs again.

    Args:
        settings: Brokers, registry and topics of the test.
        dsn: Of the workers' login.
        index: The vector index.
        embedder: Its embedder.
    """

    def __init__(
        self,
        settings: PublishingSettings,
        dsn: str,
        index: PointWriter,
        embedder: Embedder,
        collection: Collection,
    ) -> None:
        self._settings = settings
        self._dsn = dsn
        self._index = index
        self._embedder = embedder
        self._collection = collection
        self._next: dict[tuple[str, str, int], int] = {}

    @asynccontextmanager
    async def running(
        self, *, records: Limits | None = None, vectors: Limits | None = None
    ) -> AsyncIterator[None]:
        """Apply whatever the log has and receives, until the block ends.

        Args:
            records: What the Postgres sink lets pass.
            vectors: What the vector sink lets pass.
        """
        async with AsyncExitStack() as opened:
            pool: Pool = AsyncConnectionPool(self._dsn, min_size=1, max_size=4, open=False)
            await opened.enter_async_context(pool)
            reached: list[Watermark] = []
            sink = VectorSink(
                writer=self._index,
                maker=PointMaker(self._embedder, Bm25Encoder(), self._collection),
                standing=await a_standing(self._index),
                group=SinkGroup.VECTORS,
                offer_watermark=reached.append,
                limits=vectors or Limits(),
            )
            tables = PostgresSink(pool, SinkGroup.POSTGRES, records or Limits())
            settle_records = await self._settler(opened, tables, records)
            settle_points = await self._settler(opened, sink, vectors)
            letters = DeadLetterIndex(pool)

            async def settle_vectors(batch: RecordBatch) -> None:
                await settle_points(batch)
                async with pool.connection() as connection:
                    # A batch that was halved offers one for each half; the last is the furthest.
                    furthest = {(each.topic, each.partition): each for each in reached}
                    await advance(connection, list(furthest.values()))
                reached.clear()

            async def settle_letters(batch: RecordBatch) -> None:
                place = (batch.topic, batch.partition, self._settings.topics.epoch, batch.next_offset)
                await letters.apply(batch, Watermark(SinkGroup.DEAD_LETTERS, *place))

            async with asyncio.TaskGroup() as tasks:
                # Ended between two batches, as a worker ends: what was settled does not come again.
                ending = asyncio.Event()
                for group, topic, settle in (
                    (SinkGroup.POSTGRES, MEMORY_EVENTS, settle_records),
                    (SinkGroup.VECTORS, MEMORY_EVENTS, settle_vectors),
                    (SinkGroup.DEAD_LETTERS, DEAD_LETTERS, settle_letters),
                ):
                    tasks.create_task(self._turn(group, topic, settle, ending))
                try:
                    yield
                finally:
                    ending.set()

    async def _settler(self, opened: AsyncExitStack, sink: Any, limits: Limits | None) -> Settle:
        settings = DeliveringSettings(
            kafka=self._settings.kafka,
            registry=self._settings.registry,
            topics=self._settings.topics,
            limits=limits or Limits(),
        )
        clock = SystemClock()
        metrics = WorkerMetrics(MetricSet()).of(SinkName.POSTGRES)
        retry = Retry(RetrySettings(), clock, Random(1), Waiting(), metrics)
        settler = await opened.enter_async_context(
            workers.open_settler(settings, sink, NoDataKeys(), retry, metrics=metrics, clock=clock)
        )
        return settler.settle

    async def _turn(self, group: SinkGroup, topic: Any, settle: Settle, ending: asyncio.Event) -> None:
        name = topic.full_name(self._settings.topics)
        consumer = Consumer(
            self._settings.kafka.librdkafka()
            | {"group.id": f"{name}-{group.value}", "enable.auto.commit": False, "fetch.wait.max.ms": 20}
        )
        with closing(consumer):
            partitions = range(topic.partitions(self._settings.topics))
            consumer.assign(
                [TopicPartition(name, each, self._next.get((group, name, each), 0)) for each in partitions]
            )
            while not ending.is_set():
                messages = await asyncio.to_thread(consumer.consume, 500, 0.02)
                for partition in partitions:
                    found = [record_of(each) for each in messages if each.partition() == partition]
                    if found:
                        batch = RecordBatch.of((name, partition), found)
                        await settle(batch)
                        self._next[group, name, partition] = batch.next_offset
