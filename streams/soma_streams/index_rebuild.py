"""A second index beside the one in use: filled from PostgreSQL, kept up with the log, compared with the rows.

It is the ordinary vector sink with another target and a consumer group of its own. What the index says of
itself (ADR 28) says how far it has come, so a rebuild that was killed anywhere goes on where it was.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import NamedTuple
from uuid import UUID

from soma_schemas.clock import Clock
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import Embedder
from soma_schemas.vectors.progress import Held
from soma_streams.audit.audited_tables import AuditedTables
from soma_streams.audit.drift import Findings
from soma_streams.audit.index_audit import IndexAudit, IndexStores
from soma_streams.audit.pace import Pace, Tell
from soma_streams.checks import require_log
from soma_streams.committed import commit_offsets, delete_group
from soma_streams.consumer_group import ConsumerGroup
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry
from soma_streams.log_state import LogState, log_state
from soma_streams.metrics import FillMetrics, SinkName, WorkerMetrics
from soma_streams.settings import VectorWorkerSettings
from soma_streams.sinks.data_key_reader import DataKeyReader
from soma_streams.sinks.postgres.postgres_sink import PostgresSink
from soma_streams.sinks.sessions import Pool
from soma_streams.sinks.vectors.filling import Filling
from soma_streams.sinks.vectors.memory_pages import Recorded, Records
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.standing import Standing, held_by
from soma_streams.sinks.vectors.vector_sink import VectorSink
from soma_streams.sinks.vectors.writer import PointWriter
from soma_streams.worker_parts import retry_at_start, run, started
from soma_streams.workers import open_settler


class SampledText(NamedTuple):
    """The text of a memory that was drawn by lot."""

    tenant: str
    memory_id: UUID
    text: str


class RebuildProgress(NamedTuple):
    """How far an index has come.

    Attributes:
        filled: Memories and tombstones that are in from PostgreSQL.
        total: How many there were when that began; None before it began.
        ends: Where the log ends.
        reached: Up to where of it the index has everything; None while PostgreSQL's are not all in.
    """

    filled: int
    total: int | None
    ends: Mapping[int, int]
    reached: Mapping[int, int] | None

    def behind(self, ends: Mapping[int, int]) -> int:
        """Return how many events the index lacks of what the log had when it ended there."""
        reached = self.reached or {}
        return sum(max(0, end - reached.get(partition, 0)) for partition, end in ends.items())


def rebuild_group(topics: TopicSettings, index: str) -> str:
    """Return the name on the brokers of the group that keeps an index up with the log while it is built."""
    return f"{SinkGroup.VECTORS.on_brokers(topics)}.{index}"


class IndexRebuild:
    """Builds one index.

    Args:
        settings: The log, its schemas, and PostgreSQL.
        writer: The engine of the index that is built.
        embedder: Turns text into its vectors.
        collection: What its points have in common.
        name: Of the index; its consumer group is named after it.
        pool: Connections to PostgreSQL of a login with role soma_sinks.
        clock: Time.
        random: Jitter, and the lot that draws texts.
    """

    def __init__(
        self,
        settings: VectorWorkerSettings,
        *,
        writer: PointWriter,
        embedder: Embedder,
        collection: Collection,
        name: str,
        pool: Pool,
        clock: Clock,
        random: Random,
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._maker = PointMaker(embedder, Bm25Encoder(collection.language), collection)
        self._group = rebuild_group(settings.topics, name)
        self._pool = pool
        self._clock = clock
        self._random = random
        self._partitions = range(MEMORY_EVENTS.partitions(settings.topics))
        self._standing = Standing(writer, self._partitions)

    async def run(self, stop: asyncio.Event) -> None:
        """Fill the index, and then keep it up with the log until `stop` is set. What is away is waited for.

        Raises:
            Exception: What made going on impossible; the next run goes on where this one was.
        """
        settings, metrics = self._settings, MetricSet()
        at_start = retry_at_start(settings, self._clock, self._random)

        async def prepare() -> None:
            await require_log(settings, at_start)
            await at_start("prepare the index", self._writer.prepare)

            async def ask() -> LogState:
                return await at_start("ask for the log", self._log)

            filling = Filling(
                writer=self._writer,
                records=Records(self._pool),
                maker=self._maker,
                retry=at_start,
                flood=FloodGuard(settings.delivery),
                topic=MEMORY_EVENTS.full_name(settings.topics),
                metrics=FillMetrics(metrics),
                from_records=True,
            )
            held = await filling.prepare(ask)
            self._standing.begin(held)
            log = await ask()
            await at_start("set the offsets", lambda: asyncio.to_thread(self._begin_group, held, log))

        if not await started(stop, prepare()):
            return
        of_sink = WorkerMetrics(metrics).of(SinkName.VECTORS)
        events = ConsumerGroup(
            group=self._group,
            topic=MEMORY_EVENTS.full_name(settings.topics),
            kafka=settings.kafka,
            delivery=settings.delivery,
            metrics=of_sink,
            clock=self._clock,
            stands=self._standing.offsets,
        )
        sink = VectorSink(
            writer=self._writer,
            maker=self._maker,
            standing=self._standing,
            # Whose events these are, also where one becomes a dead letter.
            group=SinkGroup.VECTORS,
            # Readers wait for the index in use, and this is not it.
            offer_watermark=lambda _: None,
            limits=settings.limits,
        )
        keys = DataKeyReader(self._pool, settings.encryption)
        retry = Retry(settings.retry, self._clock, self._random, events, of_sink)
        async with AsyncExitStack() as opened:
            settler = await opened.enter_async_context(
                open_settler(settings, sink, keys, retry, metrics=of_sink, clock=self._clock)
            )
            watching = asyncio.create_task(self._standing.watch(self._clock))
            opened.callback(watching.cancel)
            # The index says how far it is: what the group has committed is only lag that nobody works off.
            opened.push_async_callback(asyncio.to_thread, delete_group, settings.kafka, self._group)
            await run({events: settler.settle}, stop)

    async def progress(self) -> RebuildProgress:
        """Return how far the index has come, by its own account.

        Raises:
            SomaError: The index or the brokers do not answer.
        """
        log = await self._log()
        held = await held_by(self._writer, self._partitions)
        if held is None:
            return RebuildProgress(0, None, log.ends, None)
        fill = held.fill
        return RebuildProgress(
            filled=fill.filled if fill is not None else 0,
            total=fill.total if fill is not None else None,
            ends=log.ends,
            # An index of another log may say that it is filled, and is begun anew.
            reached=held.progress if self._standing.is_whole else None,
        )

    async def compare(self, tell: Tell, draw: int) -> tuple[Findings, Sequence[SampledText]]:
        """Return how the index differs from the rows, and texts drawn from the rows on the way.

        Args:
            tell: Hears how many rows and points were looked at, and about how many there are.
            draw: How many texts.

        Raises:
            Exception: The index or PostgreSQL does not answer, or refuses.
        """
        settings, findings = self._settings, Findings()
        tables, records = AuditedTables(self._pool), _DrawingRecords(self._pool, self._random, draw)
        topic, epoch = MEMORY_EVENTS.full_name(settings.topics), settings.topics.epoch
        pace = Pace(self._clock, None, tell)
        pace.total = 2 * await records.count()
        stores = IndexStores(
            writer=self._writer,
            index_offsets=self._standing.offsets,
            records=records,
            record_offsets=lambda: records.watermarks(topic, epoch),
            tables=tables,
            sink=PostgresSink(self._pool, SinkGroup.POSTGRES, settings.limits),
            maker=self._maker,
        )
        grace = settings.audit.expiry_grace
        await IndexAudit(stores, findings, clock=self._clock, pace=pace, grace=grace, mends=False).run()
        return findings, records.drawn

    async def _log(self) -> LogState:
        return await asyncio.to_thread(log_state, self._settings.kafka, self._settings.topics)

    def _begin_group(self, held: Held, log: LogState) -> None:
        topic = MEMORY_EVENTS.full_name(self._settings.topics)
        offsets = {
            (topic, number): max(held.progress.get(number, 0), start) for number, start in log.starts.items()
        }
        commit_offsets(self._settings.kafka, self._group, offsets)


class _DrawingRecords(Records):
    """Reads everything, and keeps some of the texts that pass by: each with the same chance."""

    def __init__(self, pool: Pool, random: Random, most: int) -> None:
        super().__init__(pool)
        self._random = random
        self._most = most
        self._seen = 0
        self._whole = False
        self.drawn: list[SampledText] = []

    async def page(self, after: tuple[str, UUID], most: int) -> list[Recorded]:
        """Return the next memories and tombstones after a key."""
        found = await super().page(after, most)
        self._whole = self._whole or not found
        for state, _ in found:
            if not self._whole and state.content is not None and state.content.text.strip():
                self._draw(SampledText(state.name.tenant, state.name.memory_id, state.content.text))
        return found

    def _draw(self, each: SampledText) -> None:
        self._seen += 1
        if len(self.drawn) < self._most:
            self.drawn.append(each)
        elif (place := self._random.randrange(self._seen)) < self._most:
            self.drawn[place] = each
