"""`soma history`: show what happened to a memory, or what it was."""

from typing import Annotated

import typer

from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.drawing import show_answer
from soma_cli.failures import UsageError
from soma_cli.naming import OfEnds, OneEnd, id_or_key
from soma_cli.parsing import moment_of

app = typer.Typer(add_completion=False)


@app.command()
def history(
    context: typer.Context,
    memory: OneEnd,
    *,
    at: Annotated[
        str | None,
        typer.Option(help="Show the memory as it was at this time.", metavar="TIME", show_default=False),
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Show the memory at this version.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many events.")] = 50,
    namespace: OfEnds = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a memory, the newest first; or what it was at a time or a version.

    A deleted memory is named by its id.
    """
    moment = None if at is None else moment_of("--at", at)
    if moment is not None and version is not None:
        raise UsageError("--at and --version both name a revision: give one of them")
    with open_client(context, url, api_key) as client:
        memory_id = id_or_key(client, memory, namespace)
        if moment is None and version is None:
            show_answer(client.list_history(memory_id, limit=limit), as_json=as_json)
        else:
            show_answer(client.read_revision(memory_id, at=moment, version=version), as_json=as_json)
