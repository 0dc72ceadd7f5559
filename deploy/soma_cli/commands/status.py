"""`soma status`: say how the service is."""

from collections.abc import Iterator
from math import ceil

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.drawing import index_words
from soma_cli.failures import FindingsError
from soma_cli.output import Result, plain, show
from soma_schemas.responses.health_responses import IndexView, PartView
from soma_schemas.responses.overview_responses import StatsView

app = typer.Typer(add_completion=False)

_READY = "ready"
_NOT_READY = "not_ready"


class Status(Result):
    """How the service is; `stats` is null while it cannot answer."""

    url: str
    status: str
    parts: dict[str, PartView]
    index: IndexView | None
    stats: StatsView | None

    def drawn(self) -> RenderableType:
        """Return a line for each part, then how much there is."""
        table = Table.grid(padding=(0, 2))
        table.add_row("api", Text(self.status), Text(self.url, "dim"))
        for name, part in self.parts.items():
            state = "ready" if part.ready else f"fails: {part.error}"
            table.add_row(Text(plain(name)), Text(plain(state)), Text(f"{part.milliseconds:.1f} ms", "dim"))
        if self.index is not None and not self.index.complete:
            table.add_row("search", Text(index_words(self.index), "yellow"), "")
        for name, value in self._counts():
            table.add_row(name, Text(value), "")
        return table

    def _counts(self) -> Iterator[tuple[str, str]]:
        if self.stats is None:
            return
        yield "memories", f"{self.stats.memories:,} in {self.stats.namespaces:,} namespaces"
        if self.stats.dead_letters is not None:
            yield "dead letters", f"{self.stats.dead_letters:,}"
        for sink, seconds in self.stats.staleness_seconds.items():
            yield plain(sink), _age(seconds)


@app.command()
def status(
    context: typer.Context, *, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Show the health of the service, and counts.

    The exit code is 0 if everything works, 1 if not.
    """
    with open_client(context, url, api_key) as client:
        found = client.readyz()
        stats = None if found.status == _NOT_READY else client.read_stats()
    show(
        Status(url=client.url, status=found.status, parts=found.parts, index=found.index, stats=stats),
        as_json=as_json,
    )
    if found.status != _READY:
        failing = [name for name, part in found.parts.items() if not part.ready]
        raise FindingsError(f"the API is {found.status.replace('_', ' ')}: {', '.join(failing)} fails", ())


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "nobody knows how old its answers are"
    # Rounded up: nothing is said to be younger than it is known to be.
    return f"its answers are at most {ceil(seconds * 10) / 10:.1f} s old"
