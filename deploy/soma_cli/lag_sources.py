"""Who tells of lag: the collector where there is one, else the brokers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from soma_cli.lag_table import LagResult, LagSource
from soma_cli.settings import OperatorSettings
from soma_schemas.clock import SystemClock
from soma_schemas.lag import LagReport
from soma_schemas.lag_client import ask_collector
from soma_streams.lag.lag_settings import LagSettings


async def told_by_collector(url: str, lag: LagSettings) -> LagReport:
    """Return what the collector has found of the groups that are wanted."""
    report = await ask_collector(url)
    groups = tuple(each for each in report.groups if lag.wants(each.group))
    return report.model_copy(update={"groups": groups})


@asynccontextmanager
async def open_lag_source(
    settings: OperatorSettings, lag: LagSettings
) -> AsyncIterator[Callable[[], Awaitable[LagResult]]]:
    """Yield what looks once more: by the collector where there is one, else by itself."""
    named = lag.groups != LagSettings().groups
    url = settings.collector.url
    if url is not None:

        async def ask() -> LagResult:
            report = await told_by_collector(url, lag)
            return LagResult(source=LagSource.COLLECTOR, report=report, with_partitions=named)

        yield ask
        return
    from soma_streams.lag.process import open_collector  # noqa: PLC0415  # not where a collector is asked

    async with open_collector(settings.kafka, lag, SystemClock()) as collector:

        async def look() -> LagResult:
            await collector.round()
            return LagResult(source=LagSource.BROKERS, report=collector.report(), with_partitions=named)

        yield look
