"""`soma capacity`: say what a load needs."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.capacity_planning.costs import measured_costs
from soma_cli.capacity_planning.sizing import USABLE, Load, plan
from soma_cli.commands.options import AsJson
from soma_cli.output import Result, show

app = typer.Typer(add_completion=False)


class Component(Result):
    """What one component needs."""

    component: str
    processes: int | None
    processors: float
    memory_gib: float
    disk_gib: float
    because: str


class Capacity(Result):
    """What a load needs, by costs that were measured."""

    partitions: int
    memories: int
    components: list[Component]
    measured: dict[str, str]

    def drawn(self) -> RenderableType:
        """Return a table."""
        table = Table("component", box=None, padding=(0, 1))
        for title in ("processes", "processors", "memory", "disk"):
            table.add_column(title, justify="right")
        table.add_column("because")
        for each in self.components:
            table.add_row(
                each.component,
                "" if each.processes is None else str(each.processes),
                f"{each.processors:.1f}",
                f"{each.memory_gib:,.1f} GiB",
                f"{each.disk_gib:,.1f} GiB",
                each.because,
            )
        return Group(
            Text(f"{self.partitions} partitions of memory.events, {self.memories:,} memories at once"),
            table,
            Text(
                f"Measured on {self.measured['at'][:10]}, {self.measured['machine']}; of a processor"
                f" {USABLE:.0%} is used. docs/capacity.md says how to measure your own."
            ),
        )


@app.command()
def capacity(
    *,
    events_per_second: Annotated[
        float, typer.Option(min=0.001, help="Events per second, on average over the days that data is kept.")
    ],
    retention: Annotated[
        float, typer.Option(min=0.01, help="How long a memory lives, in days.", metavar="DAYS")
    ],
    peak: Annotated[
        float, typer.Option(min=1, help="The busiest minute has so many times the average of events.")
    ] = 3.0,
    searches_per_second: Annotated[
        float, typer.Option(min=0, help="Searches per second at the busiest minute.")
    ] = 0.0,
    text_bytes: Annotated[
        float, typer.Option(min=1, max=100_000, help="Bytes of a memory's text, on average.")
    ] = 400.0,
    changes: Annotated[
        float, typer.Option(min=0, max=1, help="The share of events that change a memory which is there.")
    ] = 0.0,
    log_days: Annotated[
        float, typer.Option(min=0.01, help="How long the log keeps events, in days.", metavar="DAYS")
    ] = 30.0,
    history_days: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="How long the history keeps events, in days; as memories live, unless given.",
            metavar="DAYS",
        ),
    ] = None,
    replication: Annotated[int, typer.Option(min=1, max=9, help="Copies of the log.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Say how many partitions, processes, processors, memory and disk a load needs.

    Computed from costs that were measured (`make load`), for the busiest minute; disks from the average.
    It asks no server.
    """
    load = Load(
        events_per_second=events_per_second,
        peak=peak,
        searches_per_second=searches_per_second,
        text_bytes=text_bytes,
        changes=changes,
        retention_days=retention,
        log_days=log_days,
        history_days=retention if history_days is None else history_days,
        replication=replication,
    )
    costs = measured_costs()
    planned = plan(load, costs)
    show(
        Capacity(
            partitions=planned.partitions,
            memories=round(planned.memories),
            components=[Component.model_validate(vars(need)) for need in planned.needs],
            measured=dict(costs.measured),
        ),
        as_json=as_json,
    )
