"""Sweeping and relaying by turns, in the one process that leads."""

import asyncio

from soma_schemas.clock import Clock
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import EventPublisher
from soma_streams.delivery.retry import Retry
from soma_streams.metrics import RetentionMetrics
from soma_streams.retention.leadership import Leadership
from soma_streams.retention.outbox_relay import OutboxRelay
from soma_streams.retention.publishing import Publishing
from soma_streams.retention.sweeper import Sweeper
from soma_streams.settings import RetentionWorkerSettings
from soma_streams.sinks.sessions import Connection


async def sweep_by_turns(
    settings: RetentionWorkerSettings, *, retry: Retry, clock: Clock, metrics: MetricSet
) -> None:
    """End memories whose time has come and empty the outbox, whenever this process leads, until cancelled.

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
        leadership = Leadership(
            settings.postgres.conninfo(),
            retry=retry,
            clock=clock,
            pause_seconds=settings.retention.sweep_interval.total_seconds(),
            tell=of_retention.leader.set,
        )

        async def turn(session: Connection) -> None:
            await relay.relay(session)
            await sweeper.sweep(session)
            await relay.relay(session)

        await leadership.run(turn)
    finally:
        # It waits for answers of brokers that may be away.
        await asyncio.to_thread(publisher.close)
