"""`soma migrate`: bring the database to this version."""

import typer
from rich.console import RenderableType
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.database_errors import told_in_words
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, show
from soma_cli.settings import operator_settings
from soma_schemas.tables import check_runs_on, migrations

app = typer.Typer(add_completion=False)


class Migrated(Result):
    """Which revisions were applied, and where the database is now."""

    applied: list[str]
    revision: str

    def drawn(self) -> RenderableType:
        """Return a line for each revision."""
        return Text(
            "\n".join([*(f"applied {each}" for each in self.applied), f"at revision {self.revision}"])
        )


@app.command()
def migrate(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Migrate the database to this version.

    Logs in as the owner of the database. Can run at any time and more than once at a time: the second run
    waits for the first and then has nothing to do.
    """
    settings, _ = operator_settings(invocation_of(context))
    with told_in_words(settings.postgres):
        applied = migrations.migrate(settings.postgres.conninfo())
        revision = check_runs_on(settings.postgres.conninfo())
    show(Migrated(applied=applied, revision=revision), as_json=as_json)
