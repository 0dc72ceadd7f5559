"""The retention worker: wires policies, deadlines and last states to the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from soma_schemas.clock import Clock
from soma_schemas.events import ErasureCompleted, ErasureEvent, ErasureRequested, RetentionPolicySet
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.pool_metrics import PoolName, expose_pool
from soma_schemas.postgres_pool import open_pool
from soma_schemas.topics import MEMORY_ERASURES, MEMORY_POLICIES
from soma_streams.backup_age import BackupAge
from soma_streams.checks import Waiting, require_log, require_tables
from soma_streams.data_key_relay import open_relay
from soma_streams.delivery.compacted import E, StatementSettler, StatementSink
from soma_streams.delivery.decode import RecordReader
from soma_streams.delivery.retry import Retry
from soma_streams.epochs import through_epochs
from soma_streams.erasure.erasure_sink import ErasureSink
from soma_streams.erasure.wiring import ends_of_log, open_eraser, replayable
from soma_streams.metrics import SinkMetrics, SinkName, WorkerMetrics
from soma_streams.probe_server import open_probe_server
from soma_streams.retention.policy_sink import PolicySink
from soma_streams.retention.turns import sweep_by_turns
from soma_streams.settings import DeliveringSettings, RetentionWorkerSettings
from soma_streams.sinks.data_key_reader import master_keys
from soma_streams.worker_parts import consumer_group, retry_at_start, run, settling_parts, started


async def work_retention(
    settings: RetentionWorkerSettings,
    *,
    clock: Clock,
    random: Random,
    metrics: MetricSet,
    stop: asyncio.Event,
) -> None:
    """Keep policies in force, end memories in time and carry out erasures until `stop` is set.

    Raises:
        MasterKeyError: The file of the master key cannot be read, or holds no key.
        Exception: What made going on impossible; what is unsettled comes again.
    """
    await through_epochs(settings, _work_retention, clock=clock, random=random, metrics=metrics, stop=stop)


async def _work_retention(
    settings: RetentionWorkerSettings,
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
        of_policies = WorkerMetrics(metrics).of(SinkName.POLICIES)
        policies = consumer_group(settings, SinkGroup.POLICIES, MEMORY_POLICIES, of_policies, clock)
        settler = await opened.enter_async_context(
            statement_settler(
                settings,
                PolicySink(pool, SinkGroup.POLICIES),
                RecordReader([RetentionPolicySet], settings.limits),
                retry=Retry(settings.retry, clock, random, policies, of_policies),
                metrics=of_policies,
                clock=clock,
            )
        )
        of_erasures = WorkerMetrics(metrics).of(SinkName.ERASURES)
        erasures = consumer_group(settings, SinkGroup.ERASURES, MEMORY_ERASURES, of_erasures, clock)
        accepting = await opened.enter_async_context(
            statement_settler(
                settings,
                ErasureSink(pool, SinkGroup.ERASURES, lambda: ends_of_log(settings), settings.topics.epoch),
                RecordReader[ErasureEvent]([ErasureRequested, ErasureCompleted], settings.limits),
                retry=Retry(settings.retry, clock, random, erasures, of_erasures),
                metrics=of_erasures,
                clock=clock,
            )
        )
        relay = await opened.enter_async_context(
            open_relay(settings, pool, master_keys(settings.encryption), clock)
        )
        eraser = await opened.enter_async_context(open_eraser(settings, pool, clock, metrics))
        await opened.enter_async_context(open_probe_server(settings.worker, metrics, [policies, erasures]))
        async with asyncio.TaskGroup() as side:
            erasing = side.create_task(
                eraser.run(Retry(settings.retry, clock, random, Waiting(), of_erasures))
            )
            logging_keys = side.create_task(
                relay.run(Retry(settings.retry, clock, random, Waiting(), of_erasures))
            )
            backups = side.create_task(
                BackupAge(pool, clock, metrics).run(
                    Retry(settings.retry, clock, random, Waiting(), of_policies)
                )
            )
            sweeping = side.create_task(
                sweep_by_turns(
                    settings,
                    replayable=lambda: replayable(settings),
                    retry=Retry(settings.retry, clock, random, Waiting(), of_policies),
                    clock=clock,
                    metrics=metrics,
                )
            )
            try:
                await run({policies: settler.settle, erasures: accepting.settle}, stop)
            finally:
                erasing.cancel()
                logging_keys.cancel()
                backups.cancel()
                sweeping.cancel()


@asynccontextmanager
async def statement_settler(
    settings: DeliveringSettings,
    sink: StatementSink[E],
    reader: RecordReader[E],
    *,
    retry: Retry,
    metrics: SinkMetrics,
    clock: Clock,
) -> AsyncIterator[StatementSettler[E]]:
    """Yield what settles the records of a compacted topic for a sink."""
    async with settling_parts(settings, sink.group, metrics) as parts:
        yield StatementSettler(
            sink=sink,
            reader=reader,
            schemas=parts.schemas,
            dead_letters=parts.dead_letters,
            retry=retry,
            clock=clock,
            flood=parts.flood,
            epoch=settings.topics.declared.epoch,
        )
