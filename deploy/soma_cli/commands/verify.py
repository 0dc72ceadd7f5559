"""`soma verify`: compare what is kept twice."""

from typing import Annotated

import psycopg
import typer
from rich.console import RenderableType
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.count_verification import count_differences, rebuild_counts
from soma_cli.database_errors import told_in_words
from soma_cli.failures import FindingsError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, show
from soma_cli.settings import operator_settings

app = typer.Typer(add_completion=False)


class WrongCount(Result):
    """A count beside the number of rows; namespace and kind are null for links and dead letters."""

    tenant: str
    counted: str
    namespace: str | None
    kind: str | None
    kept: int
    found: int

    def __str__(self) -> str:
        """Return it as a line."""
        where = f" in {self.namespace}, {self.kind}" if self.namespace is not None else ""
        return f"{self.counted} of {self.tenant}{where}: {self.kept} counted, {self.found} there"


class Verified(Result):
    """What was compared, and where it differs.

    Attributes:
        counts: Counts of memories, links and open dead letters beside the rows themselves.
        repaired: Whether they were made anew.
    """

    counts: list[WrongCount]
    repaired: bool

    def drawn(self) -> RenderableType:
        """Return a line for each difference."""
        lines = [str(each) for each in self.counts] or ["the counts are those of the rows"]
        return Text("\n".join([*lines, "the counts were made anew"] if self.repaired else lines))


@app.command()
def verify(
    context: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Recount what differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the stored counts with the rows, and repair them.

    Compares the counts of memories, links and open dead letters. Logs in as the owner of the database; other
    processes may keep running. The exit code is 1 if something differs and is not repaired.
    """
    settings, _ = operator_settings(invocation_of(context))
    with told_in_words(settings.postgres), psycopg.connect(settings.postgres.conninfo()) as connection:
        differences = [WrongCount(**each._asdict()) for each in count_differences(connection)]
        if repair:
            rebuild_counts(connection)
    show(Verified(counts=differences, repaired=repair), as_json=as_json)
    if differences and not repair:
        raise FindingsError(
            f"{len(differences)} counts are wrong" if len(differences) > 1 else "a count is wrong",
            (),
            remedy="run `soma verify --repair`",
        )
