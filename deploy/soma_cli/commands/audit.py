"""`soma audit`: list administrative acts."""

from typing import Annotated

import typer

from soma_cli.audit_log_admin import newest_entries
from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.database_errors import told_in_words
from soma_cli.drawing import show_answer
from soma_cli.failures import UsageError
from soma_cli.invocation import invocation_of
from soma_cli.output import show
from soma_cli.settings import operator_settings

app = typer.Typer(add_completion=False)


@app.command()
def audit(
    context: typer.Context,
    *,
    action: Annotated[
        str | None, typer.Option(help="Only acts of this kind, such as `api_key.rotate`.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of results.")] = 20,
    every: Annotated[
        bool,
        typer.Option("--all", help="Acts on every tenant and on the installation, from the database itself."),
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List administrative acts, newest first: those on the key's tenant, or all.

    Keys, policies of retention, erasures and dead letters; with --all also migrations, backups and rotations
    of the master key. The API takes the key of an admin, --all the login of the database's owner.
    """
    if every:
        if url is not None or api_key is not None:
            raise UsageError("--all asks the database, not the API", remedy="leave --url and --api-key out")
        settings, _ = operator_settings(invocation_of(context))
        with told_in_words(settings.postgres):
            show(newest_entries(settings.postgres.conninfo(), action, limit), as_json=as_json)
    else:
        with open_client(context, url, api_key) as client:
            show_answer(client.list_audit_log(action=action, limit=limit), as_json=as_json)
