"""`soma lag`: say how far consumer groups are behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live

from soma_cli.commands.options import AsJson
from soma_cli.failures import FindingsError
from soma_cli.invocation import invocation_of
from soma_cli.lag_table import LagResult, LagSource
from soma_cli.output import show
from soma_cli.settings import KNOWN, OperatorSettings, operator_settings
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import load
from soma_schemas.errors import SomaError
from soma_schemas.http_clients import client_options
from soma_schemas.lag import REPORT_PATH, LagReport
from soma_streams.lag.lag_settings import LagCollectorSettings, LagSettings
from soma_streams.lag.process import open_collector

app = typer.Typer(invoke_without_command=True, add_completion=False)

_TIMEOUT_SECONDS = 10.0


class CollectorAwayError(SomaError):
    """The lag collector does not answer."""

    code = "collector_away"
    remedy = "start it with `soma lag collect`; without SOMA_COLLECTOR__URL the brokers are asked directly"


@app.callback()
def lag(
    context: typer.Context,
    *,
    group: Annotated[
        str,
        typer.Option(
            help="Only groups of this name, with their partitions; `*` stands for any characters.",
            metavar="PATTERN",
        ),
    ] = "*",
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far consumer groups are behind.

    Exit 1 when a group is at STALL, STOP or REWIND, or when nothing could be seen.

    Asks the lag collector, which has looked for a while. Where there is none it asks the brokers itself: one
    look tells lag and age, and not whether a group gets on.
    """
    if context.invoked_subcommand is not None:
        return
    settings, _ = operator_settings(invocation_of(context))
    asyncio.run(_watch(settings, group) if watch else _once(settings, group, as_json=as_json))


@app.command()
def collect(context: typer.Context) -> None:
    """Look at all consumer groups again and again until a signal comes, and answer over HTTP."""
    from soma_cli.processes import lag_collector as process  # noqa: PLC0415  # not where a table is shown

    environment = invocation_of(context).environment
    asyncio.run(process.collect(load(LagCollectorSettings, environment=environment, known=KNOWN)))


async def _once(settings: OperatorSettings, pattern: str, *, as_json: bool) -> None:
    async with _looking(settings, LagSettings(groups=pattern)) as look:
        result = await look()
    show(result, as_json=as_json)
    refuse_trouble(result.report, pattern)


async def _watch(settings: OperatorSettings, pattern: str) -> None:
    lag = LagSettings(groups=pattern)
    clock = SystemClock()
    async with _looking(settings, lag) as look:
        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            while True:
                live.update((await look()).drawn(), refresh=True)
                await clock.sleep(lag.interval.total_seconds())


def refuse_trouble(report: LagReport, pattern: str) -> None:
    """Return when all is well.

    Raises:
        FindingsError: It is not, or there is nothing to be seen.
    """
    if report.failure is not None:
        raise FindingsError(
            f"nothing could be seen: {report.failure}",
            (),
            remedy="check that the brokers run and that SOMA_KAFKA__BOOTSTRAP_SERVERS names them",
        )
    if not report.groups:
        raise FindingsError(
            f"no consumer group matches `{pattern}`", (), remedy="`soma lag` alone shows them all"
        )
    failing = [group for group in report.groups if group.status.failing]
    if failing:
        raise FindingsError(
            f"{len(failing)} of {len(report.groups)} groups do not get on",
            tuple(f"{group.group}: {group.status}, {group.reason}" for group in failing),
            remedy="look at its workers and their logs; `soma lag --group NAME` shows its partitions",
        )


@asynccontextmanager
async def _looking(
    settings: OperatorSettings, lag: LagSettings
) -> AsyncIterator[Callable[[], Awaitable[LagResult]]]:
    """Yield what looks once more: by the collector where there is one, else by itself."""
    named = lag.groups != LagSettings().groups
    url = settings.collector.url
    if url is not None:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, **client_options(url)) as client:

            async def ask() -> LagResult:
                report = await asked(client, url)
                groups = tuple(each for each in report.groups if lag.wants(each.group))
                return LagResult(
                    source=LagSource.COLLECTOR,
                    report=report.model_copy(update={"groups": groups}),
                    with_partitions=named,
                )

            yield ask
        return
    async with open_collector(settings.kafka, lag, SystemClock()) as collector:

        async def look() -> LagResult:
            await collector.round()
            return LagResult(source=LagSource.BROKERS, report=collector.report(), with_partitions=named)

        yield look


async def asked(client: httpx.AsyncClient, url: str) -> LagReport:
    """Return what the collector has found.

    Raises:
        CollectorAwayError: It does not answer, or somebody else does.
    """
    try:
        answer = await client.get(f"{url.rstrip('/')}{REPORT_PATH}")
        answer.raise_for_status()
        return LagReport.model_validate_json(answer.content)
    except (httpx.HTTPError, ValidationError) as error:
        raise CollectorAwayError(
            f"the lag collector at {url} does not answer: {str(error) or type(error).__name__}"
        ) from error
