"""`soma config`: show, check and explain settings."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.failures import FindingsError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, show
from soma_cli.settings import KNOWN, PROCESSES, Process, settings_faults
from soma_schemas.configuration import load

app = typer.Typer(help="Show, check and explain settings.", no_args_is_help=True, add_completion=False)

_OfProcess = Annotated[Process, typer.Argument(help="The process.", metavar="PROCESS")]


class Page(StrEnum):
    """A page of the reference that is generated."""

    SETTINGS = "settings"
    COMMANDS = "commands"
    PROBLEMS = "problems"
    METRICS = "metrics"
    ROLES = "roles"
    HTTP = "http"


class ShownSetting(Result):
    """One effective value; secrets are redacted."""

    name: str
    value: Any
    origin: str
    description: str


class ShownSettings(Result):
    """The settings of one process as they are now."""

    process: Process
    settings: list[ShownSetting]

    def drawn(self) -> RenderableType:
        """Return a table of what is set, and of what is left at its default."""
        table = Table("setting", "value", "from", box=None, header_style="bold", pad_edge=False)
        for setting in self.settings:
            value = "" if setting.value is None else str(setting.value)
            style = "dim" if setting.origin == "default" else ""
            table.add_row(Text(setting.name), Text(value), Text(setting.origin), style=style)
        return table


class CheckedProcess(Result):
    """Whether the settings of one process are in order."""

    process: Process
    error: str | None


class CheckedSettings(Result):
    """Whether the settings of all processes are in order."""

    processes: list[CheckedProcess]

    def drawn(self) -> RenderableType:
        """Return a line for each process."""
        table = Table.grid(padding=(0, 2))
        for checked in self.processes:
            table.add_row(Text(checked.process.value), Text(checked.error or "ok"))
        return table


@app.command("show")
def show_settings(context: typer.Context, process: _OfProcess, *, as_json: AsJson = False) -> None:
    """Print the settings that a process started here would use, and the source of each."""
    loaded = load(PROCESSES[process], environment=invocation_of(context).environment, known=KNOWN)
    settings = [
        ShownSetting(name=each.name, value=each.value, origin=each.origin, description=each.description)
        for each in loaded.effective
    ]
    show(ShownSettings(process=process, settings=settings), as_json=as_json)


@app.command()
def check(
    context: typer.Context,
    processes: Annotated[
        list[Process] | None,
        typer.Argument(help="Processes. Default: all.", metavar="[PROCESS]..."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Validate the settings that processes started here would use; exit code 1 if any is wrong."""
    faults = settings_faults(invocation_of(context).environment, processes or list(Process))
    checked = [CheckedProcess(process=process, error=error) for process, error in faults.items()]
    show(CheckedSettings(processes=checked), as_json=as_json)
    wrong_ones = [each.process.value for each in checked if each.error is not None]
    if wrong_ones:
        raise FindingsError(
            f"the settings of {', '.join(wrong_ones)} are wrong", (), remedy="see `soma config docs`"
        )


@app.command()
def docs(
    page: Annotated[Page, typer.Argument(help="The page.", metavar="[PAGE]")] = Page.SETTINGS,
) -> None:
    """Print a page of the reference as Markdown."""
    # It knows the API, which clients do not install.
    from soma_cli import http_reference, reference  # noqa: PLC0415  # see above

    pages = {
        Page.SETTINGS: reference.settings_page,
        Page.COMMANDS: reference.command_page,
        Page.PROBLEMS: reference.problems_page,
        Page.METRICS: reference.metrics_page,
        Page.ROLES: reference.roles_page,
        Page.HTTP: http_reference.http_page,
    }
    typer.echo(pages[page](), nl=False)
