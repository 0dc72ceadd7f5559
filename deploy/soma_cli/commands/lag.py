"""`soma lag`: say how far consumer groups are behind."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from soma_cli.commands.options import AsJson
from soma_cli.failures import FindingsError, UsageError
from soma_cli.invocation import invocation_of
from soma_cli.lag_sources import open_lag_source, told_by_collector
from soma_cli.output import say, show
from soma_cli.settings import KNOWN, OperatorSettings, operator_settings
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import load
from soma_schemas.lag import LagReport
from soma_streams.lag.lag_settings import LagCollectorSettings, LagSettings

app = typer.Typer(invoke_without_command=True, add_completion=False)


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


@app.command()
def plot(
    context: typer.Context,
    output: Annotated[
        Path, typer.Argument(help="The picture to write; its name ends in .png or .svg.", metavar="FILE")
    ],
    *,
    group: Annotated[
        str, typer.Option(help="Only groups of this name; `*` stands for any characters.", metavar="PATTERN")
    ] = "*",
) -> None:
    """Draw how far consumer groups were behind over the last minutes.

    Needs a lag collector, which has looked for as long, and matplotlib: `pip install
    'somafractalmemory[plot]'`.
    """
    from soma_cli.lag_plot import FORMATS, draw  # noqa: PLC0415  # not where a table is shown

    if output.suffix.lower() not in FORMATS:
        raise UsageError(f"{output} ends in none of {', '.join(FORMATS)}")
    settings, _ = operator_settings(invocation_of(context))
    url = settings.collector.url
    if url is None:
        raise UsageError(
            "there is no lag collector to be asked: only one has looked for longer than a moment",
            remedy="start one with `soma lag collect`, and set SOMA_COLLECTOR__URL",
        )
    report = asyncio.run(told_by_collector(url, LagSettings(groups=group)))
    if not report.groups:
        raise nothing_matches(group)
    draw(report, output)
    say(f"Wrote {output}.")


async def _once(settings: OperatorSettings, pattern: str, *, as_json: bool) -> None:
    async with open_lag_source(settings, LagSettings(groups=pattern)) as look:
        result = await look()
    if as_json or result.report.groups:
        show(result, as_json=as_json)
    refuse_trouble(result.report, pattern)


async def _watch(settings: OperatorSettings, pattern: str) -> None:
    lag = LagSettings(groups=pattern)
    clock = SystemClock()
    async with open_lag_source(settings, lag) as look:
        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            while True:
                live.update((await look()).drawn(), refresh=True)
                await clock.sleep(lag.interval.total_seconds())


def nothing_matches(pattern: str) -> FindingsError:
    """Return what says that no group has such a name."""
    return FindingsError(
        f"no consumer group matches `{pattern}`", (), remedy="`soma lag` alone shows them all"
    )


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
        raise nothing_matches(pattern)
    failing = [group for group in report.groups if group.status.failing]
    if failing:
        raise FindingsError(
            f"{len(failing)} of {len(report.groups)} groups do not get on",
            tuple(f"{group.group}: {group.status}, {group.reason}" for group in failing),
            remedy="look at its workers and their logs; `soma lag --group NAME` shows its partitions",
        )
