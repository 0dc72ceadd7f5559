"""One audit of everything: the log against the tables first, then the tables against the index."""

import asyncio
from datetime import timedelta
from random import Random

import psycopg

from soma_schemas.clock import Clock
from soma_schemas.events import SINK_EVENTS
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_streams.audit.audited_tables import AuditedTables
from soma_streams.audit.auditor import Auditor
from soma_streams.audit.drift import Findings
from soma_streams.audit.index_audit import IndexAudit, IndexStores, Offsets
from soma_streams.audit.log_audit import LogAudit
from soma_streams.audit.pace import Pace
from soma_streams.audit.record_mender import RecordMender
from soma_streams.audit.requests import AuditRequest
from soma_streams.audit.retained_log import RetainedLog
from soma_streams.delivery.decode import Decoder, WriterSchemas
from soma_streams.delivery.sealed_events import KeyReader, SealedEvents
from soma_streams.log_state import log_state
from soma_streams.metrics import AuditMetrics
from soma_streams.settings import VectorWorkerSettings
from soma_streams.sinks.postgres.postgres_sink import PostgresSink
from soma_streams.sinks.sessions import Pool
from soma_streams.sinks.vectors.memory_pages import Records
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.writer import PointWriter


class WholeAudit:
    """Makes audits of one installation.

    Args:
        settings: The log and its schemas.
        stores: What the log is applied to.
        keys: Open what is encrypted in the log.
        clock: Time.
        grace: How long after its deadline a memory may still be there.
    """

    def __init__(
        self,
        settings: PublishingSettings,
        stores: IndexStores,
        keys: KeyReader,
        *,
        clock: Clock,
        grace: timedelta,
    ) -> None:
        self._keys = keys
        self._settings = settings
        self._stores = stores
        self._clock = clock
        self._grace = grace

    async def make(self, request: AuditRequest, findings: Findings, pace: Pace) -> None:
        """Compare everything, and mend what differs if that is asked for.

        Raises:
            Exception: A store does not answer, or refuses.
        """
        settings, stores = self._settings, self._stores
        reached = await stores.record_offsets()
        state = await asyncio.to_thread(log_state, settings.kafka, settings.topics)
        rows = await stores.records.count()
        ahead = sum(max(0, reached.get(each, 0) - start) for each, start in state.starts.items())
        pace.total = ahead + 2 * rows
        schemas = WriterSchemas(settings.registry)
        try:
            with RetainedLog(settings.kafka, settings.topics, self._clock) as retained:
                mender = RecordMender(
                    retained=retained,
                    schemas=schemas,
                    decoder=Decoder(SINK_EVENTS, settings.limits, settings.topics.epoch),
                    sealed=SealedEvents(self._keys, settings.limits, settings.topics.epoch),
                    sink=stores.sink,
                    tables=stores.tables,
                    writer=stores.writer,
                    topic=MEMORY_EVENTS.full_name(settings.topics),
                )
                audit = LogAudit(retained, stores.tables, mender if request.mends else None, findings, pace)
                await audit.run(state, reached, request.since)
        finally:
            await schemas.close()
        await IndexAudit(
            stores, findings, clock=self._clock, pace=pace, grace=self._grace, mends=request.mends
        ).run()


def auditor_of(
    settings: VectorWorkerSettings,
    pool: Pool,
    keys: KeyReader,
    *,
    writer: PointWriter,
    maker: PointMaker,
    index_offsets: Offsets,
    clock: Clock,
    random: Random,
    metrics: MetricSet,
) -> Auditor:
    """Return what makes the audits of a vector worker.

    Args:
        settings: Of the worker.
        pool: Connections of a login with role soma_sinks.
        keys: Open what is encrypted in the log.
        writer: The index.
        maker: Makes its points.
        index_offsets: Below which offset everything of each partition is in the index.
        clock: Time.
        random: Jitter.
        metrics: Of the process.
    """
    tables, records = AuditedTables(pool), Records(pool)
    topic, epoch = MEMORY_EVENTS.full_name(settings.topics), settings.topics.epoch
    stores = IndexStores(
        writer=writer,
        index_offsets=index_offsets,
        records=records,
        record_offsets=lambda: records.watermarks(topic, epoch),
        tables=tables,
        sink=PostgresSink(pool, SinkGroup.POSTGRES, settings.limits),
        maker=maker,
    )
    return Auditor(
        WholeAudit(settings, stores, keys, clock=clock, grace=settings.audit.expiry_grace).make,
        tables=tables,
        connect=lambda: psycopg.AsyncConnection.connect(settings.postgres.conninfo(), autocommit=True),
        settings=settings.audit,
        metrics=AuditMetrics(metrics),
        clock=clock,
        random=random,
    )
