"""Sweeping and relaying by turns, in the one process that leads."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from soma_schemas.clock import Clock
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import EventPublisher
from soma_streams.delivery.retry import Retry
from soma_streams.metrics import RetentionMetrics
from soma_streams.retention.history_months import HistoryMonths
from soma_streams.retention.leadership import Leadership
from soma_streams.retention.outbox_relay import OutboxRelay
from soma_streams.retention.publishing import Publishing
from soma_streams.retention.sweeper import Sweeper
from soma_streams.settings import RetentionWorkerSettings
from soma_streams.sinks.sessions import Connection


async def sweep_by_turns(
    settings: RetentionWorkerSettings,
    *,
    replayable: Callable[[], Awaitable[timedelta]],
    retry: Retry,
    clock: Clock,
    metrics: MetricSet,
) -> None:
    """Do what is to be done by turns, whenever this process leads, until cancelled.

    A turn ends memories whose time has come, empties the outbox and sees to the months of the history.

    Args:
        settings: Of the worker.
        replayable: Tells how old an event can be that comes again.
        retry: Waits for stores that are away.
        clock: Says what time it is.
        metrics: Of the process.

    Raises:
        Exception: What no later turn would mend.
    """
    of_retention = RetentionMetrics(metrics)
    publisher = EventPublisher(settings)
    try:
        publishing = Publishing(publisher, retry)
        relay = OutboxRelay(publishing, of_retention)
        sweeper = Sweeper(
            publishing=publishing,
            clock=clock,
            settings=settings.retention,
            topics=settings.topics,
            metrics=of_retention,
        )
        history = HistoryMonths(
            settings.retention.history_kept, replayable=replayable, clock=clock, metrics=of_retention
        )
        leadership = Leadership(
            settings.postgres.conninfo(),
            retry=retry,
            clock=clock,
            pause_seconds=settings.retention.sweep_interval.total_seconds(),
            tell=of_retention.leader.set,
        )

        async def turn(session: Connection) -> None:
            await history.look(session)
            await relay.relay(session)
            await sweeper.sweep(session)
            await relay.relay(session)

        await leadership.run(turn)
    finally:
        # It waits for answers of brokers that may be away.
        await asyncio.to_thread(publisher.close)
