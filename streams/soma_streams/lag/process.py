"""The lag collector as a process: wires it to the brokers, and answers over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from soma_schemas.clock import Clock
from soma_schemas.lag import REPORT_PATH
from soma_schemas.metrics import Exposition, MetricSet
from soma_schemas.settings import KafkaSettings
from soma_streams.cancellation import done_before
from soma_streams.http_server import Handler, metrics_response, open_http_server, probe_response
from soma_streams.lag.broker_groups import BrokerGroups
from soma_streams.lag.broker_logs import BrokerLogs
from soma_streams.lag.exposition import expose, exposition
from soma_streams.lag.lag_collector import Collector
from soma_streams.lag.lag_settings import LagCollectorSettings, LagSettings

# A round that has not ended after so many intervals, and so many seconds, never will.
_STUCK_INTERVALS = 10
_STUCK_SECONDS = 120.0


@asynccontextmanager
async def open_collector(kafka: KafkaSettings, lag: LagSettings, clock: Clock) -> AsyncIterator[Collector]:
    """Return a collector that asks the brokers, until the block ends."""
    groups, logs = BrokerGroups(kafka, lag.wants), BrokerLogs(kafka)
    collector = Collector(groups, logs, interval=lag.interval, window=lag.window, clock=clock)
    try:
        yield collector
    finally:
        await groups.close()
        await asyncio.to_thread(collector.close)
        logs.close()


async def collect_lag(
    settings: LagCollectorSettings, *, clock: Clock, metrics: MetricSet, stop: asyncio.Event
) -> None:
    """Go round over all groups, and tell what is found over HTTP, until `stop` is set."""
    async with open_collector(settings.kafka, settings.lag, clock) as collector:
        expose(collector, metrics)
        answers = Answers(collector, settings.lag, metrics)
        async with open_http_server(settings.lag.host, settings.lag.port, answers.by_path()):
            await done_before(stop, collector.run(answers.renew))


class Answers:
    """What the collector answers.

    Args:
        collector: Has looked.
        lag: Its settings.
        metrics: Of the process.
    """

    def __init__(self, collector: Collector, lag: LagSettings, metrics: MetricSet) -> None:
        self._collector = collector
        self._patience = max(_STUCK_SECONDS, _STUCK_INTERVALS * lag.interval.total_seconds())
        self._of_process = metrics
        self._written = b""

    def by_path(self) -> dict[str, Handler]:
        """Return what answers each path."""
        return {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            REPORT_PATH: self._report,
        }

    async def renew(self) -> None:
        """Write the metrics of the newest round, so that no scrape waits for that."""
        self._written = await asyncio.to_thread(exposition, self._collector.views)

    async def _healthz(self, request: web.Request) -> web.Response:
        del request
        stuck = self._collector.begun_seconds > self._patience
        return probe_response("stuck" if stuck else "ok", well=not stuck)

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        ready = self._collector.rounds > 0 and self._collector.failure is None
        return probe_response("ready" if ready else "not ready", well=ready)

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        # Text alone: what a round has written is too much to be written again in another format.
        written, content_type = self._of_process.exposition("")
        return metrics_response(Exposition(written + self._written, content_type))

    async def _report(self, request: web.Request) -> web.Response:
        del request
        told = self._collector.report().model_dump_json()
        return web.Response(text=told, content_type="application/json")
